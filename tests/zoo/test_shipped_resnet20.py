# SPDX-License-Identifier: Apache-2.0
"""The network and the images that ship with Gossamer: whole, and right as often as published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from gossamer.described_task import task_from
from gossamer.task import Task

FOLDER = Path(__file__).parents[2] / "examples" / "cifar10"
LIMIT_BYTES = 35_000_000  # of what ships


def test_the_files_are_whole_and_small() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {"test.npz", "train_1.npz", "resnet20.safetensors", "LICENSE-resnet20.txt"} == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LIMIT_BYTES


@pytest.fixture(scope="module")
def task() -> Task:
    return task_from(
        data=f"cifar10:{FOLDER}",
        model="resnet20",
        weights=FOLDER / "resnet20.safetensors",
        preset="cifar10-imagenet-stats",
    )


def test_the_splits_are_the_shipped_images(task: Task) -> None:
    assert (len(task.train), len(task.calibration), len(task.selection), len(task.test)) == (10000, 1000, 5000, 5000)
    assert len(set(task.train.images.hashes() + task.selection.images.hashes() + task.test.images.hashes())) == 20000


def right_of(task: Task, limit: int) -> tuple[int, int]:
    """Examples right, and examples seen: up to `limit` of selection and of test."""
    right = seen = 0
    model = task.model.eval()
    with torch.no_grad():
        for split in (task.selection, task.test):
            for at, (images, labels) in enumerate(task.batches(split, 250)):
                if at * 250 >= limit:
                    break
                right += int(task.quality(model(images).numpy(), labels.numpy()).sum())
                seen += len(labels)
    return right, seen


def test_a_tenth_of_the_images_is_right_about_as_often_as_published(task: Task) -> None:
    """91.73 % of 1,000: standard deviation 0.9 points."""
    right, seen = right_of(task, 500)
    assert seen == 1000
    assert 0.88 < right / seen < 0.95


@pytest.mark.slow
def test_all_images_are_right_as_often_as_published(task: Task) -> None:
    right, seen = right_of(task, 5000)
    assert seen == 10000
    assert abs(right - 9173) <= 2  # rounding may turn a tie
