# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of the reader: whatever the bytes, a network or CorruptFile, in bounded time and memory.

    python -m benchmarks.fuzz seeds FOLDER                       honest inputs to begin with
    python -m benchmarks.fuzz run FOLDER -max_total_time=3600    new inputs go to FOLDER, crashes beside it; options are
                                                                 libFuzzer's
    python -m benchmarks.fuzz run SMALL -merge=1 FOLDER          a small set that reaches as much
    python -m benchmarks.fuzz file LOG                           puts what `-print_final_stats=1` said into results/

`run` needs atheris (on Linux, `pip install atheris`) and an environment without numba: coverage sees no machine code.
Whoever finds a crash puts the input, mended, into tests/attacks/corpus/, which the tests replay; there is a set that
reached, together, all that was ever reached.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "results" / "fuzz"
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


def file(log: Path) -> None:
    """Put what libFuzzer says at its end into results/fuzz/; SystemExit for a log without an end."""
    from benchmarks.filing import file_circumstances
    from gossamer.files import write_atomically, write_json

    text = log.read_text(encoding="utf-8", errors="replace")
    ended = re.search(r"Done (\d+) runs in (\d+) second", text)
    said = dict(re.findall(r"stat::(\w+):\s+(\d+)", text))
    lines = re.findall(r"^#\d+\s.*cov: (\d+) ft: (\d+) corp: (\d+)/.*$", text, re.M)
    if not ended or not said or not lines:
        raise SystemExit(f"expected a log that ends with libFuzzer's statistics, {log} does not")
    reached = dict(zip(("edges", "features", "inputs_kept"), map(int, lines[-1]), strict=True))
    found = {
        "inputs": int(ended[1]),
        "seconds": int(ended[2]),
        "crashes": len(re.findall(r"Test unit written to|== ERROR: libFuzzer", text)),
        "slowest_seconds": int(said["slowest_unit_time_sec"]),
        "most_megabytes": int(said["peak_rss_mb"]),
        **reached,
    }
    write_json(RESULTS / "fuzz.json", found)
    of_run = re.compile(r"INFO: (?!Instrumenting)|#\d+\s|Done|stat::")
    text = re.sub(r"(files found in ).*", r"\1FOLDER", text)
    shown = [line for line in text.splitlines() if of_run.match(line)]
    write_atomically(RESULTS / "log.txt", "\n".join([*shown[:5], "...", *shown[-12:], ""]).encode())
    file_circumstances(RESULTS, "python -m benchmarks.fuzz run FOLDER -max_total_time=3600 -print_final_stats=1")
    print((RESULTS / "fuzz.json").read_text(encoding="utf-8"))


def main() -> int:
    """Write seeds, fuzz, or file what came of it."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("seeds", "run", "file"):
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "seeds":
        seeds(Path(sys.argv[2]))
    elif sys.argv[1] == "file":
        file(Path(sys.argv[2]))
    else:
        run(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
