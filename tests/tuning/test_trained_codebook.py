# SPDX-License-Identifier: Apache-2.0
"""Shared values learn from the sum of their weights' gradients, pruned weights stay zero, a resumed run is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

from gossamer.graph import trace
from gossamer.quantize.codebook import share
from gossamer.tuning import FixedZeros, Settings, TrainedCodebook, effective_weights, tune

SETTINGS = Settings(epochs=3, batch_size=64, learning_rate=0.1, augment=False)


def pruned(task, share_kept: float = 0.3):
    """A network with zeros, what it keeps, and its codebooks of 3 bits."""
    network = trace(task.model, task.example)
    keep, books = {}, {}
    with torch.no_grad():
        for layer in network.layers:
            weight = network.module.get_parameter(layer.name)
            keep[layer.name] = weight.abs() >= weight.abs().quantile(1 - share_kept)
            weight *= keep[layer.name]
            books[layer.name] = share(weight.numpy(), 3)
    return network, keep, books


def weights_of(module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def test_the_gradient_of_a_value_is_the_sum_over_its_weights(task):
    network, _, books = pruned(task)
    plug = TrainedCodebook(books, weights_of(network.module))
    images, labels = next(task.batches(task.train, 64))

    shared = plug.transform(weights_of(network.module))
    task.loss(functional_call(network.module, shared, (images,)), labels).backward()

    single = {name: value.detach().clone().requires_grad_() for name, value in shared.items() if name in books}
    rest = {name: value for name, value in weights_of(network.module).items() if name not in books}
    task.loss(functional_call(network.module, rest | single, (images,)), labels).backward()

    for name, book in books.items():
        places, gradient = plug.places[name], single[name].grad
        for place in range(len(book.values)):
            expected = gradient[places == place].sum() if place != book.zero else torch.zeros(())
            assert torch.allclose(plug.values[name].grad[place], expected, rtol=1e-4, atol=1e-6), (name, place)
        assert plug.values[name].grad.abs().max() > 0
        assert (places != book.zero).sum() > len(book.values), "several weights must share, or the sum says nothing"


def test_weights_that_share_a_value_go_on_sharing_it_and_zeros_stay(task):
    network, keep, books = pruned(task)
    plug = TrainedCodebook(books, weights_of(network.module))
    before = {name: values.detach().clone() for name, values in plug.values.items()}
    losses = tune(network.module, task, SETTINGS, (plug,))
    assert losses[-1] < losses[0], "the values learn"
    for name, book in books.items():
        effective = effective_weights(network.module, (plug,))[name]
        assert ((effective != 0) <= keep[name]).all()
        assert len(torch.unique(effective)) <= len(book.values) <= 8
        for place in range(len(book.values)):
            assert len(torch.unique(effective[plug.places[name] == place])) <= 1
        assert not torch.equal(before[name], plug.values[name])
        assert plug.values[name][book.zero] == 0
        now = plug.codebooks()[name]
        assert (now.shared(effective.numpy()) == effective.numpy()).all()


def test_the_rate_is_divided_by_how_many_share(task):
    network, _, books = pruned(task)
    plug = TrainedCodebook(books, weights_of(network.module))
    for name, learned in plug.parameters().items():
        nonzero = int((network.module.get_parameter(name) != 0).sum())
        assert learned.rate == pytest.approx((len(books[name].values) - 1) / nonzero)
        assert learned.tensor is plug.values[name], "the loop trains these very tensors"


def test_pruned_weights_stay_zero_and_the_others_train(task):
    network, keep, _ = pruned(task)
    before = {name: network.module.get_parameter(name).detach().clone() for name in keep}
    plug = FixedZeros(keep)
    tune(network.module, task, SETTINGS, (plug,))
    for name, kept in keep.items():
        effective = effective_weights(network.module, (plug,))[name]
        assert not effective[~kept].any()
        assert not torch.equal(effective[kept], before[name][kept])
        assert not torch.signbit(effective[~kept]).any(), "a zero is stored as +0"


@pytest.mark.parametrize("killed_at", [3, 8, 15])
def test_resuming_gives_the_same_values(stop_after, task, tmp_path, killed_at):
    def plug_and_network():
        network, _, books = pruned(task)
        return network.module, TrainedCodebook(books, weights_of(network.module))

    whole, steady = plug_and_network()
    tune(whole, task, SETTINGS, (steady,))
    broken, plug = plug_and_network()
    with pytest.raises(KeyboardInterrupt):
        tune(broken, task, SETTINGS, (plug, stop_after(killed_at)), checkpoint=tmp_path / "c.safetensors")
    again, resumed = plug_and_network()
    tune(again, task, SETTINGS, (resumed,), checkpoint=tmp_path / "c.safetensors")
    for name, values in steady.values.items():
        assert torch.equal(values, resumed.values[name]), name
        assert torch.equal(steady.places[name], resumed.places[name])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_values_that_meet_become_one(task):
    network, _, books = pruned(task)
    plug = TrainedCodebook(books, weights_of(network.module))
    name = next(iter(books))
    with torch.no_grad():
        plug.values[name][-1] = plug.values[name][-2]
    assert len(plug.codebooks()[name].values) == len(books[name].values) - 1
    assert np.array_equal(plug.codebooks()[name].values, np.unique(plug.values[name].detach().numpy()))
