# SPDX-License-Identifier: Apache-2.0
"""Surface electromyograms of a Myo armband: eight electrodes at 200 Hz, rest and seven gestures, as windows.

Source: A. Francic, myo-readings-dataset (github.com/aljazfrancic/myo-readings-dataset), in one .npz: `emg` int8
(samples, 8) with `label`, `subject` and `session` of each sample.

A window is 33 samples (165 ms) of one gesture held once, by 8 electrodes: a grey picture. Windows for training overlap
by half, others by none, and no window of one split overlaps one of another: sessions 1 and 2 are for training, but for
the last time that each gesture is held in session 2, which is for decisions; session 3 is the test. Of rest, which is
between any two gestures, as many windows are left as of a gesture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.arrays import read_npz
from gossamer.data.images import ArrayImages, Split
from gossamer.data.splits import Splits

CLASSES = ("rest", "flexion", "extension", "radial", "ulnar", "pronation", "supination", "fist")
WINDOW, ELECTRODES = 33, 8
FILE = "emg.npz"

Held = tuple[int, int, int, int, int]
"""One gesture held once: its first sample and the one after its last, its label, subject and session."""


def load(folder: Path) -> Splits:
    """All subjects from FOLDER, which has emg.npz, or one of them, from 0 on, from FOLDER/SUBJECT."""
    one = folder.name if not folder.exists() and (folder.parent / FILE).exists() else None
    file = (folder if one is None else folder.parent) / FILE
    if not file.exists():
        raise ValueError(f"expected {FILE} in {folder}, with emg, label, subject and session; it is not there")
    arrays = read_npz(file)
    emg, of_samples = arrays.get("emg"), [arrays.get(name) for name in ("label", "subject", "session")]
    fit = emg is not None and emg.dtype == np.int8 and emg.shape[1:] == (ELECTRODES,)
    if emg is None or not fit or any(of is None or of.shape != (len(emg),) for of in of_samples):
        raise ValueError(
            f"expected emg, int8 (samples, {ELECTRODES}), and label, subject and session of each sample in {file}"
        )
    held = list(_held(arrays))
    if one is not None:
        subjects = sorted({subject for _, _, _, subject, _ in held})
        if not one.isdigit() or int(one) not in subjects:
            raise ValueError(f"expected a subject of {', '.join(map(str, subjects))} in {file}, got '{one}'")
        held = [part for part in held if part[3] == int(one)]
    last = {(label, subject): start for start, _, label, subject, session in held if session == 2}
    parts: dict[str, list[Held]] = {"train": [], "selection": [], "test": []}
    for part in held:
        start, _, gesture, subject, session = part
        chosen = last.get((gesture, subject)) == start
        parts["test" if session == 3 else "selection" if session == 2 and chosen else "train"].append(part)
    splits = {name: _windows(name, emg, of, WINDOW // 2 if name == "train" else WINDOW) for name, of in parts.items()}
    who = "all subjects" if one is None else f"subject {one}"
    note = f"{who}; decisions on the last time each gesture is held in session 2, test on session 3"
    return Splits(splits["train"], splits["selection"], splits["test"], CLASSES, (note,))


def _held(arrays: dict[str, NDArray[np.generic]]) -> Iterator[Held]:
    """Every gesture each time it is held, in the order of the recordings."""
    keys = np.stack([arrays[name].astype(np.int64) for name in ("label", "subject", "session")], axis=1)
    starts = np.flatnonzero(np.r_[True, (np.diff(keys, axis=0) != 0).any(axis=1)])
    for start, end in zip(starts, np.r_[starts[1:], len(keys)], strict=True):
        label, subject, session = keys[start].tolist()
        yield int(start), int(end), label, subject, session


def _windows(name: str, emg: NDArray[np.generic], held: list[Held], stride: int) -> Split:
    """Windows (N, WINDOW, ELECTRODES, 1) as uint8, zero at 128, evenly over all times a gesture is held."""
    starts = [
        [
            first
            for start, end, label, _, _ in held
            if label == gesture
            for first in range(start, end - WINDOW + 1, stride)
        ]
        for gesture in range(len(CLASSES))
    ]
    gestures = [len(of) for of in starts[1:] if of]
    most = round(sum(gestures) / max(1, len(gestures)))
    if most and len(starts[0]) > most:
        starts[0] = [starts[0][place] for place in np.linspace(0, len(starts[0]) - 1, most).round().astype(int)]
    first = np.array([place for of in starts for place in of], np.int64)
    if not len(first):
        raise ValueError(
            f"expected windows of {WINDOW} samples for '{name}', there are none; sessions 1 to 3 are needed"
        )
    order = np.argsort(first, kind="stable")
    labels = np.repeat(np.arange(len(CLASSES)), [len(of) for of in starts])[order]
    samples = emg[first[order, None] + np.arange(WINDOW)].astype(np.int16) + 128  # (N, WINDOW, ELECTRODES)
    times = np.searchsorted([start for start, *_ in held], first[order], side="right")  # which time a gesture is held
    return Split(name, ArrayImages(samples.astype(np.uint8)[..., None]), labels, areas=times.astype(np.int64))
