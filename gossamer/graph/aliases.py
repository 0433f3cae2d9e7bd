# SPDX-License-Identifier: Apache-2.0
"""Aliases: one tensor under several names, of a module that its network holds in two places.

    self.stem = Conv2d(...)                          stem.weight
    self.features = Sequential(self.stem, ReLU())    features.0.weight, the same tensor

A file holds it once, under its first name; safetensors refuses to write it twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without those that are another one under a later name."""
    found: dict[str, Tensor] = {}
    seen: set[object] = set()
    for name, tensor in tensors.items():
        if (key := _memory(tensor)) not in seen:
            found[name] = tensor
        if tensor.numel():  # nothing lies nowhere: empty tensors share no memory
            seen.add(key)
    return found


def under_all_names(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file, those too that `module` knows under a name of which the file has only an alias."""
    own = module.state_dict()
    given = {_memory(own[name]): value for name, value in tensors.items() if name in own and own[name].numel()}
    more = {name: given[key] for name, tensor in own.items() if (key := _memory(tensor)) in given}
    return more | dict(tensors)


def _memory(tensor: Tensor) -> object:
    """Where a tensor's numbers lie, and in what order."""
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
