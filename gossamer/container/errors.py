# SPDX-License-Identifier: Apache-2.0
"""The one error of the file format."""

from __future__ import annotations


class CorruptFile(ValueError):
    """A file is not what its format says: the message names the file, the place and what is wrong there."""
