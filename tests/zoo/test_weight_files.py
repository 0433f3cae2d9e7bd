# SPDX-License-Identifier: Apache-2.0
"""Weights from files: every format and wrapper, nothing executed, and one sentence for what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gossamer.zoo.weight_files import load_weights, read_weights


def network(seed: int = 0, classes: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, classes))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def prefixed(prefix: str) -> Callable[[nn.Module], object]:
    return lambda model: {prefix + name: value for name, value in model.state_dict().items()}


@pytest.mark.parametrize("suffix", ["pt", "pth", "th"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model.state_dict(),
        lambda model: {"state_dict": model.state_dict(), "epoch": 3, "best": 91.7},
        lambda model: {"model": model.state_dict(), "optimizer": {"lr": 0.1, "steps": [1, 2]}},
        prefixed("module."),
        prefixed("_orig_mod."),
        lambda model: {"state_dict": prefixed("module.")(model)},
        prefixed("module._orig_mod."),
    ],
)
def test_torch_files_with_their_wrappers_and_prefixes(
    tmp_path: Path, suffix: str, wrap: Callable[[nn.Module], object]
) -> None:
    path = tmp_path / f"weights.{suffix}"
    torch.save(wrap(network(1)), path)
    model = network(2)
    load_weights(model, path)
    assert same(model, network(1))


def test_the_old_torch_format(tmp_path: Path) -> None:
    torch.save(network(1).state_dict(), tmp_path / "old.th", _use_new_zipfile_serialization=False)
    model = network(2)
    load_weights(model, tmp_path / "old.th")
    assert same(model, network(1))


def test_safetensors_and_npz(tmp_path: Path) -> None:
    state = network(1).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    np.savez(tmp_path / "weights.npz", **{name: value.numpy() for name, value in state.items()})
    for name in ("weights.safetensors", "weights.npz"):
        model = network(2)
        load_weights(model, tmp_path / name)
        assert same(model, network(1))


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    state = {k: v for k, v in network(1).state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "weights.pt")
    model = network(2)
    load_weights(model, tmp_path / "weights.pt")
    assert torch.equal(model[0].weight, network(1)[0].weight)  # type: ignore[index]


class Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("how", ["torch", "old torch", "pickle", "npz"])
def test_a_hostile_pickle_is_refused_in_one_sentence_and_not_run(tmp_path: Path, how: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / ("weights.npz" if how == "npz" else "weights.pth")
    content = {"state_dict": {"0.weight": Hostile(victim)}}
    if how == "npz":
        np.savez(path, weight=np.array([Hostile(victim)], dtype=object))
    elif how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    message = "cannot be read: Object arrays" if how == "npz" else "holds more than tensors, and Gossamer runs no code"
    with pytest.raises(ValueError, match=message) as raised:
        load_weights(network(), path)
    assert "\n" not in str(raised.value)
    assert not victim.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"holds more than tensors.*save model.state_dict\(\)"):
        load_weights(network(), tmp_path / "model.pt")


def test_a_misfit_is_one_sentence_with_three_names_of_each_kind(tmp_path: Path) -> None:
    state = network(classes=7).state_dict()
    del state["0.weight"]
    state |= {f"more{i}": torch.zeros(1) for i in range(5)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(
        ValueError,
        match=r"weights.pt do not fit the network: 1 missing \(0.weight\), 5 unexpected \(more0, more1, more2, ...\), "
        r"2 of another shape \(3.weight \(7, 5\) instead of \(4, 5\), 3.bias \(7,\) instead of \(4,\)\)",
    ):
        load_weights(network(), tmp_path / "weights.pt")


def test_a_misfit_changes_nothing(tmp_path: Path) -> None:
    state = network(1).state_dict()
    state["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "weights.pt")
    model = network(2)
    with pytest.raises(ValueError, match=r"1 unexpected \(more\)"):
        load_weights(model, tmp_path / "weights.pt")
    assert same(model, network(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    state["3.bias"][2] = value
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights in .* must be finite, got NaN or infinity in 3.bias"):
        load_weights(network(), tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [[1, 2], 7])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"expected tensors by name in .*weights.pt, got (list|int) instead; save"):
        read_weights(tmp_path / "weights.pt")


def test_a_checkpoint_with_an_unknown_wrapper_lists_its_keys_and_the_known_wrappers(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "net": network().state_dict()}, tmp_path / "weights.pt")
    message = (
        r"expected tensors by name in .*weights.pt, or under one of the keys state_dict, model_state_dict, model; "
        r"got a dict with the keys epoch, optimizer, net; save model.state_dict\(\) instead"
    )
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "weights.pt")


def test_a_text_file_is_shown_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("epoch 1, loss 0.3")
    with pytest.raises(ValueError, match=r"expected a state dict .*weights.pt, got a file that begins with b'epoch 1"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "npz"])
def test_an_empty_file_is_called_empty(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"weights.{suffix}").touch()
    with pytest.raises(ValueError, match=rf"expected weights in .*weights.{suffix}, got an empty file; save it again"):
        read_weights(tmp_path / f"weights.{suffix}")


def test_a_folder_of_weights_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a file of weights, got the folder .*; name the file in --weights"):
        read_weights(tmp_path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "npz"])
@pytest.mark.parametrize("kept", [0, 1, 60, 0.5, 0.99])
def test_a_cut_file_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"weights.{suffix}"
    state = network().state_dict()
    if suffix == "pt":
        torch.save(state, path)
    elif suffix == "npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(ValueError, match=rf"weights.{suffix}") as raised:
        load_weights(network(), path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*gone.pt; check --weights"):
        load_weights(network(), tmp_path / "gone.pt")


def test_arrays_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", name=np.array(["text"]))
    with pytest.raises(ValueError, match=r"weights in .*weights.npz must be numbers"):
        read_weights(tmp_path / "weights.npz")
