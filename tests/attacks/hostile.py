# SPDX-License-Identifier: Apache-2.0
"""What attacks are made of: an honest payload, its sections, and models and sections written by hand."""

from __future__ import annotations

import numpy as np

from gossamer.coding.bits import write_varint
from gossamer.container import Payload, Tensor
from gossamer.container.blocks import deflate
from gossamer.container.dictionaries import GRAPH_WORDS
from gossamer.container.payload import to_sections


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol-buffers message that has a length."""
    return write_varint(8 * number + 2) + write_varint(len(content)) + content


def graph_that_reads(*names: bytes | str) -> bytes:
    """A model, ir_version 8, whose one node reads these names."""
    inputs = [name if isinstance(name, bytes) else name.encode() for name in names]
    return b"\x08\x08" + field(7, field(1, b"".join(field(1, name) for name in inputs)))


def graph_section(model: bytes) -> bytes:
    """The section of this graph."""
    return deflate(model, 2**30, "graph", GRAPH_WORDS)


def payload() -> Payload:
    """A grid, a codebook, an exact and an integer tensor."""
    integers = (np.arange(54, dtype=np.int32).reshape(3, 2, 3, 3) * 7) % 5 - 2
    tensors = (
        Tensor.grid("w", integers, np.array([0.25, 0.5, 0.3], np.float32)),
        Tensor.codebook("c", integers[0], np.array([-0.5, 0.1, 0, 0.25, 1], np.float32), zero=2),
        Tensor.exact("b", np.array([1.1, 2.2, 3.3], np.float32)),
        Tensor.exact("q", np.arange(-4, 4, dtype=np.int8)),
    )
    return Payload(graph_that_reads("w", "c", "b", "q"), tensors, {"size": 5}, ("cat", "dog"), {"keep": [True]})


HONEST = to_sections(payload())
