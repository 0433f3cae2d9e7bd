# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them: three significant digits and a unit, in ASCII for any terminal."""

from __future__ import annotations

import math
import re


def human_bytes(count: float) -> str:
    """Bytes in decimal units.

    >>> human_bytes(512), human_bytes(77_431), human_bytes(999_999)
    ('512 B', '77.4 kB', '1.00 MB')
    """
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def human_count(count: float) -> str:
    """A count, exact below ten thousand.

    >>> human_count(9_408), human_count(853_018), human_count(126_000_000)
    ('9,408', '853 k', '126 M')
    """
    return f"{count:,.0f}" if abs(count) < 9_999.5 else _scaled(count, ("", "k", "M", "G", "T"))


def human_ratio(value: float) -> str:
    """How many times: 14.2x.

    >>> human_ratio(14.23), human_ratio(0.8), human_ratio(132.4)
    ('14.2x', '0.80x', '132x')
    """
    return f"{value:,.0f}x" if value >= 99.95 else f"{value:.1f}x" if value >= 9.995 else f"{value:.2f}x"


def human_ms(value: float) -> str:
    """Milliseconds.

    >>> human_ms(0.4121), human_ms(1.84), human_ms(12.34)
    ('0.412 ms', '1.84 ms', '12.3 ms')
    """
    return f"{_three_digits(value)} ms"


def human_seconds(seconds: float) -> str:
    """A length of time.

    >>> human_seconds(0.25), human_seconds(42), human_seconds(460), human_seconds(7_500)
    ('0.25 s', '42 s', '7 min 40 s', '2 h 05 min')
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(fraction: float) -> str:
    """A fraction in percent.

    >>> percent(0.9158)
    '91.58 %'
    """
    return f"{100 * fraction:.2f} %"


def signed_points(fraction: float) -> str:
    """A change of a fraction, in points, with its sign; 'points' is left to the sentence.

    >>> signed_points(-0.0012), signed_points(0.0005), signed_points(-0.00001)
    ('-0.12', '+0.05', '0.00')
    """
    shown = f"{100 * fraction:+.2f}"
    return "0.00" if float(shown) == 0 else shown


def points(fraction: float) -> str:
    """A drop or a tolerance in points, with its noun.

    >>> points(0.01), points(0.005), points(0.00864)
    ('1 point', '0.5 points', '0.864 points')
    """
    number = f"{100 * fraction:.3g}"
    return f"{number} point" if number == "1" else f"{number} points"


def points_up(fraction: float) -> str:
    """An upper bound in points, rounded up: a bound must not shrink on its way to the reader.

    >>> points_up(0.008641), points_up(0.0099996)
    ('0.865 points', '1 point')
    """
    if abs(fraction) < 1e-11:
        return points(0.0)
    place: float = 10.0 ** (math.floor(math.log10(abs(fraction))) - 2)
    return points(math.ceil(fraction / place - 1e-9) * place)


def trimmed(text: str) -> str:
    """A number without the zeros that say nothing, for the ticks of a plot.

    >>> trimmed("1.00 MB"), trimmed("0.500 ms"), trimmed("200 kB")
    ('1 MB', '0.5 ms', '200 kB')
    """
    return re.sub(r"\.0+(?!\d)|(\.\d*?[1-9])0+(?!\d)", r"\1", text)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    step = 0
    while step < len(units) - 1 and abs(value) >= 999.5:
        value, step = value / 1000, step + 1
    number = f"{value:.0f}" if step == 0 else _three_digits(value)
    return f"{number} {units[step]}".rstrip()


def _three_digits(value: float) -> str:
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 99.95
        else f"{value:.1f}"
        if size >= 9.995
        else f"{value:.2f}"
        if size >= 0.9995
        else f"{value:.3f}"
    )
