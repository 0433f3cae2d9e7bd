# SPDX-License-Identifier: Apache-2.0
"""Electromyograms as windows: none of two gestures, none in two splits, as many of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer.data import emg_myo
from gossamer.described_task import task_from

SUBJECTS, TIMES, HELD, REST = 2, 3, 200, 150  # how often, and for how many samples, each gesture is held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings whose samples say where they come from: electrode 0 the label, electrodes 1 and 2 a running number."""
    label, subject, session = [], [], []
    for of in range(SUBJECTS):
        for visit in (1, 2, 3):
            for gesture in range(1, 8):
                for _ in range(TIMES):
                    label += [0] * REST + [gesture] * HELD
                    subject += [of] * (REST + HELD)
                    session += [visit] * (REST + HELD)
    emg = np.zeros((len(label), 8), np.int8)
    number = np.arange(len(label))
    emg[:, 0], emg[:, 1], emg[:, 2] = label, number % 100, number // 100 % 100
    emg[:, 3] = number // 10_000
    arrays = {name: np.array(values, np.uint8) for name, values in (("label", label), ("subject", subject))}
    np.savez(tmp_path / "emg.npz", emg=emg, session=np.array(session, np.uint8), **arrays)
    return tmp_path


def samples(split) -> np.ndarray:
    """The running number of every sample of every window, (N, 33)."""
    windows = split.images.take(np.arange(len(split)))[..., 0].astype(int) - 128
    return windows[..., 1] + 100 * windows[..., 2] + 10_000 * windows[..., 3]


def test_a_window_is_one_stretch_of_one_gesture(folder):
    splits = emg_myo.load(folder)
    for split in (splits.train, splits.selection, splits.test):
        windows = split.images.take(np.arange(len(split)))
        assert windows.shape[1:] == (33, 8, 1)
        assert np.array_equal(windows[:, :, 0, 0] - 128, np.repeat(split.labels[:, None], 33, axis=1))
        assert (np.diff(samples(split), axis=1) == 1).all()


def test_no_sample_is_in_two_splits_and_only_training_windows_overlap(folder):
    splits = emg_myo.load(folder)
    seen = {split.name: samples(split) for split in (splits.train, splits.selection, splits.test)}
    sets = {name: set(numbers.ravel().tolist()) for name, numbers in seen.items()}
    assert not sets["train"] & sets["selection"]
    assert not sets["test"] & (sets["train"] | sets["selection"])
    assert len(sets["test"]) == seen["test"].size
    assert len(sets["selection"]) == seen["selection"].size
    assert len(sets["train"]) < 0.7 * seen["train"].size


def test_sessions_and_classes_are_as_said(folder):
    splits = emg_myo.load(folder)
    with np.load(folder / "emg.npz") as arrays:
        session = arrays["session"]
    assert set(session[samples(splits.test)].ravel()) == {3}
    assert set(session[samples(splits.selection)].ravel()) == {2}
    assert set(session[samples(splits.train)].ravel()) == {1, 2}
    for split in (splits.train, splits.selection, splits.test):
        counts = np.bincount(split.labels, minlength=8)
        assert 0 < counts[0] <= counts[1], "rest is no more frequent than a gesture"
        assert len(set(counts[1:].tolist())) == 1
    per_gesture = SUBJECTS * TIMES * (HELD // 33)
    assert np.bincount(splits.test.labels)[1:].tolist() == [per_gesture] * 7


def test_one_subject_alone(folder):
    both, one = emg_myo.load(folder), emg_myo.load(folder / "1")
    assert len(one.test) == len(both.test) // 2
    assert "subject 1" in one.notes[0]
    with pytest.raises(ValueError, match=r"expected a subject of 0, 1 in .*, got '5'"):
        emg_myo.load(folder / "5")


def test_a_network_reads_it(folder):
    task = task_from(data=f"emg:{folder}", model="emg_cnn", preset="emg")
    assert task.example.shape[1:] == (1, 33, 8)
    assert task.classes == emg_myo.CLASSES
    held = SUBJECTS * 7 * TIMES
    assert held < len(set(task.test.areas.tolist())) <= 2 * held, "each time a gesture is held, and rest between two"
    assert any("the certificate takes them for independent" in note for note in task.notes)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"expected emg.npz in .*; it is not there"):
        emg_myo.load(tmp_path)
    np.savez(tmp_path / "emg.npz", emg=np.zeros((5, 4), np.int8), label=np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match=r"expected emg, int8 \(samples, 8\)"):
        emg_myo.load(tmp_path)
