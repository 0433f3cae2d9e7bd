# SPDX-License-Identifier: Apache-2.0
"""Assemble: the record of a finished run, every number measured on the files that it delivers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

from gossamer import container
from gossamer.certify import Certificate, by_known_areas
from gossamer.certify.betting import difference
from gossamer.files import sha256
from gossamer.graph import Layer, Network
from gossamer.measure.cold_start import cold_starts
from gossamer.measure.environment import environment
from gossamer.measure.sizes import Sizes, sizes, zeros
from gossamer.report.pictures import draw
from gossamer.report.record import (
    Bytes,
    Candidate,
    Epoch,
    Latency,
    LayerRow,
    Opened,
    Report,
    SecondTest,
    Side,
    SpeedRow,
    SplitRow,
    Watched,
)
from gossamer.report.units import human_ratio
from gossamer.report.worst import agreement, by_class, by_group
from gossamer.runtime.latency import interleaved, thread_counts
from gossamer.runtime.session import available, open_session, precisions
from gossamer.runtime.weights import split_weights
from gossamer.search.board import board_of
from gossamer.search.candidate import Candidate as Finished
from gossamer.search.candidate import ram_bytes_of
from gossamer.search.control import dense_control
from gossamer.search.pace import tuned_epochs
from gossamer.search.proof import Proof
from gossamer.search.run import EPOCHS, EVALUATIONS, LOSSES, Run

WORTH_IT = 1.1  # times as small or fast: with less, the report says that nothing was gained


def assemble(run: Run, candidates: Sequence[Finished], proof: Proof, name: str, command: str) -> Report:
    """The report of a run; latencies are measured here, once, and remembered."""
    chosen = proof.delivered
    of_chosen = chosen.folder.relative_to(run.folder / "steps").as_posix().replace("/", " ")
    timings = run.stage(f"latency of {of_chosen}", lambda: _latencies(run, chosen.onnx()))
    starts = run.stage(f"cold start of {of_chosen}", lambda: _cold_starts(run, chosen))
    original_onnx = run.original_onnx()
    original = _side(
        proof.original_quality,
        run.network.parameters,
        run.network.parameters - zeros(split_weights(original_onnx)[1]),
        run.network.macs,
        sizes(run.network.parameters, original_onnx, 0),
        {runtime: row["original"] for runtime, row in timings["turns"].items()},
        starts["original"],
        ram_bytes_of(run, original_onnx),
        proof.original.figures,
        _on_second_test(run, original_onnx),
    )
    compressed = _side(
        proof.compressed_quality,
        chosen.parameters,
        chosen.nonzeros,
        chosen.macs,
        chosen.sizes,
        {runtime: row["compressed"] for runtime, row in timings["turns"].items()},
        starts["compressed"],
        ram_bytes_of(run, chosen.onnx()),
        proof.compressed.figures,
        _on_second_test(run, chosen.onnx()),
    )
    control = None
    if run.settings.control and tuned_epochs(run):
        tuned = dense_control(run)
        if tuned is not None:
            second = None if tuned.second is None else SecondTest(**tuned.second)
            control = replace(original, quality=tuned.quality, figures=tuned.figures or None, second_test=second)
    elif tuned_epochs(run):
        run.note("no dense control was tuned beside it (--control does): compare with the original as it was given")
    if not run.goal.fit and (gained := _too_little(run, original, compressed, chosen.speedup)):
        run.note(gained)
    stages = run.stages()
    task = run.task
    models = (original_onnx, chosen.onnx())
    shown, legend = draw(task, proof.original.quality, proof.compressed.quality, models, run.goal.runtime, run.folder)
    return Report(
        network=name,
        task=task.kind,
        data=task.name.rpartition(" on ")[2],
        recipe=run.recipe,
        minimise=run.goal.minimise,
        seed=run.settings.seed,
        original=original,
        compressed=compressed,
        control=control,
        certificate=proof.certificate.to_json(),
        environment=environment(),
        seconds=round(run.seconds, 1),
        command=command,
        candidates=tuple(_candidate(candidate, proof.opened.get(candidate.name)) for candidate in candidates),
        chosen=chosen.name,
        layers=_layers(run.network, chosen),
        times={stage: row["seconds"] for stage, row in stages.items()},
        goal=run.goal.to_json(),
        splits={split.name: SplitRow(len(split), split.sha256) for split in task.splits},
        notes=tuple(run.notes),
        history=tuple(_history(stages)),
        watched=None if (asked := run.watched_original()) is None else Watched(*asked),
        speed=tuple(SpeedRow(**row) for row in timings["speed"]),
        classes=tuple(by_class(task.test, task.classes, proof.original.quality, proof.compressed.quality)),
        groups=tuple(by_group(task.test, proof.original.quality, proof.compressed.quality)),
        agreement=agreement(proof.original.classes, proof.compressed.classes),
        by_area=by_known_areas(
            difference(proof.original.quality, proof.compressed.quality), task.test.areas, proof.certificate.alpha
        ),
        shown=shown,
        legend=legend,
        epochs_trained=run.counts[EPOCHS],
        evaluations=run.counts[EVALUATIONS],
    )


def _history(stages: Mapping[str, Any]) -> Iterator[Epoch]:
    """Every epoch of tuning, training after training."""
    losses = [(stage.removesuffix("losses"), row["value"]) for stage, row in stages.items() if stage.endswith(LOSSES)]
    number = 0
    for training, (name, values) in enumerate(losses, start=1):
        qualities = stages[f"{name}qualities"]["value"] if f"{name}qualities" in stages else [None] * len(values)
        for loss, quality in zip(values, qualities, strict=True):
            number += 1
            yield Epoch(number, loss, quality, training)


def _too_little(run: Run, original: Side, compressed: Side, speedup: float | None) -> str | None:
    """A sentence where what was to become small hardly did; `speedup` is the search's, which counts on a board."""
    minimise, runtime = run.goal.minimise, run.goal.runtime
    if minimise == "bytes":
        times = original.bytes.fp32 / (compressed.bytes.coded or original.bytes.fp32)
    elif minimise == "macs":
        times = original.macs / max(1, compressed.macs)
    elif board_of(run) is not None and speedup is not None:
        times = speedup
    else:
        times = original.latency_ms[runtime].median / compressed.latency_ms[runtime].median
    if times >= WORTH_IT:
        return None
    what = {"bytes": "the file", "latency": f"one image in {runtime}", "macs": "the number of multiply-adds"}[minimise]
    return (
        f"nothing was gained: {what} is at {human_ratio(times)}; the table of candidates says why none that "
        "gains more was delivered"
    )


def _side(
    quality: float,
    parameters: int,
    nonzeros: int,
    macs: int,
    found: Sizes,
    latency_ms: Mapping[str, Any],
    start: Mapping[str, Any],
    ram_bytes: int | None,
    figures: Mapping[str, float],
    second_test: SecondTest | None,
) -> Side:
    return Side(
        quality=quality,
        parameters=parameters,
        nonzeros=nonzeros,
        macs=macs,
        bytes=Bytes(found.fp32, found.zip, found.runtime, found.coded or None),
        latency_ms={runtime: Latency(**row) for runtime, row in latency_ms.items()},
        first_answer_ms=start["ms"],
        peak_memory=start["peak_bytes"],
        first_answer_range=tuple(start.get("ms_range") or ()),
        peak_memory_range=tuple(start.get("peak_range") or ()),
        ram_bytes=ram_bytes,
        figures=figures or None,
        second_test=second_test,
    )


def _on_second_test(run: Run, model: bytes) -> SecondTest | None:
    """What the second test says of a network, remembered by its hash; it is opened when all is decided."""
    split = run.task.second_test
    if split is None:
        return None
    found = run.answered_on(f"second test of {sha256(model)[:16]}", split, lambda: model)
    return SecondTest(float(found.quality.mean()), dict(found.figures) or None)


def _cold_starts(run: Run, chosen: Finished) -> dict[str, Any]:
    """What original and compressed take from their files to their first answers."""
    run.original_onnx()
    files = {"original": run.folder / "original.onnx", "compressed": chosen.file}
    return {side: asdict(start) for side, start in cold_starts(files, run.goal.runtime, run.settings.threads).items()}


def _latencies(run: Run, model: bytes) -> dict[str, Any]:
    """Original and compressed in turns, at batch 1, in every runtime, precision and number of threads that is here."""
    x = run.task.example[:1].numpy()
    turns: dict[str, Any] = {}
    speed = []
    asked = run.settings.threads
    for runtime in available():
        for precision, threads in product(precisions(runtime), sorted({asked, *thread_counts()})):
            sessions = {
                "original": open_session(run.original_onnx(), runtime, threads, precision),
                "compressed": open_session(model, runtime, threads, precision),
            }
            both = interleaved(sessions, x)
            ratio = both.ratio("original", "compressed")
            if (precision, threads) == ("f32", asked):
                turns[runtime] = {side: asdict(both[side]) for side in sessions}
            speed.append(
                {
                    "runtime": runtime,
                    "precision": precision if threads == asked else f"{precision}, {threads} threads",
                    "original_ms": both["original"].median,
                    "compressed_ms": both["compressed"].median,
                    "ratio": ratio.median,
                    "p10": ratio.p10,
                    "p90": ratio.p90,
                }
            )
    return {"turns": turns, "speed": speed}


def _candidate(candidate: Finished, found: Certificate | None) -> Candidate:
    return Candidate(
        name=candidate.name,
        bytes=candidate.sizes.coded,
        macs=candidate.macs,
        latency_ms=candidate.latency_ms,
        selection_quality=candidate.quality,
        selection_drop=candidate.verdict.drop,
        accepted=candidate.verdict.accepted,
        note=candidate.verdict.note,
        test=None
        if found is None
        else Opened(found.proven, found.n, found.b, found.c, found.observed_drop, found.bound, found.guaranteed),
    )


def _layers(original: Network, chosen: Finished) -> tuple[LayerRow, ...]:
    """One row a weight tensor: its shape before and after, and what the file spends on it."""
    stored = {entry.name: entry for entry in container.read(chosen.file).stored}
    before = {layer.name: layer for layer in original.layers}
    rows = []
    for name, layer in before.items():
        if name not in stored:
            continue
        entry = stored[name]
        count = max(1, entry.count)
        rows.append(
            LayerRow(
                name=name,
                kind=layer.kind,
                shape_before=_outputs_first(layer, layer.shape),
                shape_after=_outputs_first(layer, entry.shape),
                sparsity=entry.zeros / count,
                bits_per_weight=8 * entry.bytes / count,
                bytes=entry.bytes,
                coder=entry.coder,
            )
        )
    return tuple(rows)


def _outputs_first(layer: Layer, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a layer's weight before or after its cut, (outputs, inputs of a group, ...).

    That of a transposed convolution is stored as (inputs, outputs of a group, ...). A cut leaves it as many groups as
    it had; a depthwise one has a group for each input.
    """
    if not layer.inputs_first:
        return tuple(shape)
    groups = shape[0] if layer.inputs_first == layer.shape[0] > 1 else layer.inputs_first
    return shape[1] * groups, shape[0] // groups, *shape[2:]
