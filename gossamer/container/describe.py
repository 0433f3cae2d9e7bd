# SPDX-License-Identifier: Apache-2.0
"""What is in a file, in words and numbers for people."""

from __future__ import annotations

from gossamer.container.file import File
from gossamer.container.tensor_table import Stored


def describe(file: File) -> str:
    """Sections, tensors and claims of a file as text."""
    lines = [
        f"{file.path.name}: {file.bytes:,} bytes, format version {file.version}, payload {file.payload_sha256}",
        "",
    ]
    lines += [f"  {place.name:<12} {place.length:>12,} bytes" for place in file.places]
    lines += ["", f"  {'tensor':<36} {'shape':<18} {'bytes':>9} {'bits each':>9} {'zeros':>7}  coder"]
    lines += [_row(entry) for entry in file.stored]
    network = file.payload
    lines += ["", f"  classes: {', '.join(_safe(name) for name in network.classes)}", f"  input: {network.preprocess}"]
    certificate = file.claims.get("certificate")
    if isinstance(certificate, dict):
        lines += [
            f"  certificate: drop below {certificate.get('guaranteed')} at {certificate.get('confidence')} confidence, "
            f"{'proven' if certificate.get('proven') else 'not proven'} on {certificate.get('n')} images"
        ]
    return "\n".join(lines)


def _row(entry: Stored) -> str:
    count = max(1, entry.count)
    shape = "x".join(map(str, entry.shape)) or "one number"
    share = f"{100 * entry.zeros / count:.0f} %"
    bits = 8 * entry.bytes / count
    return f"  {_safe(entry.name):<36} {shape:<18} {entry.bytes:>9,} {bits:>9.2f} {share:>7}  {entry.coder}"


def _safe(text: str) -> str:
    """Names come from outside: nothing in them may move the cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
