# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of the reader: whatever the bytes, a network or CorruptFile, in bounded time and memory.

    python -m benchmarks.fuzz seeds FOLDER                       honest inputs to begin with
    python -m benchmarks.fuzz run FOLDER -max_total_time=3600    new inputs go to FOLDER, crashes beside it; options are
                                                                 libFuzzer's
    python -m benchmarks.fuzz run SMALL -merge=1 FOLDER          a small set that reaches as much

`run` needs atheris (on Linux, `pip install atheris`) and an environment without numba: coverage sees no machine code.
Whoever finds a crash puts the input, mended, into tests/attacks/corpus/, which the tests replay; there is a set that
reached, together, all that was ever reached.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

LIMITS = ("-rss_limit_mb=1500", "-timeout=120", "-max_len=4096")


def seeds(folder: Path) -> None:
    """Honest inputs: the golden files and the one of the attacks."""
    from benchmarks.fuzz_inputs import AS_IT_STANDS, input_of
    from gossamer import container
    from tests.attacks.hostile import payload
    from tests.golden.test_version_1_file import VERSION_1, VERSION_1_CODEBOOKS, VERSION_1_MIXING

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as there:
        container.write(Path(there) / "a.gossamer", payload(), {"n": 1})
        files = {"golden": VERSION_1, "codebooks": VERSION_1_CODEBOOKS, "mixing": VERSION_1_MIXING}
        files["attacks"] = (Path(there) / "a.gossamer").read_bytes()
    for name, file in files.items():
        (folder / name).write_bytes(input_of(file))
        (folder / f"{name}-file").write_bytes(bytes([AS_IT_STANDS]) + file)


def run(options: list[str]) -> None:
    """Hand this process to libFuzzer; it ends when that does."""
    import atheris

    with atheris.instrument_imports(include=["gossamer.container", "gossamer.coding"]):
        from benchmarks.fuzz_inputs import attack

    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "a.gossamer"
    again = f"{sys.executable} -m benchmarks.fuzz run"  # how libFuzzer starts the processes that merge
    beside = f"-artifact_prefix={Path(options[0]).resolve().parent}/"
    atheris.Setup([again, *LIMITS, beside, *options], lambda data: attack(data, path) and None)
    atheris.Fuzz()


def main() -> int:
    """Write seeds, or fuzz."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("seeds", "run"):
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "seeds":
        seeds(Path(sys.argv[2]))
    else:
        run(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
