# SPDX-License-Identifier: Apache-2.0
"""What tests of training share."""

from __future__ import annotations

import pytest

from gossamer.tuning import Plug


class StopAfter(Plug):
    """A kill in the middle of an epoch."""

    def __init__(self, step):
        self.step = step

    def before_step(self, clock, weights):
        if clock.step == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def stop_after() -> type[StopAfter]:
    """The plug that kills training at a step."""
    return StopAfter
