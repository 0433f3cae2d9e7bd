# SPDX-License-Identifier: Apache-2.0
"""What a target gives: files by their endings, and what goes in and comes out of the network in them.

An integer port holds q for the number x:   x = scale (q - zero)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Array], list[Array]]


@dataclass(frozen=True)
class Port:
    """An input or an output; a free size of its shape is None, and `scale` is None where it holds floats.

    >>> Port("x", (1, 3), "int8", 0.5, 10).encoded(np.array([[1.0, -1.0, 99.0]], np.float32)).tolist()
    [[12, 8, 127]]
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    scale: float | None = None
    zero: int = 0
    layout: str | None = None  #: of pictures: 'NCHW' or 'NHWC'

    def encoded(self, values: Array) -> NDArray[Any]:
        """Numbers as this port holds them."""
        if self.scale is None:
            return values
        ends = np.iinfo(self.dtype)
        integers = np.rint(values / np.float32(self.scale)) + self.zero
        whole: NDArray[Any] = np.clip(integers, ends.min, ends.max).astype(self.dtype)
        return whole

    def decoded(self, values: NDArray[Any]) -> Array:
        """The numbers that this port holds."""
        if self.scale is None:
            return np.asarray(values, np.float32)
        return (values.astype(np.float32) - self.zero) * np.float32(self.scale)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without what does not apply."""
        kept = {name: value for name, value in asdict(self).items() if value is not None}
        if self.scale is None:
            del kept["zero"]
        return {**kept, "shape": list(self.shape)}


@dataclass(frozen=True, eq=False)
class Exported:
    """`files` are bytes by ending, the main one first."""

    files: Mapping[str, bytes]
    input: Port
    outputs: tuple[Port, ...]


def together(found: Iterable[Sequence[Array]]) -> list[Array]:
    """The outputs of batches, one after the other, as those of one batch."""
    return [np.concatenate(values) for values in zip(*found, strict=True)]


class Target(Protocol):
    """A runtime, and how a network becomes its file."""

    @property
    def ending(self) -> str:
        """Of the main file."""
        ...

    def runtime(self) -> str:
        """The runtime that `opened` uses, with its version, and the processor's library where it has one."""
        ...

    def export(self, model: bytes, example: Array) -> Exported:
        """The files of an ONNX network that reads one batch like `example`, (1, C, H, W).

        ValueError where the converter is missing, or cannot translate the network.
        """
        ...

    def opened(self, exported: Exported) -> AbstractContextManager[Run]:
        """The network in the files, in its runtime: (N, C, H, W) -> outputs with the shapes of the ONNX file."""
        ...
