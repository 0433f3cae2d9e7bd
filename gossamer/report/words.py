# SPDX-License-Identifier: Apache-2.0
"""The sentences of a report: what was gained, what it cost, what is proven."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gossamer.certify import ACCURACY
from gossamer.report.record import ClassRow, Report
from gossamer.report.units import human_ratio, percent, points, points_up, signed_points

_RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def runtime_name(runtime: str) -> str:
    """How a runtime, or a session of it, is called by people.

    >>> runtime_name("onnxruntime"), runtime_name("openvino bf16 x2")
    ('ONNX Runtime', 'OpenVINO bf16 2 threads')
    """
    known, *rest = runtime.split(" ")
    words = [_RUNTIMES.get(known, known), *(re.sub(r"^x(\d+)$", r"\1 threads", word) for word in rest)]
    return " ".join(words).replace(" 1 threads", " 1 thread")


def measured(certificate: Mapping[str, Any]) -> str:
    """What the quality of an image is called: "accuracy", "IoU"."""
    return str(certificate.get("measure", ACCURACY))


def headline(report: Report) -> str:
    """One sentence.

    "14.2x smaller at -0.12 points; a drop of 1 point or more in accuracy is excluded at 95 % confidence"
    """
    return f"{gain(report)} {cost(report)}; {promise(report.certificate)}{unless_by_area(report)}"


def gain(report: Report) -> str:
    """What was gained, in the order of what was asked for."""
    original, compressed = report.original, report.compressed
    smaller = None
    if compressed.bytes.coded and original.bytes.fp32:
        smaller = _times(original.bytes.fp32 / compressed.bytes.coded, "smaller", "larger")
    runtime = reference_runtime(report)
    faster = None
    if runtime is not None and report.compressed.latency_ms[runtime].median > 0:
        ratio = original.latency_ms[runtime].median / compressed.latency_ms[runtime].median
        faster = f"{_times(ratio, 'faster', 'slower')} in {runtime_name(runtime.partition(' ')[0])}"
    fewer = None
    if compressed.macs and original.macs:
        fewer = _times(original.macs / compressed.macs, "fewer multiply-adds", "more multiply-adds")
    wanted = {"bytes": [smaller], "latency": [faster, smaller], "macs": [fewer, smaller]}[report.minimise]
    if "ram" in (report.goal or {}).get("fit", {}) and original.ram_bytes and compressed.ram_bytes:
        ratio = original.ram_bytes / compressed.ram_bytes
        wanted = [_times(ratio, "less working memory", "more working memory"), *wanted]
    return " and ".join(part for part in wanted if part) or "Measured"


def cost(report: Report) -> str:
    """The change of quality, measured on the test split."""
    return f"at {signed_points(report.compressed.quality - report.original.quality)} points"


def promise(certificate: Mapping[str, Any]) -> str:
    """What the certificate says, without its numbers of cases."""
    drop = f"a drop of {points(certificate['tolerance'])} or more in {measured(certificate)} is"
    level = f"at {100 * certificate['confidence']:g} % confidence"
    return f"{drop} excluded {level}" if certificate["proven"] else f"{drop} not excluded {level}"


def beyond_by_area(report: Report) -> str | None:
    """How far the drop may go by areas, in points, where that is beyond the tolerance that is proven; else None."""
    found, by_area = report.certificate, report.by_area
    if not found["proven"] or by_area is None or not by_area.reaches_beyond(found["tolerance"]):
        return None
    return by_area.reach


def verdict(report: Report) -> str:
    """Proven or not, and of what only: "Proven if images were independent; by areas the drop reaches 1.20 points"."""
    if (reach := beyond_by_area(report)) is not None:
        return f"Proven if images were independent; by areas the drop reaches {reach} points"
    return "Proven" if report.certificate["proven"] else "Not proven"


def unless_by_area(report: Report) -> str:
    """The same as the end of a sentence that says what is excluded; empty where there is nothing to say."""
    reach = beyond_by_area(report)
    return "" if reach is None else f", if images were independent; by areas it reaches {reach} points"


def certificate_sentence(report: Report) -> str:
    """The certificate with its numbers, in one sentence."""
    certificate = report.certificate
    bound = certificate["guaranteed"]
    limit = "no bound could be given" if bound is None else f"the drop is below {points_up(bound)}"
    return (
        f"{verdict(report)}: on {certificate['n']:,} test images {promise(certificate)} "
        f"(observed {points(certificate['observed_drop'])}; {limit})."
    )


def agreement_sentence(report: Report) -> str | None:
    """Where both networks say the same; None where an image has no class, or nobody noted it."""
    if report.agreement is None:
        return None
    return f"Both networks give {percent(report.agreement)} of the test images the same class."


def worst_sentence(rows: Sequence[ClassRow], what: str) -> str | None:
    """The class or the group that lost most, of at least two."""
    if len(rows) < 2:
        return None
    worst = max(rows, key=lambda row: row.drop)
    return (
        f"The {what} that lost most is \u201c{worst.name}\u201d: {signed_points(-worst.drop)} points on {worst.n:,} "
        f"image{'s' * (worst.n != 1)}."
    )


def parts_sentences(report: Report) -> list[str]:
    """Agreement, the worst class and the worst group, as far as they are known."""
    said = [
        agreement_sentence(report),
        worst_sentence(report.classes, "class"),
        worst_sentence(report.groups, "group"),
    ]
    return [sentence for sentence in said if sentence]


def by_area_sentence(report: Report) -> str | None:
    """How far the drop varies from area to area; None where the areas of the test images are not known."""
    if report.by_area is None:
        return None
    said = str(report.by_area)
    return f"{said[0].upper()}{said[1:]}. Here areas are taken for independent, not images; it is no part of the proof."


def reference_runtime(report: Report) -> str | None:
    """Where both networks were timed: in the runtime that was asked for, or in the first there is."""
    shared = [name for name in report.original.latency_ms if name in report.compressed.latency_ms]
    asked = (report.goal or {}).get("runtime")
    return next((name for name in shared if name.partition(" ")[0] == asked), next(iter(shared), None))


def fastest_dense(report: Report) -> tuple[str, float] | None:
    """Where the original runs fastest in floating point, over all runtimes and precisions, and its ms."""
    found = [
        (runtime_name(name), latency.median)
        for name, latency in report.original.latency_ms.items()
        if "int8" not in name
    ]
    found += [
        (f"{runtime_name(row.runtime)} {row.precision}", row.original_ms)
        for row in report.speed
        if row.original_ms is not None and "int8" not in row.precision
    ]
    return min(found, key=lambda pair: pair[1], default=None)


def fastest(report: Report) -> tuple[str, float] | None:
    """Where the compressed network runs fastest, over the same rows as `fastest_dense`, and its ms."""
    found = [(runtime_name(name), latency.median) for name, latency in report.compressed.latency_ms.items()]
    found += [
        (f"{runtime_name(row.runtime)} {row.precision}", row.compressed_ms)
        for row in report.speed
        if row.compressed_ms is not None
    ]
    return min(found, key=lambda pair: pair[1], default=None)


def _times(ratio: float, better: str, worse: str) -> str:
    return f"{human_ratio(ratio)} {better}" if ratio >= 1 else f"{human_ratio(1 / ratio)} {worse}"
