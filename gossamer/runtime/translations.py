# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's exporter makes of a network's operators, kept for the next network with the same ones.

A search exports one network dozens of times, with other weights and widths, and translating the operators takes
most of that time. The translation might depend on weights and widths as well, so it is used only after it gave, byte
for byte, what the exporter gave for another network; and like every export it is compared with PyTorch each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from gossamer.graph.traced import TracedModule
from gossamer.runtime.weights import is_weight, serialize

Parameters = Mapping[str, NDArray[np.generic]]
KEPT = 32  # translations, the last ones; each without weights


@dataclass
class Translation:
    """A model as the exporter made it, without its weights; `missing` are the parameters that it reads."""

    model: bytes
    missing: tuple[str, ...]
    made: str = ""  #: the digest of the export that it comes from
    confirmed: bool | None = None  #: whether it gave another export, byte for byte; None: there was no other yet

    def completed(self, parameters: Parameters) -> onnx.ModelProto:
        """The model with the weights of another network."""
        model = onnx.load_from_string(self.model)
        arrays = {name: np.ascontiguousarray(parameters[name]).reshape(parameters[name].shape) for name in self.missing}
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
        return model


_translations: OrderedDict[str, Translation] = OrderedDict()


def keys_of(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], fold: bool) -> dict[str, bool]:
    """The keys of a network's operators, and whether each is for any widths; none where they cannot be told."""
    if not isinstance(module, TracedModule):
        return {}
    shapes = sorted((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    of_any = (module.operators, [name for name, _ in shapes], [tuple(x.shape) for x in inputs], fold)
    return {_digest(of_any): True, _digest((of_any, shapes)): False}


def _digest(said: object) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()


def known(keys: Iterable[str]) -> dict[str, Translation]:
    """The translations under these keys that nothing speaks against."""
    found = {key: _translations[key] for key in keys if key in _translations}
    return {key: one for key, one in found.items() if one.confirmed is not False}


def remember(key: str, translation: Translation | None, made: bytes, again: bytes | None) -> None:
    """A network was exported: as `made`, and the translation known before gave `again`.

    `translation` is the one of this export; None: there is none that another network could use.
    """
    digest, before = hashlib.sha256(made).hexdigest(), _translations.get(key)
    if before is None:
        before = replace(translation or Translation(b"", (), confirmed=False), made=digest)
    elif again != made:
        before.confirmed = False
    elif before.made != digest:  # the same network twice says nothing
        before.confirmed = True
    _translations[key] = before
    _translations.move_to_end(key)
    while len(_translations) > KEPT:
        _translations.popitem(last=False)


def without_weights(model: onnx.ModelProto, parameters: Parameters, any_widths: bool) -> Translation | None:
    """The model apart from its weights; None where one is no parameter of the network.

    For `any_widths` without the shapes between the operators, which the exporter's simplifications read.
    """
    bare, missing, constants = onnx.ModelProto(), [], []
    for tensor in model.graph.initializer:
        if tensor.name in parameters:
            missing.append(tensor.name)
        elif is_weight(tensor):
            return None
        else:
            constants.append(tensor)
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(constants)
    if any_widths:
        bare.graph.ClearField("value_info")
    return Translation(serialize(bare), tuple(missing))
