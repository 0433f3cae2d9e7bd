# SPDX-License-Identifier: Apache-2.0
"""Published systems, and `auto`, ours: each composes methods and searches with them."""

from __future__ import annotations

from gossamer.recipes.auto import Auto as Auto

RECIPES = {"auto": Auto}
