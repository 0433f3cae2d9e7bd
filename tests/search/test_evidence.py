# SPDX-License-Identifier: Apache-2.0
"""What criteria are given is what the network would really do: by finite differences, and by cutting."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from gossamer import tuning
from gossamer.filters import METHODS, AtRandom, BatchNormScale, Car, L1Norm, Taylor
from gossamer.graph import trace
from gossamer.rates import LayerEntropy, Uniform
from gossamer.recipes.importance_weights import ImportanceWeights
from gossamer.search.evidence import activity, asked_of, error_without, facts_for, scores_by, untied
from gossamer.search.first_order import loss_changes
from gossamer.search.settings import Settings
from gossamer.search.tail import Tail
from gossamer.search.watch import Watch
from gossamer.search.widths import matrices_of
from gossamer.tuning.gates import fold_in, gated, reading
from gossamer.zoo.models import load_model


@pytest.fixture(scope="module")
def run(trained, user_task):
    """As much of a run as is asked for."""
    task = user_task(trained)
    return SimpleNamespace(
        task=task,
        network=trace(task.model, task.example),
        settings=Settings(),
        watch=Watch(),
        has_time_for=lambda seconds: True,
        stage=lambda name, compute: compute(),
        count=lambda what: None,
    )


def right_share(run, network, images=600):
    network.module.eval()
    inputs, targets = next(run.task.batches(run.task.selection, images))
    with torch.no_grad():
        return run.task.quality(network.module(inputs).numpy(), targets.numpy()).mean()


class Deep(nn.Module):
    """A hidden width with two batch norms in a row, as in MobileNetV2."""

    def __init__(self):
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.out = nn.Conv2d(8, 10, 1)

    def forward(self, x):
        x = nn.functional.relu6(self.norm1(self.expand(x)))
        return self.out(nn.functional.relu6(self.norm2(self.deep(x)))).mean((2, 3))


MODELS = {"deep": Deep, "resnet20": lambda: load_model("resnet20", 10), "lenet5": lambda: load_model("lenet5", 10)}


@pytest.mark.parametrize("model", MODELS)
def test_changes_of_the_loss_are_those_of_a_gate(model):
    """Central differences of a factor where the channel is read; with two batch norms, with one, with none."""
    torch.manual_seed(0)
    shape = (1, 28, 28) if model == "lenet5" else (3, 32, 32)
    network = trace(MODELS[model]().double(), torch.zeros(2, *shape, dtype=torch.float64))
    inputs, targets = torch.randn(4, *shape, dtype=torch.float64), torch.arange(4)
    found = loss_changes(network, [(inputs, targets)], F.cross_entropy)
    network.module.eval()
    weights = dict(network.module.named_parameters()) | dict(network.module.named_buffers())

    def loss(group, channel, factor):
        factors = torch.ones(group.size, dtype=torch.float64)
        factors[channel] = factor
        with torch.no_grad():
            out = functional_call(network.module, weights | gated(weights, [(reading(group), factors)]), (inputs,))
        return float(F.cross_entropy(out, targets))

    groups = [group for group in untied(network) if group.columns(network.tensors)]
    for group in (groups[0], groups[-1]):
        for channel in (0, group.size - 1):
            expected = (loss(group, channel, 1 + 1e-5) - loss(group, channel, 1 - 1e-5)) / 2e-5
            assert found[group.name][0, channel] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_what_is_asked_is_what_the_cut_network_answers(run):
    for group in run.network.prunable:
        asked = asked_of(run, run.network, group, 600)
        before = {name: value.clone() for name, value in run.network.tensors.items()}
        for seed in range(3):
            keep = np.random.default_rng(seed).random(group.size) < 0.6
            answers = asked(keep)
            inputs, targets = next(run.task.batches(run.task.selection, 512))
            cut = run.network.cut({group.name: keep}).module.eval()
            with torch.no_grad():
                outputs = cut(inputs)
            right = run.task.quality(outputs.numpy(), targets.numpy())
            assert answers.quality == pytest.approx(right.mean())
            assert answers.loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-4)
            by_class = [right[targets.numpy() == label].mean() for label in range(4)]
            assert answers.by_class == pytest.approx(np.array(by_class))
        assert all(torch.equal(value, run.network.tensors[name]) for name, value in before.items())


class InPlace(nn.Module):
    """A sum in place: asked twice, the tail must not add twice."""

    def __init__(self):
        super().__init__()
        self.conv0, self.conv1, self.conv2 = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv0(x)
        x += self.conv2(torch.relu(self.conv1(x)))
        return self.fc(x.mean((2, 3)))


def test_what_is_kept_is_not_changed_by_operators_in_place(run):
    torch.manual_seed(0)
    network = trace(InPlace(), run.task.example)
    group = next(group for group in network.prunable if group.name == "conv1.weight")
    own = SimpleNamespace(**{**vars(run), "network": network})
    asked, keep = asked_of(own, network, group, 256), np.arange(6) < 4
    first = asked(keep)
    assert asked(keep).loss == first.loss
    inputs, targets = next(run.task.batches(run.task.selection, 256))
    with torch.no_grad():
        outputs = network.cut({group.name: keep}).module.eval()(inputs)
    assert first.loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-5)


def test_what_does_not_fit_into_memory_is_left_out(run):
    group = run.network.prunable[-1]
    batches = list(run.task.batches(run.task.selection, 100))
    asked = (run.network, group, batches, run.task.loss, run.task.quality, 4)
    tail = Tail(*asked, most_bytes=3.5 * 100 * 64 * 4)  # 16 channels of 2x2
    assert tail.images == 300
    assert Tail(*asked, most_bytes=1).images == 100


def test_only_the_tail_is_run_again(run):
    group = run.network.prunable[-1]
    asked = asked_of(run, run.network, group, 100)
    assert {node.target for node in asked._tail if node.op == "get_attr"} >= {"fc.weight"}
    assert not {node.target for node in asked._tail if node.op == "get_attr"} & {"conv1.weight", "conv2.weight"}


def test_error_without_is_the_error_of_the_cut_network(run):
    keep = {group.name: np.arange(group.size) < 11 for group in run.network.prunable}
    error = error_without(run, run.network, run.network.prunable, 512)
    inputs, targets = next(run.task.batches(run.task.selection, 512))
    with torch.no_grad():
        outputs = run.network.cut(keep).module.eval()(inputs)
    assert error(keep) == pytest.approx(1 - run.task.quality(outputs.numpy(), targets.numpy()).mean())
    assert error({}) == pytest.approx(1 - right_share(run, run.network, 512))


@pytest.mark.parametrize(("criterion", "better"), [(Taylor(), AtRandom()), (Car(), AtRandom()), (L1Norm(), AtRandom())])
def test_a_criterion_keeps_more_than_chance(run, criterion, better):
    """Half of every group goes, untuned: what a criterion is for."""

    def share(chosen):
        scores = scores_by(run, chosen, run.network, run.network.prunable, 512)
        keep = {group.name: group.best(scores[group.name], group.size // 2) for group in run.network.prunable}
        return right_share(run, run.network.cut(keep))

    chance = np.mean([share(AtRandom(seed)) for seed in range(5)])
    assert share(criterion) > chance + 0.05


class Wider(nn.Module):
    """The small network with as many useless channels again behind its first convolution.

    "dead": nothing comes of them; "unread": nothing reads them; "noise": they answer at random, and what reads them
    hardly minds; "duplicates": copies of the first channel, which shares what reads it with them.
    """

    def __init__(self, state, kind):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.Conv2d(32, 16, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.fc = nn.BatchNorm2d(32), nn.BatchNorm2d(16), nn.Linear(64, 4)
        more = {
            name: torch.randn(value.shape, generator=rng) * value.std() for name, value in state.items() if value.ndim
        }
        for name in ("bn1.running_mean", "bn1.running_var", "bn1.weight", "bn1.bias"):
            more[name] = state[name].flip(0)
        state, made = dict(state), ("conv1.weight", *(f"bn1.{part}" for part in NORM))
        zeros = {"dead": ("conv1.weight", "bn1.weight", "bn1.bias"), "unread": ("conv2.weight",)}
        for name in zeros.get(kind, ()):
            more[name] = torch.zeros_like(state[name])
        if kind == "noise":
            more["conv2.weight"] *= 1e-3
        if kind == "duplicates":
            more |= {name: state[name][:1].expand_as(state[name]) for name in made}
            state["conv2.weight"] = state["conv2.weight"].clone()
            state["conv2.weight"][:, :1] /= 17
            more["conv2.weight"] = state["conv2.weight"][:, :1].expand_as(state["conv2.weight"])
        wide = dict(state)
        for name in made:
            wide[name] = torch.cat([more[name], state[name]])
        wide["conv2.weight"] = torch.cat([more["conv2.weight"], state["conv2.weight"]], dim=1)
        self.load_state_dict(wide)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(F.avg_pool2d(x, 4).flatten(1))


SEES = {
    "dead": ("l1-norm", "l2-norm", "geometric-median", "batch-norm-scale", "taylor", "car"),
    "unread": ("taylor", "car"),
    "noise": ("taylor", "car"),
    "duplicates": ("geometric-median", "taylor"),
}
NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in SEES.items() for name in names])
def test_planted_channels_that_do_nothing_are_what_goes(kind, name, run):
    planted = trace(Wider(run.task.model.state_dict(), kind), run.task.example)
    group = planted.prunable[0]
    scores = scores_by(run, METHODS[name](), planted, [group], 128)
    keep = group.best(scores[group.name], 16)
    share, whole = right_share(run, planted.cut({group.name: keep})), right_share(run, run.network)
    if name == "car":  # it may find channels that are worse than useless first
        asked = asked_of(run, planted, group, 128)
        assert asked(keep).quality >= asked(np.ones(32, np.bool_)).quality
        assert share > whole - 0.02
    elif kind == "duplicates":
        assert (~keep[:17]).sum() == 16, "one of the seventeen stays, whichever"
    else:
        assert not keep[:16].any()
        assert share == whole


def by_importance_weights(run, planted, group):
    """What the recipe would rank by after four epochs of learning."""
    recipe = ImportanceWeights()
    plug, divided = recipe._weights(run, planted, [group])
    settings = tuning.Settings(epochs=4, batch_size=32, learning_rate=0.005, augment=False)
    tuning.tune(planted.module, run.task, settings, (plug,))
    learned = plug.values[group.name].detach()
    fold_in(planted.tensors, reading(group), learned)
    return recipe._scores(planted, [group], {group.name: (learned / divided[group.name]).numpy()})[group.name]


def by_batch_norm_l1(run, planted, group):
    """Network slimming's penalty, so strong that four epochs show it."""
    settings = tuning.Settings(epochs=4, batch_size=32, learning_rate=0.02, augment=False)
    tuning.tune(planted.module, run.task, settings, (tuning.BatchNormL1(["bn1.weight"], 1e-2),))
    return BatchNormScale().score(matrices_of(group, planted.module.state_dict()))


@pytest.mark.parametrize("scored", [by_importance_weights, by_batch_norm_l1])
def test_dead_channels_go_first_where_a_training_has_to_show_them(scored, run):
    planted = trace(Wider(run.task.model.state_dict(), "dead"), run.task.example)
    group = planted.prunable[0]
    keep = group.best(scored(run, planted, group), 16)
    assert not keep[:16].any()


def test_alignment_switches_off_what_only_makes_noise(run):
    """In as many updates as the paper has: all of it, and of the useful channels a few at most."""
    planted = trace(Wider(run.task.model.state_dict(), "noise"), run.task.example)
    group = planted.prunable[0]
    plug, teacher = tuning.AdversarialAlignment([group], 4, pull=1.2), copy.deepcopy(planted.module)
    settings = tuning.Settings(epochs=24, batch_size=32, learning_rate=0.02, augment=False)
    tuning.tune(planted.module, run.task, settings, (plug,), teacher=teacher)
    factors = plug.factors[group.name].detach().numpy()
    assert not (factors[:16] > 0).any()
    assert (factors[16:] > 0).sum() > 8


def test_activity_is_what_layers_read(run):
    inputs, _ = next(run.task.batches(run.task.selection, 32))
    group = run.network.prunable[0]
    model = run.task.model.eval()
    with torch.no_grad():
        read = torch.relu(model.bn1(model.conv1(inputs)))
    expected = read.abs().mean((0, 2, 3)).numpy()
    assert activity(run.network, [group], inputs)[group.name] == pytest.approx(expected, rel=1e-4)


def test_rules_get_what_they_need(run):
    groups = run.network.prunable
    scores = {group.name: np.ones(group.size) for group in groups}
    assert facts_for(Uniform(), scores, run.network, groups) is scores
    filters = facts_for(LayerEntropy(), scores, run.network, groups)
    assert {name: value.shape for name, value in filters.items()} == {
        "conv1.weight": (16, 27),
        "conv2.weight": (16, 144),
    }


def test_untied_are_the_insides_of_blocks():
    """Of ResNets the first convolution of a block, of MobileNetV2 the hidden width."""

    def found(name):
        network = trace(load_model(name, 10), torch.zeros(2, 3, 32, 32))
        return untied(network), network.prunable

    resnet, every = found("resnet20")
    assert len(resnet) == 9
    assert len(every) > 9
    assert all("conv1" in group.name for group in resnet)
    mobile, _ = found("mobilenetv2")
    assert len(mobile) >= 17


class Gated(nn.Module):
    """Squeeze and excitation: what is multiplied onto channels does not make them."""

    def __init__(self):
        super().__init__()
        self.expand, self.deep = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze, self.excite, self.out = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1), nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = torch.relu(self.deep(torch.relu(self.expand(x))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.out(x * gate).mean((2, 3))


def test_a_gate_does_not_tie():
    found = untied(trace(Gated(), torch.zeros(2, 3, 8, 8)))
    assert {group.name for group in found} == {"expand.weight", "squeeze.weight"}


def test_activity_of_features_that_come_last():
    network = trace(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)), torch.zeros(2, 5, 6, 3))
    batch = torch.randn(2, 5, 6, 3)
    (group,) = network.prunable
    with torch.no_grad():
        expected = torch.relu(batch @ network.tensors["0.weight"].T + network.tensors["0.bias"])
    assert activity(network, [group], batch)[group.name] == pytest.approx(expected.mean((0, 1, 2)).numpy(), rel=1e-4)


def test_what_is_asked_of_a_network_is_counted(run):
    counted = []
    own = SimpleNamespace(**{**vars(run), "count": counted.append})
    group = run.network.prunable[-1]
    asked = asked_of(own, run.network, group, 128)
    error = error_without(own, run.network, [group], 128)
    assert counted == []
    for _ in range(2):
        asked(np.arange(group.size) < 11)
    error({})
    assert counted == 3 * ["evaluations"]
