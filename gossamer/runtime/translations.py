# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's exporter makes of a network's operators, kept for the next network with the same ones.

A search exports one network dozens of times, with other weights and widths, and translating the operators takes
most of that time. The translation might depend on weights and widths as well, so it is used only after it gave, byte
for byte, what the exporter gave for another network; and like every export it is compared with PyTorch each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from gossamer.graph.traced import TracedModule
from gossamer.runtime.weights import initializer, is_weight, serialize

Parameters = Mapping[str, NDArray[np.generic]]
KEPT = 32  # translations, the last ones; each without weights


@dataclass
class Translation:
    """A model as the exporter made it, without its weights; `missing` are the parameters that it reads."""

    model: bytes
    missing: tuple[str, ...]
    of: str = ""  #: the network: another one must come to the same
    confirmed: bool | None = None  #: whether it gave another export, byte for byte; None: there was no other yet

    def completed(self, parameters: Parameters) -> onnx.ModelProto:
        """The model with the weights of another network."""
        model = onnx.load_from_string(self.model)
        model.graph.initializer.extend(initializer(name, parameters[name]) for name in self.missing)
        return model


_translations: OrderedDict[str, Translation] = OrderedDict()


@dataclass(frozen=True)
class Keys:
    """Of a network's operators: for any widths, and for its own; both empty where they cannot be told."""

    any_widths: str
    widths: str

    @classmethod
    def of(cls, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], fold: bool) -> Keys:
        """What has the same operators has the same keys."""
        if not isinstance(module, TracedModule):
            return cls("", "")
        shapes = sorted((name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors_of(module).items())
        operators = (module.operators, [name for name, *_ in shapes], [tuple(x.shape) for x in inputs], fold)
        return cls(digest(repr(operators).encode()), digest(repr((operators, shapes)).encode()))

    def known(self) -> dict[str, Translation]:
        """The translations under these keys that nothing speaks against."""
        found = {key: _translations[key] for key in (self.any_widths, self.widths) if key in _translations}
        for key in found:
            _translations.move_to_end(key)
        return {key: one for key, one in found.items() if one.confirmed is not False}

    def remember(
        self, translations: tuple[Translation, Translation] | None, made: bytes, again: Mapping[str, str]
    ) -> None:
        """A network was exported, as `made`; `again` are digests of what the translations known before gave.

        `translations` are those of this export, for any widths and for its own; None: no other network could use them.
        """
        if not self.widths:
            return
        now = digest(made)
        for key, place, of in ((self.any_widths, 0, self.widths), (self.widths, 1, now)):
            before = _translations.get(key)
            if before is None:
                blank = Translation(b"", (), confirmed=False)
                before = replace(translations[place] if translations else blank, of=of)
            elif again.get(key) != now:
                before.confirmed = False
            elif before.of != of:  # the same network twice says nothing, nor do the same widths of any others
                before.confirmed = True
            _translations[key] = before
            _translations.move_to_end(key)
        while len(_translations) > KEPT:
            _translations.popitem(last=False)


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer, also those that are not saved and those that are two names of one."""
    return dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))


def without_weights(model: onnx.ModelProto, parameters: Parameters) -> tuple[Translation, Translation] | None:
    """The model apart from its weights, for any widths and for its own; None where a weight is no parameter.

    That for any widths lacks the shapes between the operators, which the exporter's simplifications read. `model` is
    emptied: of a large network there should not be two.
    """
    missing = tuple(tensor.name for tensor in model.graph.initializer if tensor.name in parameters)
    constants = [tensor for tensor in model.graph.initializer if tensor.name not in parameters]
    if any(is_weight(tensor) for tensor in constants):
        return None
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    own = serialize(model)
    model.graph.ClearField("value_info")
    return Translation(serialize(model), missing), Translation(own, missing)


def digest(said: bytes) -> str:
    """What is compared in place of the bytes."""
    return hashlib.sha256(said).hexdigest()
