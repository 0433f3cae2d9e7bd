# SPDX-License-Identifier: Apache-2.0
"""Claim: a folder belongs to one piece of work from its first file on, run.json, which says what was asked.

Going on in it with anything else asked would mix two pieces of work in silence: checkpoints of another network, of
other data, or of an edited architecture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gossamer
from gossamer.files import read_json, sha256, write_json
from gossamer.graph import Network
from gossamer.search.watch import Watch
from gossamer.task import Task
from gossamer.tuning.processes import present


def claim_folder(folder: Path, asked: Mapping[str, Any], watch: Watch) -> None:
    """Start in an empty folder, or go on in that of the same work; refuse any other and touch nothing in it."""
    present()  # refuses several processes that would write into one folder, each as if it were alone
    wanted = json.loads(json.dumps(asked))
    path = folder / "run.json"
    if path.exists():
        if differs := _differences(read_json(path), wanted):
            raise ValueError(
                f"expected the folder of this run or an empty one, got another run in {folder} "
                f"(it differs in {', '.join(differs)}); choose another --out, or delete that folder"
            )
        watch.say(f"going on with the run in {folder}")
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder for the run, got the file {folder}; choose another --out")
    # a kill while run.json was written leaves a part of it
    if folder.exists() and any(entry.suffix != ".part" for entry in folder.iterdir()):
        raise ValueError(
            f"expected an empty folder for the run, got files of something else in {folder}; choose another --out"
        )
    write_json(path, wanted)


def identity(task: Task, network: Network) -> dict[str, Any]:
    """What a run is about, by hash: this version of Gossamer, the network's code and weights, the data."""
    return {
        "gossamer": gossamer.__version__,
        "architecture": architecture_sha256(network),
        "network": weights_sha256(task.model),
        "data": {split.name: split.sha256 for split in task.splits},
        "preprocess": task.preprocess.to_json(),
        "seen": task.seen,
        "kind": repr(task.of_kind),
    }


def architecture_sha256(network: Network) -> str:
    """Hash of a traced network's code in both forms, with the constants in it: an edited net.py is another network."""
    module = network.module
    weights = module.state_dict()
    constants = [
        name.encode() + b"\0" + _content(value) for name, value in sorted(module.named_buffers()) if name not in weights
    ]
    code = [module._sources[training].encode() for training in (False, True)]
    return sha256(b"\0".join([*code, *constants]))


def weights_sha256(module: nn.Module) -> str:
    """Hash of a network's parameters and buffers, names included: the same weights, the same hash."""
    parts = [name.encode() + b"\0" + _content(value) for name, value in sorted(module.state_dict().items())]
    return sha256(b"".join(parts))


def _content(tensor: Tensor) -> bytes:
    """A tensor's numbers in memory; NumPy does not know all of their types."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in asked.keys() | there.keys():
        a, b = there.get(key), asked.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return sorted(found)
