# SPDX-License-Identifier: Apache-2.0
"""What is in a file, in words and numbers for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gossamer.container.file import File
from gossamer.container.onnx_bytes import model_bytes
from gossamer.container.parts import parts
from gossamer.container.tensor_data import Stored


def describe(file: File) -> str:
    """Sections, tensors and claims of a file as text."""
    lines = [
        f"{file.path.name}: {file.bytes:,} bytes, format version {file.version}, payload {file.payload_sha256}",
        "",
    ]
    lines += [
        f"  {name:<34} {size:>11,} bytes {100 * size / file.bytes:>6.1f} %"
        for name, size in parts(file).items()
        if size
    ]
    onnx = model_bytes(file.payload)
    lines += ["", f"  {onnx:,} bytes as the ONNX model that a runtime loads, {onnx / file.bytes:.1f} times the file"]
    head = f"  {'tensor':<36} {'shape':<18} {'bytes':>9} {'share':>7} {'bits each':>9} {'zeros':>7}  coder"
    lines += ["", head, *(_row(entry, file.bytes) for entry in file.stored)]
    network = file.payload
    lines += ["", f"  classes: {', '.join(printable(name) for name in network.classes) or 'no names'}"]
    lines += [f"  input: {printable(_input(network.preprocess))}"]
    error = network.plan.get("error")
    if isinstance(error, int | float):
        trainable = "; batch norms apart, to be trained further" if network.plan.get("trainable") else ""
        lines += [f"  stored as it was: {kept(error)}{trainable}"]
    certificate = file.claims.get("certificate")
    if isinstance(certificate, dict):
        lines += [f"  certificate: {printable(_certificate(certificate))}"]
    return "\n".join(lines)


def kept(error: float) -> str:
    """How near the numbers of a network that was stored as it is are to what they were, in words."""
    return (
        f"every number within {_number(error)} of its tensor's root mean square" if error else "every number to the bit"
    )


def _input(preprocess: Mapping[str, Any]) -> str:
    """How an image becomes the input, in words; what is not known is shown as it stands."""
    rest = dict(preprocess)
    size, channels = rest.pop("size", None), rest.pop("channels", 3)
    sides = "x".join(map(str, size)) if isinstance(size, list | tuple) else f"{size}x{size}"
    words = [f"{sides} pixels, {channels} channel{'' if channels == 1 else 's'}"]
    if "crop" in rest:
        way = rest.pop("interpolation", None)
        resized = f"resized ({way})" if way else "resized"
        words.append(f"{resized}, the centre kept: {_number(rest.pop('crop'), '.4g')} of the shorter side")
    for name in ("scale", "mean", "std"):
        if name in rest:
            value = rest.pop(name)
            shown = " ".join(map(_number, value)) if isinstance(value, list | tuple) else _number(value)
            words.append({"scale": f"divided by {shown}", "mean": f"minus {shown}", "std": f"divided by {shown}"}[name])
    if rest.pop("bgr", False):
        words.append("channels in the order blue, green, red")
    if rest.pop("turned", False):
        words.append("turned by 180 degrees")
    words += [f"{name} {value}" for name, value in rest.items()]
    return "; ".join(words)


def _number(value: object, form: str = "g") -> str:
    """A number in few digits; what is none, or too large for a float, as it stands."""
    try:
        return format(value, form) if isinstance(value, int | float) else str(value)
    except OverflowError:
        return str(value)


def _certificate(claims: Mapping[str, Any]) -> str:
    """A bound is rounded up: it must not shrink on its way to the reader."""
    bound, confidence = claims.get("guaranteed"), claims.get("confidence")
    if isinstance(bound, float) and isinstance(confidence, float) and math.isfinite(bound):
        up = math.ceil(1e5 * bound - 1e-6) / 1e3
        drop = f"drop in {claims.get('measure', 'accuracy')} below {up:g} points at {100 * confidence:g} % confidence"
    else:
        drop = "no bound on the drop of quality"
    return f"{drop}, {'proven' if claims.get('proven') else 'not proven'} on {claims.get('n')} images"


def _row(entry: Stored, whole: int) -> str:
    count = max(1, entry.count)
    shape = "x".join(map(str, entry.shape)) or "one number"
    zeros = f"{100 * entry.zeros / count:.0f} %"
    bits = 8 * entry.bytes / count
    part = f"{100 * entry.bytes / whole:.1f} %"
    return (
        f"  {printable(entry.name):<36} {shape:<18} {entry.bytes:>9,} {part:>7} {bits:>9.2f} {zeros:>7}  {entry.coder}"
    )


def printable(text: str) -> str:
    """Names come from outside: on one line, without what a terminal would obey.

    >>> printable("car\\x1b[31m")
    'car�[31m'
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
