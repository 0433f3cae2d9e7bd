# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: one safetensors file an epoch, whole or absent, opened without executing anything.

Keys are prefixed by what they belong to: `weights/NAME`, `momentum/NAME` (of what a plug learns
`momentum/plug0/NAME`), `plug0/NAME`, those of a second network trained beside the first `copy1/...`; the histories are
JSON in the file's metadata, and so are the qualities of a training that is watched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save  # save_file makes files that only their owner may read
from torch import Tensor, nn

from gossamer.files import write_atomically
from gossamer.graph.aliases import distinct, under_all_names
from gossamer.tuning.plug import Plug, learned_by
from gossamer.tuning.watched import Watched


def save_weights(path: Path, module: nn.Module) -> None:
    """Write the module's parameters and buffers under their own names, what has several under its first."""
    write_atomically(path, save(_contiguous(distinct(module.state_dict()))))


def load_weights(path: Path, module: nn.Module) -> None:
    """Read what `save_weights` wrote into a module of the same shapes; ValueError where it is another module."""
    put(_read(path)[0], module, path)


class Trained(Protocol):
    """What a training is made of (`loop.Training`)."""

    module: nn.Module
    optimizer: torch.optim.SGD
    plugs: Sequence[Plug]
    history: list[float]


def save_training(path: Path, *copies: Trained, watched: Watched | None = None) -> None:
    """Write everything that trainings beside each other need to go on to the same result, all or nothing."""
    tensors: dict[str, Tensor] = {}
    for number, training in enumerate(copies):
        tensors |= {f"{_copy(number)}{name}": value for name, value in _tensors(training).items()}
    histories = [list(training.history) for training in copies]
    metadata = {"histories": json.dumps(histories)} | ({"qualities": json.dumps(watched.qualities)} if watched else {})
    write_atomically(path, save(_contiguous(tensors), metadata=metadata))


def load_training(path: Path, *copies: Trained, watched: Watched | None = None) -> None:
    """Take back what `save_training` wrote, histories too. A missing file is a start from nothing."""
    if not path.exists():
        return
    tensors, metadata = _read(path)
    histories = json.loads(metadata.get("histories", "[]"))
    if len(histories) != len(copies):
        raise ValueError(
            f"expected {len(copies)} trainings in {path}, got {len(histories)}: another version wrote it, or another "
            "recipe; delete it to start again"
        )
    for number, (training, history) in enumerate(zip(copies, histories, strict=True)):
        own = _part(tensors, _copy(number)) if number else tensors
        put(_part(own, "weights/"), training.module, path)
        momentum = _part(own, "momentum/")
        for name, parameter in _trained(training.module, training.plugs).items():
            if name in momentum:
                like_parameter = torch.empty_like(parameter, requires_grad=False)  # keeps the memory layout
                like_parameter.copy_(momentum[name])
                training.optimizer.state[parameter]["momentum_buffer"] = like_parameter
        for index, plug in enumerate(training.plugs):
            plug.load_state(_part(own, f"plug{index}/"))
        training.history[:] = [float(loss) for loss in history]
    if watched:
        watched.qualities[:] = [float(quality) for quality in json.loads(metadata.get("qualities", "[]"))]


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in tensors.items()}


def _copy(number: int) -> str:
    return f"copy{number}/" if number else ""


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _tensors(training: Trained) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {
        f"weights/{name}": value for name, value in distinct(training.module.state_dict()).items()
    }
    for name, parameter in _trained(training.module, training.plugs).items():
        buffer = training.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum/{name}"] = buffer
    for index, plug in enumerate(training.plugs):
        tensors |= {f"plug{index}/{name}": value for name, value in plug.state().items()}
    return tensors


def _trained(module: nn.Module, plugs: Sequence[Plug]) -> dict[str, Tensor]:
    """Every tensor that an optimizer may have momentum of."""
    return dict(module.named_parameters()) | {name: own.tensor for name, own in learned_by(plugs).items()}


def put(tensors: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Load a state dict that stood in `path`, or say in one sentence what does not fit; aliases may be left out."""
    tensors = under_all_names(tensors, module)
    there = {name: tuple(value.shape) for name, value in tensors.items()}
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            expected, got = (str(shapes.get(name, "nothing")) for shapes in (wanted, there))
            raise ValueError(
                f"expected weights of this network in {path}, but of '{name}' it has {got}, not {expected}"
            )
    module.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; ValueError where it cannot be read."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # not a dict: it cannot be iterated itself
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"expected a checkpoint in {path}, got a file that cannot be read ({error}); delete it to start again"
        ) from error
