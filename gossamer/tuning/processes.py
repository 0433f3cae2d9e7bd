# SPDX-License-Identifier: Apache-2.0
"""Processes: those that torchrun started take each step of a training together, as if there were only one.

    rank 0      does the whole work, and hands each of its trainings to the others
    the others  wait for a training, take part in it, and wait again (`data_parallel`)

In a step every rank has the same batch and computes on its part of it. Its loss is weighted by its share of the batch:
then gradients need only be added up, parts may be unequal, and penalties that know of no batch count once. All ranks
change the same weights by the same gradients, so weights and plugs stay the same in all of them.

Why not torch's DistributedDataParallel: it hooks into the forward pass of a module, and here the weights that a pass
uses are made outside of it; it takes means over ranks as if their parts were equal; and it knows nothing of what plugs
learn. Adding up once a step, after the backward pass, is all that remains of it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from gossamer.files import sha256
from gossamer.task import Task
from gossamer.tuning.plug import Batch
from gossamer.tuning.synchronised import SynchronisedBatchNorm

PATIENCE = timedelta(minutes=30)  # with a rank that hangs in a step; one that dies closes its connections at once
IDLE = timedelta(days=30)  # between two trainings rank 0 may measure for as long as it likes


class TrainingOver(Exception):
    """Rank 0 takes no further step of this training: it is finished, or was left early."""


class Part(NamedTuple):
    """The part of a batch that is this process's own; `share`: of the batch's examples, in (0, 1]."""

    batch: Batch
    share: float = 1.0


class OneProcess:
    """The usual case: a single process, which has nobody to agree with."""

    rank: int = 0
    size: int = 1

    def sharing(self, training: object, task: Task, batch_size: int) -> AbstractContextManager[None]:
        """The context in which rank 0 goes through a training; the others are given it at the start."""
        return nullcontext()

    def step(self) -> AbstractContextManager[None]:
        """The context of what all ranks do together in one step; TrainingOver where rank 0 takes no further one."""
        return nullcontext()

    def part(self, batch: Batch) -> Part:
        """What of a batch this rank computes on."""
        return Part(batch)

    def norms(self) -> AbstractContextManager[object]:
        """The context in which batch norms see the whole batch."""
        return nullcontext()

    def add_up(self, loss: Tensor, leaves: Iterable[Tensor]) -> Tensor:
        """Make the gradients of `leaves` those of the whole batch; returns its loss, ()."""
        return loss


class Processes(OneProcess):
    """The processes that torchrun started, as one of them sees them."""

    def __init__(self, device: str) -> None:
        """Meet the others; ValueError where each cannot have a device of this kind to itself."""
        self.rank, self.size = rank(), int(os.environ["WORLD_SIZE"])
        self._local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self._stepping = self._lost = False
        backend = self._backend(device)
        with self._answering():
            dist.init_process_group(backend, timeout=PATIENCE)
            self._waiting: Any = dist.new_group(backend="gloo", timeout=IDLE)

    def _backend(self, device: str) -> str:
        chosen = torch.device(device)
        if chosen.type not in ("cpu", "cuda") or chosen.index is not None:
            raise ValueError(f"device must be cpu or cuda in several processes, got '{device}'; each takes its own")
        if chosen.type == "cpu":
            return "gloo"
        if self._local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"expected a device for each process, got {torch.cuda.device_count()} for number "
                f"{self._local_rank + 1} on this machine; start fewer"
            )
        torch.cuda.set_device(self._local_rank)
        return "cpu:gloo,cuda:nccl"

    # -- trainings, from rank 0 to the others ------------------------------------------------------------------

    @contextmanager
    def sharing(self, training: object, task: Task, batch_size: int) -> Iterator[None]:
        """Rank 0: hand a training out, and in the end, however it ends, tell the others that it is over."""
        if batch_size < self.size:
            raise ValueError(
                f"expected an image of each batch for each process, got batches of {batch_size} for {self.size} "
                "processes; take larger batches, or fewer processes"
            )
        buffer = io.BytesIO()
        torch.save((training, _images(task)), buffer)
        self._tell(buffer.getvalue())
        try:
            yield
        except BaseException:
            with suppress(ConnectionError):
                self._say_over()
            raise
        self._say_over()

    def receive(self, task: Task) -> Any:
        """The others: the next training that rank 0 hands out, or None when there will be no more.

        ValueError where `task` has other training images than that of rank 0.
        """
        told: list[bytes | None] = [None]
        with self._answering():
            dist.broadcast_object_list(told, src=0, group=self._waiting)
        if told[0] is None:
            return None
        places = {"cuda:0": f"cuda:{self._local_rank}"}
        training, images = torch.load(io.BytesIO(told[0]), map_location=places, weights_only=False)  # from ourselves
        if images != _images(task):
            raise ValueError(
                f"expected the same training images in the same order in every process, got others in rank {self.rank} "
                "than in rank 0; give each the same data"
            )
        return training

    def close(self) -> None:
        """Take leave; rank 0 tells the others that they can go."""
        with suppress(ConnectionError):
            if self.rank == 0 and not self._lost:
                self._tell(None)
        if dist.is_initialized():
            dist.destroy_process_group()

    def _tell(self, what: bytes | None) -> None:
        with self._answering():
            dist.broadcast_object_list([what], src=0, group=self._waiting)

    def _say_over(self) -> None:
        if self._stepping:  # the others are somewhere in this step and cannot be told: closed connections end them
            self._lost = True
            dist.destroy_process_group()
        else:
            self._goes_on(False)

    # -- a step --------------------------------------------------------------------------------------------------

    @contextmanager
    def step(self) -> Iterator[None]:
        """All ranks begin it together, so that rank 0 can leave a training between two steps."""
        self._stepping = True
        if not self._goes_on(True):
            raise TrainingOver
        yield
        self._stepping = False

    def _goes_on(self, wanted: bool) -> bool:
        """What rank 0 wants."""
        word = torch.tensor(int(wanted))
        with self._answering():
            dist.broadcast(word, src=0, group=self._waiting)  # rank 0 pauses between steps while others measure
        return bool(word)

    def part(self, batch: Batch) -> Part:
        """Consecutive examples, as many for each rank as for the next, or one more."""
        count = len(batch.inputs)
        own = slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)
        mine = replace(batch, inputs=batch.inputs[own], targets=batch.targets[own])
        return Part(mine, (own.stop - own.start) / count)

    def norms(self) -> AbstractContextManager[object]:
        """Batch norms add up over all ranks."""
        return SynchronisedBatchNorm(self._add)

    def add_up(self, loss: Tensor, leaves: Iterable[Tensor]) -> Tensor:
        """One sum over all ranks, of the loss and all gradients in a row."""
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        row = self._add(torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)]))
        places = torch.split(row[1:], [gradient.numel() for gradient in gradients])
        for gradient, place in zip(gradients, places, strict=True):
            gradient.copy_(place.view(gradient.shape))
        return row[0]

    def _add(self, values: Tensor) -> Tensor:
        with self._answering():
            dist.all_reduce(values)
        return values

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """One sentence for a rank that died or hangs."""
        if self._lost:
            raise ConnectionError(self._lost_words("it left a step halfway"))
        try:
            yield
        except RuntimeError as error:
            raise ConnectionError(self._lost_words(str(error).partition("\n")[0])) from error

    def _lost_words(self, why: str) -> str:
        return (
            f"expected {self.size} processes to work together, but rank {self.rank} lost the others ({why}); look "
            "for an error of another rank, then start them again: training goes on from the last whole epoch"
        )


def _images(task: Task) -> str:
    """Hash of the training images and their truth in their order, and of how they are read."""
    train = task.train
    labels = [] if train.labels is None else train.labels.tolist()
    masks = [] if train.masks is None else train.masks.hashes()
    boxes = [] if train.boxes is None else train.boxes.hashes()
    return sha256(repr((train.images.hashes(), labels, masks, boxes, task.preprocess)).encode())


class _Present:
    """What this process takes part in; there is one process, so there is one of it."""

    processes: ClassVar[Processes | None] = None


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """Meet the other processes, and take leave in the end; in between `present` gives them."""
    _Present.processes = processes = Processes(device)
    try:
        yield processes
    finally:
        _Present.processes = None
        processes.close()


def launched() -> bool:
    """Whether torchrun started this process and others beside it."""
    return {"RANK", "MASTER_ADDR"} <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """The number of this process among those that torchrun started; 0 where there is only one."""
    return int(os.environ["RANK"]) if launched() else 0


def present() -> OneProcess:
    """The processes that take part in what is done here.

    ValueError where torchrun started several of which each would do the whole work, over the others' files.
    """
    if _Present.processes is not None:
        return _Present.processes
    if launched():
        raise ValueError(
            f"expected work that {os.environ['WORLD_SIZE']} processes share, got it from each of them alone; "
            "use `gossamer train` or `gossamer compress`, call gossamer.tuning.data_parallel, or leave out torchrun"
        )
    return OneProcess()
