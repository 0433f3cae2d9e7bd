# SPDX-License-Identifier: Apache-2.0
"""Machine code that is kept on disk is that of the sources as they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOP = """
from beside import step, WIDTH
from gossamer.coding.machine_code import machine_code, within_machine_code

def loop(values):
    for i in range(len(values)):
        values[i] = step(values[i]) + WIDTH

if __name__ == "__main__":
    import numpy as np
    within_machine_code(step)
    values = np.zeros(1, np.int64)
    machine_code(loop)(values)
    print(values[0])
"""
BESIDE = """
WIDTH = {width}

def step(value):
    return value + {step}
"""


def test_a_change_in_another_file_of_the_package_is_noticed(tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "loop.py").write_text(LOOP)
    kept = dict(os.environ, NUMBA_CACHE_DIR="", PYTHONPATH=os.pathsep.join(sys.path))
    found = []
    for width, step in ((100, 1), (100, 1), (100, 2), (200, 2)):
        (tmp_path / "beside.py").write_text(BESIDE.format(width=width, step=step))
        ran = subprocess.run(
            [sys.executable, "-B", "loop.py"], cwd=tmp_path, env=kept, capture_output=True, text=True, check=True
        )
        found.append(int(ran.stdout))
        names = {path.name for path in tmp_path.rglob("*.nbi")}
    assert found == [101, 101, 102, 202]
    assert len(names) == 3  # the second run found what the first had kept
