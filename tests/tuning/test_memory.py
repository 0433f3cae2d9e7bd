# SPDX-License-Identifier: Apache-2.0
"""Large blocks that are freed stay with the process, and are not paid for page by page again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from gossamer.tuning.memory import keep_freed_memory
assert {wanted} is False or keep_freed_memory()
for turn in range(8):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(12_000_000).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other rules")
def test_pages_are_not_asked_for_again():
    asked, kept = (
        int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM.format(wanted=wanted)], capture_output=True, check=True
            ).stdout
        )
        for wanted in (False, True)
    )
    assert kept < asked / 4
