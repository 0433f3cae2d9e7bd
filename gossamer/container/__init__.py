# SPDX-License-Identifier: Apache-2.0
"""The .gossamer file: a network and the claims about it, small, checked, and opened without torch or ONNX."""

from __future__ import annotations

from gossamer.container.describe import describe as describe
from gossamer.container.errors import CorruptFile as CorruptFile
from gossamer.container.file import File as File
from gossamer.container.file import Opened as Opened
from gossamer.container.file import decode as decode
from gossamer.container.file import opened as opened
from gossamer.container.file import read as read
from gossamer.container.file import verify as verify
from gossamer.container.file import with_claims as with_claims
from gossamer.container.file import write as write
from gossamer.container.onnx_bytes import to_onnx as to_onnx
from gossamer.container.parts import parts as parts
from gossamer.container.payload import Payload as Payload
from gossamer.container.payload import payload_bytes as payload_bytes
from gossamer.container.tensor import Tensor as Tensor
from gossamer.container.tensor_data import Choice as Choice
from gossamer.container.tensor_data import Stored as Stored
