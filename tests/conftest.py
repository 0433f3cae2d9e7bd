# SPDX-License-Identifier: Apache-2.0
"""A small classification task that trains in seconds: the bright quadrant of a noisy image, four classes."""

from __future__ import annotations

import os
import subprocess
import sys

# Where tests run in several processes each has one core: they would otherwise wait for each other on all of them, up to
# thirty times as long. A worker inherits what the first process has set here.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
else:
    os.environ.setdefault("OMP_NUM_THREADS", "2")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis_settings
from torch import nn

from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.described_task import task_from
from gossamer.task import Task

hypothesis_settings.register_profile("any machine", deadline=None)  # how long a test takes says nothing about it
hypothesis_settings.load_profile("any machine")

#: The same network as a user would bring it, for tests of the command line.
SMALL_NET = '''
import torch
from torch import nn


class SmallNet(nn.Module):
    """Two convolutions with batch norm and a linear layer over four quadrants."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(4 * width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(nn.functional.avg_pool2d(x, 4).flatten(1))
'''
_namespace: dict = {}
exec(SMALL_NET, _namespace)
SmallNet: type[nn.Module] = _namespace["SmallNet"]


class Threshold(nn.Module):
    """Class 1 where the first channel is above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1)
        nn.init.zeros_(self.mix.weight)
        self.mix.weight.data[0, 0] = 1.0
        nn.init.constant_(self.mix.bias, -limit)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x)


#: Before other code: no module but those named, comma by comma, in the first argument, and the standard library's.
NOTHING_ELSE = """
import sys
ALLOWED = set(sys.argv.pop(1).split(","))

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ImportError(f"{top} is not installed here")

sys.meta_path.insert(0, Nothing())
"""
ONNXRUNTIME = "numpy,onnxruntime,google,ml_dtypes,typing_extensions,flatbuffers,packaging,yaml"


@pytest.fixture(scope="session")
def run_alone() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a process that finds only some modules: (code, modules allowed, arguments) -> what it said."""

    def run(code: str, allowed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", NOTHING_ELSE + code, allowed, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def onnxruntime_alone() -> str:
    """The modules of numpy and ONNX Runtime."""
    return ONNXRUNTIME


@pytest.fixture(autouse=True, scope="session")
def _few_processes():
    """Reports say what a start takes; here of one process a network, where a report is worth three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gossamer.measure.cold_start.ROUNDS", 1)
        patch.setattr("gossamer.measure.cold_start.WARM_UP", 0)
        yield


@pytest.fixture(autouse=True, scope="session")
def _locks_of_their_own(tmp_path_factory):
    """What is timed here is not looked at, so tests beside each other need not stand back for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOSSAMER_LOCK_DIR", str(tmp_path_factory.mktemp("locks")))
        yield


def quadrants(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 8, 8, 3) and the number of the brighter quadrant (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    images = rng.integers(0, 120, (n, 8, 8, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 60
    return images, labels.astype(np.int64)


def small_task(model: nn.Module) -> Task:
    """The quadrants as a task."""
    sizes = {"train": 384, "selection": 600, "test": 600}
    splits = {}
    for seed, (name, n) in enumerate(sizes.items()):
        images, labels = quadrants(n, seed)
        splits[name] = Split(name, ArrayImages(images), labels)
    return Task.build(
        model,
        Preprocess((0.5,) * 3, (0.25,) * 3, 8),
        Splits(splits["train"], splits["selection"], splits["test"], ("nw", "ne", "sw", "se"), ()),
        name="quadrants",
    )


@pytest.fixture
def task() -> Task:
    """Untrained."""
    torch.manual_seed(0)
    return small_task(SmallNet())


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """Makes untrained networks of a width and a seed, on the same images."""

    def make(width: int = 16, seed: int = 0) -> Task:
        torch.manual_seed(seed)
        return small_task(SmallNet(width))

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: net.py, trained weights.safetensors, and train/val/test arrays as data.npz."""
    from gossamer.train import train
    from gossamer.tuning import Settings

    folder = tmp_path_factory.mktemp("user")
    torch.manual_seed(0)
    task = small_task(SmallNet())
    quality = train(task, Settings(epochs=10, batch_size=32, learning_rate=0.1, augment=False), out=folder)
    assert quality > 0.95, "the small task must be learnable, or the tests on it say nothing"
    (folder / "net.py").write_text(SMALL_NET)
    arrays = {}
    for split in (task.train, task.selection, task.test):
        key = {"selection": "val"}.get(split.name, split.name)
        arrays[f"{key}_images"] = split.images.take(np.arange(len(split)))
        arrays[f"{key}_labels"] = split.labels
    np.savez(folder / "data.npz", **arrays)
    return folder


@pytest.fixture(scope="session")
def user_task() -> Callable[[Path], Task]:
    """Reads the task out of a folder as `trained` makes it."""

    def read(folder: Path) -> Task:
        return task_from(
            data=str(folder / "data.npz"),
            model=f"{folder / 'net.py'}:SmallNet",
            weights=folder / "weights.safetensors",
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
        )

    return read


@pytest.fixture(scope="module")
def compressed(request, tmp_path_factory):
    """(goal, recipe) -> the result of the module's own `task` with its SETTINGS, made once."""
    import gossamer

    task, made = request.getfixturevalue("task"), {}

    def run(goal, recipe="auto"):
        asked = str((goal, recipe))
        if asked not in made:
            out = tmp_path_factory.mktemp("runs") / "run"
            ledger = out.with_name("ledger.json")
            settings = request.module.SETTINGS
            made[asked] = gossamer.compress(task, goal, recipe, out=out, settings=settings, ledger=ledger)
        return made[asked]

    return run
