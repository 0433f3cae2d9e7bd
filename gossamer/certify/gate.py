# SPDX-License-Identifier: Apache-2.0
"""A gate: may this certified network take the place of that one?"""

from __future__ import annotations

from gossamer.certify.certificate import Certificate


def weaker(new: Certificate, old: Certificate) -> list[str]:
    """In what `new` promises less than `old`, in words; empty where it may take its place.

    The promises are about the same images, so that their drops are from the same original on the same test.
    """
    found = []
    if not new.proven:
        found.append(f"the promise of at most {_points(new.tolerance)} is not proven")
    if new.data_sha256 != old.data_sha256:
        found.append(
            f"expected a certificate on the same test images ({old.data_sha256[:12]}), got one on others "
            f"({new.data_sha256[:12]}): the two cannot be compared"
        )
    if new.measure != old.measure:
        found.append(f"expected a certificate on {old.measure}, got one on {new.measure}: the two cannot be compared")
    if new.tolerance > old.tolerance:
        found.append(f"it promises a drop of at most {_points(new.tolerance)}, the other {_points(old.tolerance)}")
    if new.confidence < old.confidence:
        found.append(f"it is {100 * new.confidence:g} % sure, the other {100 * old.confidence:g} %")
    return found


def _points(fraction: float) -> str:
    return f"{100 * fraction:g} points"
