# SPDX-License-Identifier: Apache-2.0
"""Networks by name and weights by path, without running code that came with the weights.

`--model` is a name of the zoo, `torchvision:NAME`, `timm:NAME`, `smp:ARCHITECTURE/ENCODER` or
`file.py:callable`. Weights are safetensors, .npz, or a state dict saved by torch; a pickle that holds
anything but tensors is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gossamer.data.arrays import read_npz
from gossamer.data.preprocess import Preprocess
from gossamer.zoo import ZOO

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which trainers put the state dict
PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
NAMED = 3  # names listed of each kind of misfit


def load_model(spec: str, classes: int, **options: Any) -> nn.Module:
    """The network that `spec` names, untrained, for `classes` classes.

    `options` reach the builder as they are. A callable from a file gets `classes` if it takes an argument
    so named.
    """
    family, _, name = spec.rpartition(":")
    if family.endswith(".py"):
        build = load_callable(spec)
        if "classes" in inspect.signature(build).parameters:
            options["classes"] = classes
        model = build(**options)
    elif not family and name in ZOO:
        model = ZOO[name](classes, **options)
    elif family in ("torchvision", "timm", "smp"):
        model = {"torchvision": _torchvision, "timm": _timm, "smp": _smp}[family](name, classes, options)
    else:
        raise ValueError(
            f"no model is called '{spec}'; use one of {', '.join(ZOO)}, or torchvision:NAME, timm:NAME, "
            "smp:ARCHITECTURE/ENCODER, file.py:callable"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model '{spec}' must be a torch.nn.Module, got {type(model).__name__}")
    return model


def _package(name: str) -> Any:
    """A package that only some networks need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"this network needs the package {error.name}; pip install {error.name}") from error


def _torchvision(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    torchvision = _package("torchvision")
    if name not in torchvision.models.list_models():
        raise ValueError(f"torchvision has no model '{name}'; see torchvision.models.list_models()")
    if name in ("googlenet", "inception_v3"):  # their second heads are for training from nothing
        options = {"aux_logits": False, "init_weights": True, **options}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    return model


def _timm(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    timm = _package("timm")
    if not timm.is_model(name):
        raise ValueError(f"timm has no model '{name}'; see timm.list_models()")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **options)
    return model


def _smp(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    smp = _package("segmentation_models_pytorch")
    architecture, _, encoder = name.partition("/")
    try:
        model: nn.Module = smp.create_model(
            architecture, encoder or "resnet34", encoder_weights=None, classes=classes, **options
        )
    except KeyError as error:
        raise ValueError(f"segmentation_models_pytorch has no '{name}': {error}; use e.g. unet/resnet18") from error
    return model


def usual_preprocess(spec: str) -> Preprocess | None:
    """What the published weights of a torchvision or timm classifier read; None where it is not known."""
    family, _, name = spec.rpartition(":")
    if family == "torchvision":
        torchvision = _package("torchvision")
        if name not in torchvision.models.list_models(module=torchvision.models):
            return None
        published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        size, shorter = published.crop_size[0], published.resize_size[0]
        return Preprocess(tuple(published.mean), tuple(published.std), size, crop=size / shorter)
    if family == "timm":
        timm = _package("timm")
        published = timm.get_pretrained_cfg(name)
        if published is None:
            return None
        channels, height, width = published.input_size
        size = height if height == width else (height, width)
        return Preprocess(published.mean, published.std, size, channels, crop=published.crop_pct)
    return None


def load_callable(spec: str) -> Callable[..., Any]:
    """The object `name` in `folder/file.py:name`; the file is imported, its folder put on the import path."""
    file, _, name = spec.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {file}, named in '{spec}'")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(path.stem, module)
    module_spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        there = [k for k, value in vars(module).items() if callable(value) and not k.startswith("_")]
        raise ValueError(f"{file} has no callable '{name}'; it has {', '.join(there) or 'none'}")
    return found  # type: ignore[no-any-return]


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights in `path` into `model`; every tensor must have its place and its shape."""
    given = read_weights(path)
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


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from safetensors, .npz or a torch state dict; wrappers and prefixes are taken off."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; check --weights")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix == ".npz":
        tensors = _read_npz(path)
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


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes about old storage formats, which are read correctly
            held: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and Gossamer runs no code from a weights file; "
            "where it was made, save model.state_dict() with safetensors or torch.save"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a whole state dict file: {reason}") from error
    for key in WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise ValueError(
            f"expected tensors by name in {path}, got {type(held).__name__} with other values; "
            "save model.state_dict() instead"
        )
    return dict(held)
