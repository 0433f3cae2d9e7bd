# SPDX-License-Identifier: Apache-2.0
"""Coverage: is surgery exact on every CNN? One row a network, and docs/coverage.md from the rows.

    python -m benchmarks.coverage_run run             every network that has no row yet
    python -m benchmarks.coverage_run run NAME ...    these, anew; NAME is a part of source:name
    python -m benchmarks.coverage_run peers           Torch-Pruning on every network whose row lacks it
    python -m benchmarks.coverage_run one SOURCE:NAME one network in this process; prints its row
    python -m benchmarks.coverage_run page            docs/coverage.md

Each network runs in a process of its own, limited in time. Its row says: analysed in how many seconds (of the
processor, on one thread, so that other work on the machine does not count); half of its
removable channels cut at random; error against the silenced original in float64, both forms; one training step at
another batch size; ONNX Runtime's output on the exported cut network; and what Torch-Pruning does when asked for the
same in the way of its README (where it is installed; it is no dependency).
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.coverage_networks import Entry, networks
from gossamer.files import read_json, write_json
from gossamer.graph import Network, trace
from gossamer.measure.environment import environment

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "results" / "coverage"
EXACT = 1e-10
SECONDS = {"one": 600, "peer": 60}  # of the processor
CHECK_PIXELS = 96  # a cut does not depend on the size of images; a check on small ones is faster
ONNX_TOLERANCE = 2e-3


def main() -> int:
    """Run networks, or write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage_run", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("run", "peers", "one", "peer", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if options.verb == "page":
        from benchmarks.coverage_page import write_page

        write_page()
        return 0
    entries = [entry for entry in networks() if not options.names or _named(entry, options.names)]
    if options.verb == "one":
        print(json.dumps(row(entries[0])))
        return 0
    if options.verb == "peer":
        pixels = _rows(entries[0].source)[entries[0].name]["pixels"][1]
        print(json.dumps(torch_pruning(entries[0], pixels)))
        return 0
    for entry in entries:
        row_before = _rows(entry.source).get(entry.name, {})
        theirs = row_before.get("torch_pruning")  # does not change with our code
        if options.verb == "run" and (not row_before or options.names):
            found = _apart("one", entry)
            _file(entry, {"network": entry.name, **found, "torch_pruning": theirs})
            print(entry.source, entry.name, found.get("outcome"), found.get("error"), flush=True)
        elif options.verb == "peers" and "pixels" in row_before and theirs is None:
            theirs = _apart("peer", entry)
            _file(entry, {**row_before, "torch_pruning": theirs})
            print(entry.source, entry.name, "torch-pruning:", theirs["outcome"], flush=True)
    write_json(ROWS / "environment.json", environment())
    return 0


def _rows(source: str) -> dict[str, dict[str, Any]]:
    path = ROWS / f"{source}.json"
    return {row["network"]: row for row in (read_json(path) if path.exists() else [])}


def _file(entry: Entry, row: dict[str, Any]) -> None:
    """Put a row into its list; others may have been filed meanwhile."""
    write_json(ROWS / f"{entry.source}.json", list((_rows(entry.source) | {entry.name: row}).values()))


def _named(entry: Entry, names: list[str]) -> bool:
    return any(name in f"{entry.source}:{entry.name}" for name in names)


def _apart(verb: str, entry: Entry) -> dict[str, Any]:
    """What this file prints for one network, run in another process that may use the processor so long."""
    command = [sys.executable, "-m", "benchmarks.coverage_run", verb, f"{entry.source}:{entry.name}"]
    most = SECONDS[verb]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit)
    if done.returncode == -signal.SIGKILL:
        return {"outcome": "timeout", "why": f"no result after {most} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return {"outcome": "failed", "why": _without_paths(last)[:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _without_paths(text: str) -> str:
    return re.sub(r"/[\w./-]*/", "", text)


# --- one network


def row(entry: Entry) -> dict[str, Any]:
    """Everything that the table says about one network."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model = _built(entry)
    started = time.process_time()
    network = trace(model, torch.zeros(2, entry.channels, entry.pixels, entry.pixels))
    traced = time.process_time()
    groups = network.groups
    analysed = time.process_time()
    small, pixels = _small(entry, model, network)
    keep = half(small)
    begun = time.process_time()
    smaller = small.cut(keep)
    cut = time.process_time()
    error = small.check(smaller)
    free = [group for group in groups if group.removable and group.exact]
    share = 1 - network.parameters_if({group.name: group.multiple_of for group in free}) / network.parameters
    return {
        "outcome": "exact" if error < EXACT else "wrong",
        "exact": error < EXACT,
        "error": error,
        "parameters": network.parameters,
        "parameters_cut": smaller.parameters,
        "macs": network.macs,
        "removable_share": round(share, 4),
        "groups": len(groups),
        "channels": sum(group.size for group in groups),
        "channels_exact": sum(group.size for group in free),
        "why_not": dict(Counter(_reason(group.reason) for group in groups if group.reason and group not in free)),
        "pixels": [entry.pixels, pixels],
        "seconds": {
            "export": round(traced - started, 2),
            "analysis": round(analysed - traced, 3),
            "cut": round(cut - begun, 3),
        },
        "trains": _without_gradient(smaller) <= _without_gradient(small),
        "onnx_error": _onnx_error(smaller),
    }


def _built(entry: Entry) -> nn.Module:
    return entry.build().eval()


def _small(entry: Entry, model: nn.Module, network: Network) -> tuple[Network, int]:
    """The same network traced on small images where it takes them, and their size."""
    if entry.pixels <= CHECK_PIXELS:
        return network, entry.pixels
    try:
        return trace(model, torch.zeros(2, entry.channels, CHECK_PIXELS, CHECK_PIXELS)), CHECK_PIXELS
    except ValueError:
        return network, entry.pixels


def half(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Half of the channels of every exact group at random, at least one of each part."""
    random = np.random.default_rng(seed)
    keep = {}
    for group in network.groups:
        if group.removable and group.exact:
            each = group.size // group.multiple_of
            keep[group.name] = group.best(random.random(group.size), group.multiple_of * max(1, each // 2))
    return keep


def _reason(words: str) -> str:
    """A reason without the place that it names."""
    return re.split(r",? (?:at|in) (?:\w+ )?(?:in '|in the network)|,? at |( in ')", words)[0]


def _without_gradient(network: Network) -> set[str]:
    """Parameters with no finite gradient after one step at another batch size; some networks have unused ones."""
    module = network.copy().module.train()
    inputs = [torch.randn(3, *leaf.shape[1:]) for leaf in network.example]
    outputs = [leaf for leaf in pytree.tree_leaves(module(*inputs)) if isinstance(leaf, Tensor)]
    sum(output.float().square().mean() for output in outputs).backward()  # type: ignore[union-attr]
    return {name for name, p in module.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())}


def _onnx_error(smaller: Network) -> float | str:
    """Relative difference between PyTorch and ONNX Runtime on the exported cut network, or why there is none."""
    from gossamer.runtime.export import export_onnx
    from gossamer.runtime.session import open_session

    module = smaller.module.eval()
    try:
        session = open_session(export_onnx(module, smaller.example))
    except Exception as problem:
        return _without_paths(f"{type(problem).__name__}: {problem}")[:300]
    inputs = [torch.randn(3, *leaf.shape[1:], generator=torch.Generator().manual_seed(0)) for leaf in smaller.example]
    with torch.no_grad():
        expected = [leaf for leaf in pytree.tree_leaves(module(*inputs)) if isinstance(leaf, Tensor)]
    got = session.run(*[x.numpy() for x in inputs])
    return max(
        float(np.abs(a.numpy() - b).max() / max(float(a.abs().max()), 1e-12))
        for a, b in zip(expected, got, strict=True)
    )


# --- the peer


def torch_pruning(entry: Entry, pixels: int) -> dict[str, Any]:
    """The same request to Torch-Pruning: half of the channels of every layer but the last, by L1 norm; on images of
    the size on which our own cut was checked.

    Exact means: the original, with the outgoing weights of the removed channels zeroed, gives the same outputs. Its
    users cannot check that; here the check silences what its own groups say was removed.
    """
    warnings.simplefilter("ignore")
    try:
        import torch_pruning as tp
    except ImportError:
        return {"outcome": "not installed"}
    torch.manual_seed(0)
    model = _built(entry).double()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.data.uniform_(0.5, 1.5)
    example = torch.randn(2, entry.channels, pixels, pixels, dtype=torch.float64)
    silenced, before = copy.deepcopy(model), sum(p.numel() for p in model.parameters())
    last = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))][-1]
    try:
        pruner = tp.pruner.MagnitudePruner(
            model, example, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=0.5, ignored_layers=[last]
        )
        _silence(silenced, model, pruner)
        with torch.no_grad():
            got, expected = pytree.tree_leaves(model(example)), pytree.tree_leaves(silenced(example))
    except Exception as problem:
        return {"outcome": "crash", "why": _without_paths(f"{type(problem).__name__}: {problem}")[:200]}
    after = sum(p.numel() for p in model.parameters())
    pairs = [(a, b) for a, b in zip(expected, got, strict=False) if isinstance(a, Tensor) and a.shape == b.shape]
    error = max((float((a - b).abs().max() / a.abs().max()) for a, b in pairs), default=float("inf"))
    outcome = "nothing pruned" if after == before else "exact" if error < 1e-6 else "differs"
    return {"outcome": outcome, "error": error, "removed": round(1 - after / before, 3)}


def _silence(silenced: nn.Module, model: nn.Module, pruner: Any) -> None:
    """Prune `model` group by group, zeroing in the copy what reads the removed channels."""
    twins = dict(zip(model.modules(), silenced.modules(), strict=True))
    kept: dict[nn.Module, Tensor] = {}  # which of the original inputs a layer still reads

    with torch.no_grad():
        for group in pruner.step(interactive=True):
            for dependency, indices in group:
                layer = dependency.target.module
                if dependency.handler.__name__ != "prune_in_channels" or not hasattr(layer, "weight"):
                    continue
                if not isinstance(layer, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)) or layer.weight.dim() < 2:
                    continue
                read = _read(twins[layer])
                left = kept.setdefault(layer, torch.arange(len(read)))
                gone = left[torch.tensor(sorted(set(indices)))]
                for channel in gone.tolist():
                    read[channel].zero_()
                kept[layer] = left[~torch.isin(left, gone)]
            group.prune()


def _read(layer: nn.Module) -> list[Tensor]:
    """Per input channel, the part of a layer's weight that reads it."""
    weight = layer.weight
    if isinstance(layer, nn.ConvTranspose2d):
        return list(weight.unbind(0))
    blocks = weight.reshape(getattr(layer, "groups", 1), -1, *weight.shape[1:])  # (groups, rows, columns, ...)
    return [column for block in blocks for column in block.unbind(1)]


if __name__ == "__main__":
    sys.exit(main())
