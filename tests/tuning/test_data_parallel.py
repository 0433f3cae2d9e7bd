# SPDX-License-Identifier: Apache-2.0
"""Two processes end where one does at the same batches: weights, running statistics, plugs; and none hangs.

This file is also the program of the two processes: `python test_data_parallel.py PROGRAM FOLDER`, with the environment
that torchrun gives. Networks are in float64, so that what is left of a difference is the rounding of the loss, which is
in float32.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gossamer.cli import main
from gossamer.data.boxes import Boxes
from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.graph import trace
from gossamer.quantize.codebook import Codebook
from gossamer.task import Task
from gossamer.train import train
from gossamer.tuning import (
    BatchNormL1,
    Distillation,
    Diverged,
    Numerics,
    Plug,
    RatePenalty,
    Settings,
    TrainedCodebook,
    data_parallel,
    tune,
)
from gossamer.tuning.processes import Processes, _images, rank
from gossamer.tuning.synchronised import SynchronisedBatchNorm

SETTINGS = Settings(epochs=3, batch_size=33, learning_rate=0.05, cutout=2)  # 33 images: 16 for one, 17 for the other
IMAGES = 99


class Net(nn.Module):
    """Batch norms on maps and on vectors, with and without scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.mixed = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.hidden = nn.Linear(96, 8)
        self.vectors = nn.BatchNorm1d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.plain(self.mixed(torch.relu(self.norm(self.conv(x)))))
        x = nn.functional.avg_pool2d(torch.relu(x), 2)
        return self.fc(torch.relu(self.vectors(self.hidden(x.flatten(1)))))


class InFloat64(Task):
    """Its images are float64."""

    @property
    def example(self):
        return super().example.double()

    def batches(self, *args, **options):
        for inputs, targets in super().batches(*args, **options):
            yield inputs.double(), targets


def make_task(first_seed: int = 0) -> Task:
    splits = []
    for seed, name in enumerate(("train", "selection", "test"), first_seed):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
        splits.append(Split(name, ArrayImages(images), rng.integers(0, 4, IMAGES)))
    torch.manual_seed(0)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, 8)
    return InFloat64.build(Net().double(), preprocess, Splits(*splits, tuple("abcd"), ()), name="noise")


class Seen(Plug):
    """Writes down how a training ends: the weights and what the other plugs know, in a file of each rank."""

    def __init__(self, folder, name, plugs):
        self.folder, self.name, self.plugs = folder, name, plugs

    def after_step(self, clock, weights):
        if clock.step + 1 == clock.steps:
            known = dict(weights)
            for number, plug in enumerate(self.plugs):
                known |= {f"{number}/{name}": value for name, value in plug.state().items()}
            torch.save(known, self.folder / f"{self.name}-{rank()}.pt")


def costs(integers):
    """The same of every weight: 1, 3, 5, 7 bits by bit length."""
    return np.stack([np.full(integers.shape, bits, np.float32) for bits in (1, 3, 5, 7)])


PLUGS = {
    "plain": lambda weights: (),
    "distillation": lambda weights: (Distillation(),),
    "rate penalty": lambda weights: (
        RatePenalty({name: torch.ones(()) for name in ("conv.weight", "fc.weight")}, costs, target=1.5, refresh=2),
        Distillation(),
    ),
    "batch-norm L1": lambda weights: (BatchNormL1(("norm.weight", "vectors.weight"), 0.05),),
    "codebook": lambda weights: (
        TrainedCodebook(
            {"hidden.weight": Codebook(np.linspace(-0.1, 0.1, 5))}, {"hidden.weight": weights["hidden.weight"]}
        ),
    ),
}


OTHERS = ("other arithmetic", "plain, resumed", "rate penalty, resumed", "after the diverged")


def everything(folder: Path) -> None:
    """Each kind of training, one after another; two of them end early."""
    task = make_task()
    network = trace(task.model, task.example)

    def trained(name, kind="plain", **options):
        module, teacher = network.copy().module, network.copy().module
        plugs = PLUGS[kind](module.state_dict())
        return tune(module, task, SETTINGS, (*plugs, Seen(folder, name, plugs)), teacher=teacher, **options)

    def work():
        losses = {kind: trained(kind, kind) for kind in PLUGS}
        torch.save(losses, folder / "losses.pt")
        trained("other arithmetic", numerics=Numerics(channels_last=True, products=True))

        def stop(done, steps, words):
            if done == 4:
                raise KeyboardInterrupt

        for kind in ("plain", "rate penalty"):
            checkpoint = folder / f"{kind}.safetensors"
            with pytest.raises(KeyboardInterrupt):
                trained("never", kind, checkpoint=checkpoint, progress=stop)
            trained(f"{kind}, resumed", kind, checkpoint=checkpoint)
        with pytest.raises(Diverged):
            tune(network.copy().module, task, SETTINGS, (Broken(),))
        trained("after the diverged")

    data_parallel(work, task)


class Broken(Plug):
    """A loss that is no number."""

    def penalty(self):
        return torch.tensor(float("nan"))


class Dies(Plug):
    """Rank 1 is gone in the middle of a step, as if it were killed."""

    def transform(self, weights):
        if rank() == 1:
            os._exit(9)
        return weights


def death(folder: Path) -> None:
    task = make_task()
    data_parallel(lambda: tune(trace(task.model, task.example).module, task, SETTINGS, (Dies(),)), task)


class Interrupts(Plug):
    """Rank 0 leaves in the middle of a step."""

    def transform(self, weights):
        if rank() == 0:
            raise KeyboardInterrupt
        return weights


def halfway(folder: Path) -> None:
    task = make_task()

    def work():
        with pytest.raises(KeyboardInterrupt):
            tune(trace(task.model, task.example).module, task, SETTINGS, (Interrupts(),))
        tune(trace(task.model, task.example).module, task, SETTINGS)

    data_parallel(work, task)


def other_images(folder: Path) -> None:
    task = make_task(first_seed=rank())
    data_parallel(lambda: tune(trace(task.model, task.example).module, task, SETTINGS), task)


PROGRAMS = {"everything": everything, "death": death, "halfway": halfway, "other-images": other_images}


def in_two_processes(program: str, folder: Path) -> list[subprocess.CompletedProcess[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, program, str(folder)],
            env=os.environ | shared | {"RANK": str(number)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, stderr=error)
        for process, error in zip(ranks, errors, strict=True)
    ]


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """The folders of the same trainings by one process and by two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    everything(alone)
    for ended in in_two_processes("everything", together):
        assert ended.returncode == 0, ended.stderr
    return alone, together


@pytest.mark.parametrize("name", [*PLUGS, *OTHERS])
def test_two_processes_end_where_one_does(ends, name):
    one = torch.load(ends[0] / f"{name}-0.pt", weights_only=True)
    first, second = (torch.load(ends[1] / f"{name}-{number}.pt", weights_only=True) for number in range(2))
    assert one.keys() == first.keys() == second.keys()
    assert {"norm.running_var", "vectors.running_mean", "plain.num_batches_tracked"} <= one.keys()
    for key, value in one.items():
        assert (first[key] - value).abs().max() <= 1e-4 * value.abs().max(), key
        assert torch.equal(first[key], second[key]), f"{key} differs between the ranks"


def test_losses_are_those_of_whole_batches(ends):
    one, two = (torch.load(folder / "losses.pt", weights_only=True) for folder in ends)
    for kind, losses in one.items():
        assert two[kind] == pytest.approx(losses, rel=1e-6)


def test_trainings_are_told_apart(ends):
    """Or equal ends would say nothing of the plugs."""
    weights = [torch.load(ends[1] / f"{kind}-0.pt", weights_only=True)["conv.weight"] for kind in PLUGS]
    for number, one in enumerate(weights):
        assert not any((one - other).abs().max() < 1e-3 * one.abs().max() for other in weights[:number])


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(ends):
    for kind in ("plain", "rate penalty"):
        whole, resumed = (
            torch.load(ends[1] / f"{name}-0.pt", weights_only=True) for name in (kind, f"{kind}, resumed")
        )
        for key, value in whole.items():
            assert torch.equal(value, resumed[key]), key


def test_a_rank_that_dies_ends_the_others(tmp_path):
    first, second = in_two_processes("death", tmp_path)
    assert second.returncode == 9
    assert first.returncode == 1
    assert "ConnectionError: expected 2 processes to work together, but rank 0 lost the others (" in first.stderr


def test_a_step_left_halfway_ends_all(tmp_path):
    first, second = in_two_processes("halfway", tmp_path)
    assert "ConnectionError: expected 2 processes to work together, but rank 0 lost the others (it left" in first.stderr
    assert "ConnectionError: expected 2 processes to work together, but rank 1 lost the others (" in second.stderr


def test_other_images_are_refused(tmp_path):
    first, second = in_two_processes("other-images", tmp_path)
    assert "expected the same training images in the same order in every process, got others in rank 1" in second.stderr
    assert "ConnectionError: expected 2 processes to work together" in first.stderr


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_in_one_process_it_is_batch_norm(shape, affine):
    def normalised(context):
        torch.manual_seed(0)
        x, weight, bias = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (shape, 3, 3))
        mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        scales = (weight, bias) if affine else (None, None)
        with context:
            y = torch.ops.aten.batch_norm.default(x, *scales, mean, var, True, 0.3, 1e-3, False)
        y.pow(3).sum().backward()
        return [y, mean, var, x.grad, *((weight.grad, bias.grad) if affine else ())]

    for expected, found in zip(
        normalised(torch.enable_grad()), normalised(SynchronisedBatchNorm(lambda values: values)), strict=True
    ):
        assert torch.allclose(expected, found, rtol=1e-10, atol=1e-12)


def test_in_bfloat16_it_is_as_close_as_batch_norm():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(8, 6, 4, 4), torch.rand(6), torch.randn(6)
    gradient = torch.randn(8, 6, 4, 4)

    def back(kind, context):
        leaf = x.detach().clone().to(kind).requires_grad_()
        with context, torch.autocast("cpu", torch.bfloat16):
            y = torch.ops.aten.batch_norm.default(leaf, weight, bias, None, None, True, 0.1, 1e-5, False)
        y.backward(gradient.to(y.dtype))
        assert y.dtype == kind
        return leaf.grad.float()

    exact = back(torch.float32, torch.enable_grad())
    own = (back(torch.bfloat16, SynchronisedBatchNorm(lambda values: values)) - exact).norm()
    assert own < 1.1 * (back(torch.bfloat16, torch.enable_grad()) - exact).norm()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.BatchNorm2d(3), "expected batch norms of an exported network, got that of a module"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "expected instance norms without running statistics"),
    ],
)
def test_norms_that_would_see_a_part_of_the_batch_are_refused(module, message):
    if isinstance(module, nn.InstanceNorm2d):
        module = trace(module, torch.randn(2, 3, 4, 4)).module
    with SynchronisedBatchNorm(lambda values: values):
        module.eval()(torch.randn(2, 3, 4, 4))
        with pytest.raises(ValueError, match=message):
            module.train()(torch.randn(2, 3, 4, 4))


@pytest.fixture
def second_of_four(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)


def test_each_alone_is_refused(second_of_four, tmp_path):
    task = make_task()
    alone = "expected work that 4 processes share, got it from each of them alone; use `gossamer train`"
    with pytest.raises(ValueError, match=alone):
        tune(trace(task.model, task.example).module, task, SETTINGS)
    with pytest.raises(ValueError, match=alone):
        train(task, SETTINGS, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_each_takes_a_device_of_its_own(second_of_four, device):
    with pytest.raises(ValueError, match=rf"device must be cpu or cuda in several processes, got '{device}'"):
        data_parallel(lambda: None, make_task(), device)


def test_more_processes_than_images_in_a_batch_are_refused():
    processes = Processes.__new__(Processes)
    processes.rank, processes.size = 0, 4
    with (
        pytest.raises(ValueError, match=r"got batches of 3 for 4 processes; take larger batches, or fewer"),
        processes.sharing(None, make_task(), 3),
    ):
        raise AssertionError


def test_the_command_trains_under_torchrun(tmp_path):
    """Two processes, one folder; the same weights as one process, to float32."""
    task = make_task()
    splits = {"train": task.train, "val": task.selection, "test": task.test}
    arrays = {f"{name}_images": split.images.take(np.arange(IMAGES)) for name, split in splits.items()}
    labels = {f"{name}_labels": split.labels for name, split in splits.items()}
    np.savez(tmp_path / "data.npz", **arrays, **labels)
    words = ["train", "--model", f"{__file__}:Net", "--data", str(tmp_path / "data.npz"), "--size", "8"]
    words += ["--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25", "--epochs", "2", "--batch-size", "33"]
    words += ["--learning-rate", "0.02", "--numerics", "plain float32", "--quiet", "--out"]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "gossamer",
    ]
    ended = subprocess.run([*torchrun, *words, str(tmp_path / "two")], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("quality on the selection split") == 1
    assert main([*words, str(tmp_path / "one")]) == 0
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-3, atol=1e-4), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        PROGRAMS[sys.argv[1]](Path(sys.argv[2]))
    except (ConnectionError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def test_other_boxes_are_other_images(task):
    """What ranks compare before a training."""
    count = len(task.train)
    one, other = (
        Boxes.of([np.array([[0, 0, right, 1, 0, 0]], np.float32) for _ in range(count)]) for right in (0.5, 0.75)
    )
    with_boxes = [replace(task, train=replace(task.train, labels=None, boxes=boxes)) for boxes in (one, one, other)]
    first, again, changed = map(_images, with_boxes)
    assert first == again != changed
