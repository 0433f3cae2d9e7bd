# SPDX-License-Identifier: Apache-2.0
"""Groups that keep nothing: the branch is gone, its constant stays, and the rest computes what it did."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer.graph import trace
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session


class Bottleneck(nn.Module):
    """A residual branch of three convolutions, with biases where there is no norm, and a dense one beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.reduce, self.norm1 = nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.middle, self.norm2 = nn.Conv2d(6, 7, 3, padding=1), nn.BatchNorm2d(7)
        self.expand = nn.Conv2d(7, 8, 1)
        self.grow, self.after = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(12, 5, 3, padding=1)
        self.fc = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(self.norm1(self.reduce(x)))
        y = self.expand(torch.relu_(self.norm2(self.middle(y))))
        y += x
        x = torch.relu(y)
        x = torch.cat([x, torch.relu(self.grow(x))], 1)
        return self.fc(torch.relu(self.after(x)).mean((2, 3)))


def _network(seed: int = 0):
    torch.manual_seed(seed)
    model = Bottleneck()
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
    return model, trace(model, torch.zeros(1, 3, 8, 8))


def _nothing(network, *names):
    sizes = {group.name: group.size for group in network.groups}
    return {name: np.zeros(sizes[name], np.bool_) for name in names}


def _doubles(network):
    module = copy.deepcopy(network.module).double().eval()
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    return module, x


@pytest.mark.parametrize(
    "names",
    [
        ("reduce.weight",),
        ("middle.weight",),
        ("reduce.weight", "middle.weight"),
        ("grow.weight",),
        ("reduce.weight", "middle.weight", "grow.weight"),
    ],
)
def test_is_exact(names):
    _, network = _network()
    smaller = network.cut(_nothing(network, *names))
    assert network.check(smaller) < 1e-10
    assert smaller.macs < network.macs


def test_is_exact_beside_narrower_groups():
    """A norm behind silenced channels sees other values than whole; one on the residual sum keeps fewer channels."""
    _, network = _network()
    sizes = {group.name: group.size for group in network.groups}
    for ended in ("reduce.weight", "middle.weight"):
        narrow = {name: np.arange(size) % 2 == 0 for name, size in sizes.items() if name not in (ended, "fc.weight")}
        smaller = network.cut(_nothing(network, ended) | narrow)
        assert network.check(smaller) < 1e-10


def test_equals_the_users_module_without_its_branch():
    """With the branch's last channels silenced and its norm re-estimated, worked out by hand."""
    model, network = _network()
    smaller = network.cut(_nothing(network, "middle.weight"))
    module, x = _doubles(smaller)
    own = copy.deepcopy(model).double().eval()
    own.expand.weight.data.zero_()
    assert torch.allclose(own(x), module(x), rtol=0, atol=1e-13)
    assert "expand.bias" not in dict(smaller.module.named_parameters())
    (constant,) = (value for name, value in smaller.module.named_parameters() if name.startswith("constants."))
    assert torch.equal(constant.flatten(), model.expand.bias)


def test_a_norm_gives_its_shift():
    _, network = _network()
    smaller = network.cut(_nothing(network, "reduce.weight"))
    module, x = _doubles(smaller)
    # what enters norm2 is the bias of `middle` everywhere, so norm2 gives its shift, in training and in evaluation
    branch = network.module.expand.weight.flatten(1) @ network.module.norm2.bias.relu() + network.module.expand.bias
    (constant,) = (value for name, value in smaller.module.named_parameters() if name.startswith("constants."))
    assert torch.allclose(constant.flatten(), branch, atol=1e-6)
    assert torch.equal(module(x), copy.deepcopy(module).train()(x))  # no norm is left to behave otherwise


def test_the_constant_trains_and_is_cut_and_exported():
    _, network = _network()
    smaller = network.cut(_nothing(network, "reduce.weight", "middle.weight"))
    smaller.module.train()(torch.randn(4, 3, 8, 8)).square().sum().backward()
    constants = {name: p for name, p in smaller.module.named_parameters() if name.startswith("constants.")}
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in constants.values())
    group = next(group for group in smaller.groups if group.name == "stem.weight")
    twice = smaller.cut({group.name: group.best(np.arange(8.0), 3)})
    assert smaller.check(twice) < 1e-10
    assert [tuple(twice.tensors[name].shape) for name in constants] == [(1, 3, 1, 1)]
    once = network.cut(
        _nothing(network, "reduce.weight", "middle.weight") | {group.name: group.best(np.arange(8.0), 3)}
    )
    assert list(once.module.state_dict()) == list(twice.module.state_dict())
    x = torch.randn(2, 3, 8, 8)
    session = open_session(export_onnx(twice.module.eval(), twice.example))
    np.testing.assert_allclose(session.run(x.numpy())[0], twice.module(x).detach().numpy(), atol=1e-5)


def test_a_plane_that_differs_at_the_border_is_held_whole():
    """Without the first channels, a padded convolution reads a constant image: its border is another constant."""
    _, network = _network()
    smaller = network.cut(_nothing(network, "reduce.weight"))
    assert network.check(smaller) < 1e-10

    class Border(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
            self.b, self.c, self.fc = nn.Conv2d(5, 6, 1), nn.Conv2d(6, 4, 3, padding=1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.fc((x + self.c(self.b(self.a(x)))).relu().mean((2, 3)))

    torch.manual_seed(0)
    network = trace(Border(), torch.zeros(1, 3, 6, 6))
    smaller = network.cut(_nothing(network, "a.weight"))
    (constant,) = (value for name, value in smaller.module.named_parameters() if name.startswith("constants."))
    assert tuple(constant.shape) == (1, 4, 6, 6)
    assert network.check(smaller) < 1e-10


def test_costs_are_predicted():
    _, network = _network()
    names = ("reduce.weight", "middle.weight", "grow.weight")
    smaller = network.cut(_nothing(network, *names))
    assert smaller.macs == network.macs_if(dict.fromkeys(names, 0))


def test_what_the_output_hangs_on_is_refused():
    _, network = _network()
    with pytest.raises(ValueError, match="depends on the image, got a constant"):
        network.cut(_nothing(network, "after.weight"))
    with pytest.raises(ValueError, match="expected at least one channel at cat"):
        network.cut(_nothing(network, "stem.weight"))


def test_a_module_of_the_users_own_class_cannot_lose_a_branch():
    _, network = _network()
    with pytest.raises(ValueError, match="cannot lose a branch"):
        network.cut(_nothing(network, "grow.weight"), into="module")


def test_branches_that_may_each_end_need_not_be_able_to_end_together(traced):
    """Two parts of one layer, all that the output hangs on: one of them must stay."""
    _, network = traced("upward")
    both = ["volume.weight[0:5]", "volume.weight[5:10]"]
    assert all(network.can_end(name) for name in both)
    assert not network.can_end(*both)
    assert network.ending(both) == both[:1]
    assert network.ending(both[::-1]) == both[1:]
    assert network.ending([]) == []
    with pytest.raises(ValueError, match="expected an output that depends on the image"):
        network.cut({group.name: np.zeros(group.size, bool) for group in network.groups if group.name in both})


def test_a_part_that_is_to_be_stacked_cannot_end(traced):
    _, network = traced("two heads")
    assert not network.can_end("mix.0.weight[0:4]")


def test_what_may_end_together_can_be_cut_exactly(pattern):
    """Whichever comes first: no combination that is said to be possible fails, and each is exact."""
    _, network = pattern
    ends = [group.name for group in network.prunable if network.can_end(group.name)]
    sizes = {group.name: group.size for group in network.groups}
    for names in (ends, ends[::-1]):
        keep = {name: np.zeros(sizes[name], bool) for name in network.ending(names)}
        if keep:
            assert network.check(network.cut(keep)) < 1e-10


class Skip(nn.Module):
    """An encoder and a decoder with a skip: what goes through the deep layer goes through the up-convolution alone."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up, self.join = nn.ConvTranspose2d(8, 5, 2, 2), nn.Conv2d(11, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.down(x))
        deep = torch.relu(self.norm(self.deep(torch.nn.functional.max_pool2d(fine, 2))))
        return self.join(torch.cat([fine, torch.relu(self.up(deep))], 1))


def test_what_was_computed_for_the_ended_branch_alone_is_gone_too():
    """In a U-Net without its last up-convolution nobody reads the deep layers: they once stayed, and were searched."""
    torch.manual_seed(0)
    model = Skip()
    network = trace(model, torch.zeros(1, 3, 8, 8))
    cut = network.cut(_nothing(network, "up.weight"))
    assert {layer.name for layer in cut.layers} == {"down.weight", "join.weight"}
    assert not {name for name in cut.module.state_dict() if name.startswith(("deep", "norm", "up"))}
    module, x = _doubles(cut)
    silenced = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        silenced.join.weight[:, 6:] = 0
        assert torch.allclose(module(x), silenced(x), atol=1e-12)
    assert cut.macs < network.macs_if({"up.weight": 0}), "which counts what nobody reads"
    assert cut.cut(_nothing(cut)).macs == cut.macs
    trained = copy.deepcopy(cut.module).train()
    trained(torch.randn(4, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())


def test_one_part_of_shuffled_channels_after_another_ends():
    """Of a concatenation one operand has nothing left at last."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = models.ShuffleNetV2([2, 1, 1], [8, 16, 16, 16, 32], num_classes=4).eval()
    network = trace(model, torch.zeros(1, 3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    ended = 0
    while names := [group.name for group in network.prunable if network.can_end(group.name)]:
        network, ended = network.cut(_nothing(network, names[0])), ended + 1
        assert network.module.eval()(images).shape == (2, 4)
    assert ended > 1
