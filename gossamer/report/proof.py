# SPDX-License-Identifier: Apache-2.0
"""The certificate on the page: verdict, picture, words, numbers, and what they do not mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossamer.certify import Listed
from gossamer.report.markup import Html, tag, typeset
from gossamer.report.plots import interval
from gossamer.report.record import ClassRow, Report
from gossamer.report.sections import plain
from gossamer.report.tables import Column, table
from gossamer.report.units import percent, points, points_up, signed_points
from gossamer.report.words import beyond_by_area, by_area_sentence, measured, parts_sentences, promise, verdict

CLASSES_SHOWN = 5


def certificate_section(report: Report) -> Html:
    """The promise: verdict, picture, words, numbers, and what they do not mean."""
    found = report.certificate
    n, level = found["n"], 100 * found["confidence"]
    bound = found["guaranteed"]
    sentences = [f"{n:,} test images, on which nothing was chosen, were given to both networks."]
    if "differences" in found:
        sentences.append(
            f"On b = {found['b']:,} of them the compressed network did worse, on c = {found['c']:,} better."
        )
    elif "b" in found and "c" in found:
        sentences.append(
            f"On b = {found['b']:,} of them the original was right and the compressed network wrong, "
            f"on c = {found['c']:,} the reverse; on all others they were right or wrong together."
        )
    sentences.append(f"The observed change in {measured(found)} is {signed_points(-found['observed_drop'])} points.")
    if bound is not None:
        sentences.append(f"With {level:g} % confidence the true drop is below {points_up(bound)}.")
    if found["bound"] is not None and found["bound"] != bound:
        sentences.append(
            f"Of this candidate alone, the counts give {points_up(found['bound'])}; "
            f"because it was chosen among several, only the larger number holds."
        )
    if (reach := beyond_by_area(report)) is not None:
        meaning = (
            f"The test takes images for independent. Those of one area are not: drawn by areas, the drop reaches "
            f"{reach} points at the same level, beyond the tolerance. Believe that, and test on more areas."
        )
    elif found["proven"]:
        meaning = (
            f"If the true drop were {points(found['tolerance'])} or more, a test like this one would say "
            f"\u201cproven\u201d at most {100 - level:.3g} times in a hundred."
        )
    else:
        meaning = (
            f"This does not show that the network lost {points(found['tolerance'])}; it says that these "
            f"{n:,} images do not exclude it."
        )
    if "approximate" in found["method"]:
        meaning += " The method is approximate: its confidence is not guaranteed."
    limits = (
        "The promise is about images from the same source as the test split, taken as a whole: not about "
        "other cameras or years, not about one class alone, and not that nothing was lost."
    )
    picture = interval(
        f"Observed drop {points(found['observed_drop'])}, tolerance {points(found['tolerance'])}",
        found["observed_drop"],
        bound,
        found["tolerance"],
        found["proven"],
        measured(found),
    )
    rows = [[label, text] for label, text in _certificate_numbers(report)]
    return tag(
        "div",
        tag("p", tag("span", verdict(report), class_="verdict"), f": {promise(found)}."),
        tag("figure", picture),
        tag("p", typeset(" ".join(sentences))),
        tag("p", meaning),
        tag("p", typeset(by_area)) if (by_area := by_area_sentence(report)) else None,
        tag("p", limits, class_="aside"),
        table(
            "The certificate in numbers",
            [Column("quantity"), Column("value", style="value")],
            rows,
            narrow=True,
        ),
        *_parts(report),
        class_="proof",
    )


def _parts(report: Report) -> list[Html]:
    """Agreement, and the classes and groups that lost most, in words and as tables."""
    changed = (report.certificate.get("b", 0) + report.certificate.get("c", 0)) / report.certificate["n"]
    said = parts_sentences(report)
    if len(report.classes) > 1:
        said.insert(0, f"{percent(changed)} of the test images changed between right and wrong.")
    if len(report.classes) > 1 or len(report.groups) > 1:
        said.append(
            "Of one class or group alone nothing is proven: few images, and the worst of many looks worse than it is."
        )
    shown = [tag("p", typeset(" ".join(said)))] if said else []
    for what, plural, rows in (("class", "classes", report.classes), ("group", "groups", report.groups)):
        if len(rows) > 1:
            shown.append(_worst(f"The {plural} that lost most", what, rows))
    return shown


def _worst(title: str, what: str, rows: Sequence[ClassRow]) -> Html:
    """The parts of the test split that lost most, in a table."""
    cells = [
        [row.name, f"{row.n:,}", percent(row.original), percent(row.compressed), signed_points(-row.drop)]
        for row in sorted(rows, key=lambda row: -row.drop)[:CLASSES_SHOWN]
    ]
    columns = [
        Column(what, style="name"),
        *(Column(name, number=True) for name in ("images", "original", "compressed", "change")),
    ]
    return table(title, columns, cells, narrow=True)


def _sequence(value: Any, n: int, bets: bool) -> str:
    """The candidates tested beside the one delivered, in words, and the hash of their order."""
    listed = Listed.from_json(value, n, bets)
    return f"{listed}; order {listed.order[:12]}"


def _certificate_numbers(report: Report) -> list[tuple[str, str]]:
    """Everything the certificate holds: what we know in words and units, the rest as it is."""
    found = dict(report.certificate)
    by_number = found.pop("differences", None) is not None
    known: list[tuple[str, str, Any]] = [
        ("measure", "quality of an image", str),
        ("tolerance", "tolerance", points),
        ("confidence", "confidence", lambda v: f"{100 * v:g} %"),
        ("n", "images, n", lambda v: f"{v:,}"),
        ("b", "compressed worse, b" if by_number else "original right, compressed wrong, b", lambda v: f"{v:,}"),
        ("c", "compressed better, c" if by_number else "original wrong, compressed right, c", lambda v: f"{v:,}"),
        ("observed_drop", "observed drop", points),
        ("guaranteed", "upper bound of the drop", lambda v: "none" if v is None else points_up(v)),
        ("bound", "upper bound of this candidate alone", lambda v: "none" if v is None else points_up(v)),
        ("p_value", "p-value", lambda v: f"{v:.3g}"),
        ("sequence", "tested in an order fixed before", lambda v: _sequence(v, report.certificate["n"], by_number)),
        ("look", "look at this test split, counting all runs", str),
        ("alpha", "level of this look", lambda v: f"{v:.3g}"),
        ("proven", "proven", lambda v: "yes" if v else "no"),
        ("method", "method", str),
    ]
    rows = [(label, typeset(show(found.pop(key)))) for key, label, show in known if key in found]
    return rows + [(key, plain(value)) for key, value in found.items()]
