# SPDX-License-Identifier: Apache-2.0
"""The main job: trained network, data and tolerance in; smaller or faster network out, with the proof.

result = gossamer.compress(task, Goal(tolerance=0.01), out="runs/mine")
result.report.compressed.bytes.coded, result.certificate.proven, result.folder / "model.gossamer"
"""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gossamer import container
from gossamer.certify import Certificate, Ledger, default_ledger
from gossamer.files import read_json, write_atomically, write_json, written_aside
from gossamer.goal import Goal
from gossamer.graph import Network, trace
from gossamer.plan import Plan
from gossamer.recipes import Recipe, recipe_named
from gossamer.report.assemble import assemble
from gossamer.report.page import write_page
from gossamer.report.record import Report
from gossamer.report.record import write_json as write_report
from gossamer.search.candidate import Candidate, finished
from gossamer.search.claims import claims
from gossamer.search.outlook import provable
from gossamer.search.proof import Proof, prove
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.search.workers import Spread, Workers
from gossamer.task import Task
from gossamer.tuning.checkpoint import load_weights


@dataclass(frozen=True)
class Result:
    """What a run delivered, and where."""

    folder: Path
    report: Report
    certificate: Certificate
    candidates: Sequence[Candidate]


def compress(
    task: Task,
    goal: Goal,
    recipe: str = "auto",
    *,
    out: str | Path,
    settings: Settings | None = None,
    name: str = "network",
    ledger: Path | None = None,
    watch: Watch | None = None,
    command: str = "",
    workers: Workers | None = None,
) -> Result:
    """Search, prove, deliver. Interrupted at any moment, the same call goes on where it was.

    A KeyboardInterrupt (Ctrl-C) during the search ends it: what was best until then is proven and delivered.

    `recipe`: a name of `gossamer.recipes.RECIPES`, with options as in "deep-compression:fc_bits=6". `workers` make its
    trials, where it has some that need not wait for each other.

    Writes model.gossamer, model.onnx, plan.json, report.json and report.html into `out`. Raises ToleranceNotMet
    when no candidate keeps the promise on the selection split (the best one is on disk), ValueError for bad input.
    """
    chosen = recipe_named(recipe)
    if workers and not (isinstance(chosen, Spread) and chosen.spreads):
        raise ValueError(
            f"expected a recipe whose trials need not wait for each other, such as slim-then-sparsify with "
            f"brute_force=true, got '{recipe}'; leave out workers (torchrun shares each training between processes)"
        )
    settings, watch = settings or Settings(), watch or Watch()
    looks = Ledger.open(ledger or default_ledger())
    network = trace(task.model, task.example, freeze=settings.protect)
    look = looks.next_look(task.test.sha256)
    run = Run(Path(out), task, goal, recipe, network, settings, watch, look, workers, name)
    for line in provable(task, goal, run.look):
        watch.say(line)
    candidates = searched(run, chosen)
    if workers:
        workers.give_up()
    proof = prove(run, candidates, looks)
    report = deliver(run.folder, proof, assemble(run, candidates, proof, name, command))
    run.forget_answers()
    return Result(run.folder, report, proof.certificate, candidates)


def searched(run: Run, recipe: Recipe) -> Sequence[Candidate]:
    """What the recipe finds, or had found when it was stopped by hand; stopped before that, KeyboardInterrupt."""
    try:
        return recipe.search(run)
    except KeyboardInterrupt:
        found = finished(run)
        if not any(candidate.verdict.accepted for candidate in found):
            raise
        run.stop("the search was stopped by hand: this is the best until then; the same command goes on from here")
        return found


def deliver(folder: Path, proof: Proof, report: Report) -> Report:
    """Put the proven candidate's files and the report under their final names; returns the report as written."""
    chosen = proof.delivered
    with written_aside(folder / "model.gossamer") as part:
        shutil.copyfile(chosen.file, part)
        container.with_claims(part, _claims(report))
    whole_file = replace(report.compressed.bytes, coded=(folder / "model.gossamer").stat().st_size)
    parts = container.parts(container.read(folder / "model.gossamer"))
    report = replace(report, compressed=replace(report.compressed, bytes=whole_file), parts=parts)
    write_atomically(folder / "model.onnx", chosen.onnx())
    write_json(folder / "plan.json", chosen.plan.to_json())
    write_json(folder / "delivered.json", str(chosen.folder.relative_to(folder)))
    write_report(report, folder / "report.json")
    write_page(report, folder / "report.html")
    return report


def _claims(report: Report) -> dict[str, object]:
    """What travels inside the file: the certificate, and what it is about."""
    return claims(
        report.certificate,
        network=report.network,
        data=report.data,
        recipe=report.recipe,
        original_quality=report.original.quality,
        compressed_quality=report.compressed.quality,
        fp32_bytes=report.original.bytes.fp32,
        macs=report.original.macs,
        runtime=str((report.goal or {})["runtime"]),
        by_area=None if report.by_area is None else report.by_area.to_json(),
    )


def load(run: str | Path, task: Task) -> Network:
    """The compressed network of a finished run as a trainable network: `load(run, task).module`.

    Cut from the task's original by the run's plan in one step, with the file's values put in: it computes what the file
    does. Where int8 was delivered, they are the float32 values before they were rounded to int8.
    """
    folder = Path(run)
    if not (folder / "delivered.json").exists():
        raise ValueError(f"expected a finished run in {folder}, found no delivered network there; run compress again")
    step = folder / read_json(folder / "delivered.json")
    plan = Plan.from_json(read_json(step / "plan.json"))
    network = trace(task.model, task.example)
    try:
        smaller = network.cut(plan.keep()) if plan.channels else network
        load_weights(step / "weights.safetensors", smaller.module)
    except ValueError as error:
        raise ValueError(
            f"expected the network that the run in {folder} compressed, got another one in '{task.name}' ({error}); "
            "give the task of that run"
        ) from error
    return smaller


class _Callable(types.ModuleType):
    """`gossamer.compress` is this module once it is imported; calling it is calling the function of the same name."""

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        return compress(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
