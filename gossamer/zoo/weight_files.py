# SPDX-License-Identifier: Apache-2.0
"""Weights by path, without running code that came with them.

Safetensors, .npz, .gossamer, or a state dict saved by torch; a pickle that holds anything but tensors is refused.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gossamer import container
from gossamer.data.arrays import read_npz
from gossamer.graph.aliases import under_all_names

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which trainers put the state dict
PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
NAMED = 3  # names listed of each kind of misfit
KEYS = 8  # keys listed of a file that holds something else
STARTS = (b"PK", b"\x80")  # of what torch saves: a zip file, or a pickle in older versions


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights in `path` into `model`; every tensor must have its place and its shape."""
    given = read_weights(path)
    if callable(fitted := getattr(model, "fitted", None)):  # published names and numbers of classes
        given = fitted(given)
    given = under_all_names(given, model)
    expected = model.state_dict()
    # Counters of batches are newer than many published weights, and nothing depends on them in evaluation.
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in expected]
    shapes = [
        f"{name} {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in given.items()
        if name in expected and value.shape != expected[name].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    misfits = [f"{len(names)} {kind} ({_few(names)})" for kind, names in kinds if names]
    if misfits:
        raise ValueError(
            f"weights in {path} do not fit the network: {', '.join(misfits)}; check --model and the number of classes"
        )
    broken = [name for name, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"weights in {path} must be finite, got NaN or infinity in {_few(broken)}; train again")
    model.load_state_dict(given, strict=False)


def _few(names: list[str], shown: int = NAMED) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from safetensors, .npz, .gossamer or a torch state dict; wrappers and prefixes are taken off."""
    if path.is_dir():
        raise ValueError(f"expected a file of weights, got the folder {path}; name the file in --weights")
    if not path.is_file():
        raise ValueError(f"there is no file {path}; check --weights")
    if not path.stat().st_size:
        raise ValueError(f"expected weights in {path}, got an empty file; save it again")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix == ".npz":
        tensors = _read_npz(path)
    elif path.suffix == ".gossamer":
        tensors = _read_gossamer(path)
    else:
        tensors = _read_torch(path)
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        return {name: torch.from_numpy(np.array(array, order="C")) for name, array in read_npz(path).items()}
    except TypeError as error:
        raise ValueError(f"weights in {path} must be numbers: {error}") from error


def _read_gossamer(path: Path) -> dict[str, torch.Tensor]:
    stored = container.read(path).payload
    if stored.plan.get("trainable") is not True:
        raise ValueError(
            f"expected a network in {path} that `gossamer store --trainable` wrote, got one whose batch norms may be "
            "folded into its weights; give the weights that it was made from"
        )
    held = {tensor.name: tensor.decoded() for tensor in stored.tensors}
    if wanted := stored.plan.get("numbers", []):  # parameters of one element, which the graph keeps
        kept = kept_numbers(stored.graph)
        held |= {name: kept[name] for name in wanted if name in kept}  # load_weights names what is missing
    return {name: torch.from_numpy(value.copy()) for name, value in held.items()}


def kept_numbers(graph: bytes) -> dict[str, NDArray[np.generic]]:
    """The floating-point initializers that stay in a file's graph, each a single number, by name."""
    import onnx
    from onnx import numpy_helper

    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(graph).graph.initializer}
    return {name: value for name, value in kept.items() if value.size == 1 and np.issubdtype(value.dtype, np.floating)}


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes about old storage formats, which are read correctly
            held: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a file of another kind torch's reader fails in any way
        raise ValueError(_unreadable(path, error)) from error
    for key in WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping):
        raise ValueError(
            f"expected tensors by name in {path}, got {type(held).__name__} instead; save model.state_dict()"
        )
    if not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise ValueError(
            f"expected tensors by name in {path}, or under one of the keys {', '.join(WRAPPERS)}; got a dict with "
            f"the keys {_few([str(key) for key in held], KEYS)}; save model.state_dict() instead"
        )
    return dict(held)


def _unreadable(path: Path, error: Exception) -> str:
    """Why torch cannot read a file: it is no file of torch's, holds more than tensors, or is damaged."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start.startswith(STARTS):
        return (
            f"expected a state dict saved by torch in {path}, got a file that begins with {start!r}; "
            "safetensors, .npz and .gossamer are known by their endings"
        )
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{path} holds more than tensors, and Gossamer runs no code from a weights file; "
            "where it was made, save model.state_dict() with safetensors or torch.save"
        )
    reason = str(error).partition("\n")[0]
    return f"{path} is not a whole state dict file: {reason or type(error).__name__}"
