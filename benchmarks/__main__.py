# SPDX-License-Identifier: Apache-2.0
"""The benchmark queue: runs claims one at a time, at low priority, resumable, and files their results.

    python -m benchmarks list            every claim with its state
    python -m benchmarks run             the next unfinished claims, one after the other
    python -m benchmarks run NAME ...    these claims
    python -m benchmarks curve NAME      all that the curve of this network is made of, then docs/curves.md
    python -m benchmarks table           the results table of README, from results/

Work in progress lies under GOSSAMER_RUNS (default: runs/); a killed queue goes on where it was. A finished claim
has results/NAME/ with report.json, model.gossamer, log.txt, command.txt and environment.json; a network that was
trained has history.json instead of the first, and a file only where others start from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.claim import Claim
from benchmarks.claims import CLAIMS
from benchmarks.filing import data_folder, file_circumstances, folder_in
from benchmarks.similarity import file_similarities
from benchmarks.table import write_readme
from gossamer.cli_work import NOT_PROVEN
from gossamer.files import write_atomically, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
DELIVERED = {"compress": ("report.json", "model.gossamer", "plan.json"), "train": ("history.json",)}
STORED = "model.gossamer"  # of a training whose weights are kept


def main() -> int:
    """List or run claims."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("list", "run", "curve", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if options.verb == "curve":
        return max((curve(name) for name in options.names), default=0)
    if unknown := sorted(set(options.names) - CLAIMS.keys()):
        parser.error(f"expected claims of {', '.join(CLAIMS)}, got {', '.join(unknown)}")
    if options.verb == "table":
        write_readme()
        return 0
    if options.verb == "list":
        for name, claim in CLAIMS.items():
            print(f"{state(name):<12} {claim.hours:5.1f} h  {name:<28} {claim.shows}")
        return 0
    names = options.names or [name for name in CLAIMS if state(name) != "finished"]
    os.nice(19)
    return max((run(name, CLAIMS[name]) for name in names), default=0)


def curve(name: str) -> int:
    """Run the claims of a network's curve that are not finished, measure it beside others, and draw; exit status."""
    from benchmarks.curves import CLAIMED, NETWORKS

    if name not in NETWORKS:
        raise SystemExit(f"expected a network of {', '.join(NETWORKS)}, got '{name}'")
    data_folder(), folder_in("GOSSAMER_NNCODEC")  # before hours are spent
    os.nice(19)
    claims = [claim for end in CLAIMED if (claim := f"{name}-{end}") in CLAIMS]
    finished = [state(claim) == "finished" for claim in claims]
    if (trained := f"{name}-baseline") in claims and finished[claims.index(trained)]:
        finished[: claims.index(trained)] = [True] * claims.index(trained)  # what it was trained on from is not kept
    for claim, done in zip(claims, finished, strict=True):
        if not done and (status := run(claim, CLAIMS[claim])):
            return status
    for words in (["beside_nncodec", name], ["curves", "measure", name], ["curves"]):
        module, *others = words
        command = [sys.executable, "-m", f"benchmarks.{module}", *others]
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return status
    return 0


def runs_folder() -> Path:
    """Where work in progress lies."""
    return Path(os.environ.get("GOSSAMER_RUNS", ROOT / "runs"))


def _log(name: str) -> Path:
    """What a claim's commands say; names may have points in them."""
    return runs_folder() / f"{name}.log"


def state(name: str) -> str:
    """finished, begun or waiting."""
    if all((RESULTS / name / file).exists() for file in delivered(CLAIMS[name])):
        return "finished"
    return "begun" if (runs_folder() / name).exists() else "waiting"


def delivered(claim: Claim) -> tuple[str, ...]:
    """The files that the claim's command leaves and that are filed."""
    return (*DELIVERED[claim.arguments.split(" ", 1)[0]], *([STORED] if claim.then else []), *claim.also)


def arguments(claim: Claim) -> list[str]:
    """The claim's gossamer arguments with the folders of data and of other runs filled in."""
    data = data_folder() if "{data}" in claim.arguments else None
    return [part.format(data=data) for part in shlex.split(claim.arguments)]


def run(name: str, claim: Claim) -> int:
    """Run one claim to its end and file its results; the exit status of its command."""
    out = runs_folder() / name
    out.parent.mkdir(parents=True, exist_ok=True)
    commands = [[*arguments(claim), "--out", str(out)]]
    if claim.arguments.startswith("compress"):
        commands[0] += ["--ledger", str(runs_folder() / "ledger.json")]
    if claim.then:
        commands.append([part.format(run=out) for part in shlex.split(claim.then)])
    log = _log(name)
    print(f"{name}: {claim.shows}; log in {log}", flush=True)
    started = time.time()
    for command in commands:
        with log.open("a", encoding="utf-8") as stream:
            status = subprocess.run(
                [sys.executable, "-m", "gossamer", *command], cwd=ROOT, stdout=stream, stderr=stream, check=False
            ).returncode
        if status not in (0, NOT_PROVEN):
            print(f"{name}: ended with status {status} after {time.time() - started:.0f} s; see {log}", flush=True)
            return status
    file_results(name, claim)
    print(f"{name}: finished", flush=True)
    return 0


def file_results(name: str, claim: Claim) -> None:
    """Copy what a finished run delivered into results/, without the paths of this machine."""
    out, filed = runs_folder() / name, RESULTS / name
    filed.mkdir(parents=True, exist_ok=True)
    for file in delivered(claim):
        shutil.copyfile(out / file, filed / file)
        if file.endswith(".json"):
            _remove_paths(filed / file)
    if claim.compared:
        file_similarities(arguments(claim), out, filed)
    program = "python -m gossamer" if ".py:" in claim.arguments else "gossamer"  # which finds benchmarks/ here
    calls = [f"{shown(claim)} --out runs/{name}", *([claim.then.format(run=f"runs/{name}")] if claim.then else [])]
    file_circumstances(filed, "\n".join(f"{program} {call}" for call in calls))
    write_atomically(filed / "log.txt", _without_paths(_log(name).read_text(encoding="utf-8")).encode())


def shown(claim: Claim) -> str:
    """The claim's gossamer arguments as a reader would type them."""
    return claim.arguments.replace("{data}", "$GOSSAMER_DATA")


def _remove_paths(file: Path) -> None:
    """What is published says nothing of the folders of the machine that it came from."""
    write_json(file, json.loads(_without_paths(file.read_text(encoding="utf-8"))))


def _without_paths(text: str) -> str:
    data = os.environ.get("GOSSAMER_DATA", "")
    linked = [entry for entry in Path(data).iterdir() if entry.is_symlink()] if data and Path(data).is_dir() else []
    replaced = {str(entry.resolve()): f"$GOSSAMER_DATA/{entry.name}" for entry in linked}  # as a program may say it
    replaced |= {data: "$GOSSAMER_DATA", str(runs_folder()): "runs", str(ROOT): "."}
    for path, name in replaced.items():
        text = text.replace(path, name) if path else text
    return text


if __name__ == "__main__":
    sys.exit(main())
