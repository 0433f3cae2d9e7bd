# SPDX-License-Identifier: Apache-2.0
"""The page that explains labels shows what really happens."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_docs_graph():
    page = Path(__file__).parents[2] / "docs" / "graph.md"
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 8
    assert result.failed == 0
