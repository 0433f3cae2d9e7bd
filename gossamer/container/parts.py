# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a file are: its parts, which add up to all of it."""

from __future__ import annotations

from gossamer.container.file import File
from gossamer.container.sections import HEADER_BYTES


def parts(file: File) -> dict[str, int]:
    """Bytes of each part by its name; weights are the tensors of two dimensions or more.

    Of streams that several tensors share, each has the share that it has of their numbers.
    """
    sections = {place.name: place.length for place in file.places}
    weights = sum(entry.bytes - entry.side for entry in file.stored if len(entry.shape) > 1)
    side = sum(entry.side for entry in file.stored)
    vectors = sum(entry.bytes for entry in file.stored) - weights - side
    return {
        "weights": weights,
        "units and codebooks": side,
        "biases and other vectors": vectors,
        "table of the tensors": sections["tensors"] - weights - side - vectors,
        "graph": sections["graph"],
        "preprocessing, classes, plan": sections["preprocess"] + sections["classes"] + sections["plan"],
        "certificate and claims": sections["claims"],
        "header": HEADER_BYTES,
    }
