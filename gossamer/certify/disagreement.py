# SPDX-License-Identifier: Apache-2.0
"""Counts for the certificate when only images on which the two networks disagree have labels.

Where both give the same class the label does not matter: both are right or both are wrong. Of n images only the D with
different answers decide, so only they need labels, and the certificate is that of all n images.

    labelled    original right -> b; compressed right -> c; both wrong -> neither
    not yet     counts as b, the worst that it can be

So with every D labelled the counts are exact, with none they are b = D, c = 0, and on the way the bound can only fall:
a proof on the way stays a proof, and may be looked at as often as one likes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.certify.exact import Counts

UNKNOWN, NO_CLASS = -1, -2  # not labelled yet; labelled as none of the classes, so that both networks are wrong

Answers = NDArray[np.int64]


def disagreements(original: Answers, compressed: Answers) -> NDArray[np.int64]:
    """Which images need a label: where the two networks give different classes, (N,), (N,) -> (D,)."""
    if original.shape != compressed.shape or original.ndim != 1 or not len(original):
        raise ValueError(
            f"expected the answers of both networks on the same images, at least one, got {original.shape} and "
            f"{compressed.shape}"
        )
    return np.flatnonzero(original != compressed)


def worst_counts(original: Answers, compressed: Answers, labels: Answers) -> Counts:
    """The counts of all images where every unknown label is the worst that it can be; all (N,).

    >>> worst_counts(np.array([0, 1, 1, 0]), np.array([0, 2, 0, 1]), np.array([UNKNOWN, 1, 0, UNKNOWN]))
    Counts(n=4, b=2, c=1)
    """
    differ = disagreements(original, compressed)
    label = labels[differ]
    b = np.count_nonzero((label == UNKNOWN) | (label == original[differ]))
    c = np.count_nonzero((label != UNKNOWN) & (label == compressed[differ]))
    return Counts(len(original), int(b), int(c))
