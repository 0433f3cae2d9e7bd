# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are files like any other, and those of another network are refused in one sentence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gossamer.tuning.checkpoint import load_training, load_weights, read_tensors, save_training, save_weights
from gossamer.zoo.weight_files import load_weights as from_outside


def network(width: int = 4, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2, bias=bias))


def training(module: nn.Module, loss: float = 0.5) -> SimpleNamespace:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    return SimpleNamespace(module=module, optimizer=optimizer, plugs=(), history=[loss])


def test_whoever_may_read_a_file_of_this_folder_may_read_these(tmp_path):
    (tmp_path / "usual.txt").write_text("")
    module = network()
    save_weights(tmp_path / "weights.safetensors", module)
    save_training(tmp_path / "training.safetensors", training(module))
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (network(5), r"but of '0.bias' it has \(4,\), not \(5,\)$"),
        (network(bias=False), r"but of '1.bias' it has \(2,\), not nothing$"),
        (nn.Sequential(*network(), nn.Linear(2, 2)), r"but of '2.bias' it has nothing, not \(2,\)$"),
    ],
)
def test_another_network_is_one_sentence(tmp_path, other, message):
    module = network()
    save_weights(tmp_path / "weights.safetensors", module)
    save_training(tmp_path / "training.safetensors", training(module))
    with pytest.raises(ValueError, match=r"expected weights of this network in .*weights.safetensors, " + message):
        load_weights(tmp_path / "weights.safetensors", other)
    with pytest.raises(ValueError, match=r"expected weights of this network in .*training.safetensors, " + message):
        load_training(tmp_path / "training.safetensors", training(other))


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.features = nn.Sequential(self.stem, nn.ReLU(), nn.Linear(4, 2))


def test_a_tensor_of_two_names_is_stored_once_and_loaded_into_both(tmp_path):
    module, again, other = TwoNames(), TwoNames(), TwoNames()
    other.stem = nn.Linear(3, 4)  # a network of its own there
    save_weights(tmp_path / "weights.safetensors", module)
    save_training(tmp_path / "training.safetensors", training(module))
    assert "features.0.weight" not in read_tensors(tmp_path / "weights.safetensors")
    load_weights(tmp_path / "weights.safetensors", again)
    assert torch.equal(again.features[0].weight, module.stem.weight)
    load_training(tmp_path / "training.safetensors", training(again := TwoNames()))
    assert torch.equal(again.features[0].weight, module.stem.weight)
    from_outside(again := TwoNames(), tmp_path / "weights.safetensors")
    assert torch.equal(again.features[0].weight, module.stem.weight)
    with pytest.raises(ValueError, match=r"but of 'features.0.bias' it has nothing, not \(4,\)$"):
        load_weights(tmp_path / "weights.safetensors", other)


def test_one_training_is_not_two(tmp_path):
    save_training(tmp_path / "training.safetensors", training(network()))
    with pytest.raises(ValueError, match=r"expected 2 trainings in .*, got 1: another version .* delete it"):
        load_training(tmp_path / "training.safetensors", training(network()), training(network()))


def test_trainings_beside_each_other_are_one_file(tmp_path):
    first, second = (training(network(), loss) for loss in (0.5, 0.25))
    save_training(tmp_path / "training.safetensors", first, second)
    again = [training(network(), 9.0) for _ in range(2)]
    load_training(tmp_path / "training.safetensors", *again)
    for before, after in zip((first, second), again, strict=True):
        assert before.history == after.history
        for one, other in zip(before.module.parameters(), after.module.parameters(), strict=True):
            assert torch.equal(one, other)
