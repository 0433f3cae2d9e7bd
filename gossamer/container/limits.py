# SPDX-License-Identifier: Apache-2.0
"""How large anything in a version 1 file may be: what bounds memory and time, whatever the bytes say."""

from __future__ import annotations

MOST_FILE_BYTES = 2**32 - 1
MOST_GRAPH_BYTES = 2**22  # inflated; a graph without weights has a few kilobytes
MOST_GRAPH_DEPTH = 8  # graphs inside the nodes of graphs
MOST_TABLE_BYTES = 2**24  # inflated
MOST_JSON_BYTES = 2**22  # inflated; JSON grows some twentyfold when it becomes objects
MOST_JSON_DEPTH = 32
MOST_TENSORS = 100_000
MOST_DIMS = 8
MOST_NAME_BYTES = 1024
MOST_ELEMENTS = 2**31 - 1  # of one tensor, and of one dimension
MOST_DECODED_BYTES = 2**32  # of all tensors together, counted by `decoded_bytes` in tensor.py
FREE_DECODED_BYTES = 2**22  # that any file may promise,
DECODED_BYTES_PER_BYTE = 2**12  # and these for each byte of its tensors: the smallest networks known have 1 to 500
MOST_ONNX_BYTES = 2**31 - 1  # what protocol buffers can hold
