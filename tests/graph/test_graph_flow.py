# SPDX-License-Identifier: Apache-2.0
"""Which operator makes which activation, from which, and how large they are."""

from __future__ import annotations

import numpy as np


def test_the_flow_of_a_residual_network(traced):
    _, network = traced("padded residual")
    flow = network.flow
    assert len(flow.inputs) == len(flow.outputs) == 1
    assert [operation.operator for operation in flow.operations[:4]] == ["conv2d", "batch_norm", "relu", "conv2d"]
    stem = flow.operations[2].makes[0]
    readers = [operation.operator for operation in flow.operations if stem in operation.reads]
    assert readers == ["conv2d", "add"], "the branch and its sum"
    assert not any(operation.operator == "sym_size" for operation in flow.operations)


def test_sizes_follow_the_channels_kept(traced):
    _, network = traced("padded residual")
    whole = dict(zip(network.flow.activations, network.activations_if({}), strict=True))
    first = network.flow.operations[0].makes[0]
    assert (whole[network.flow.inputs[0]], whole[first]) == (3 * 16 * 16, 8 * 16 * 16)
    halved = dict(zip(network.flow.activations, network.activations_if({"stem.0.weight": 4}), strict=True))
    assert halved[first] == 4 * 16 * 16
    assert halved[network.flow.outputs[0]] == 10


def test_parts_of_a_split_are_activations_of_their_own(traced):
    _, network = traced("shuffle")
    sizes = dict(zip(network.flow.activations, network.activations_if({}), strict=True))
    split = next(operation for operation in network.flow.operations if len(operation.makes) == 2)
    assert [sizes[name] for name in split.makes] == [8 * 8 * 8] * 2
    assert all(any(name in operation.reads for operation in network.flow.operations) for name in split.makes)


def test_what_a_cut_makes_is_as_large_as_predicted(traced, random_keep):
    for pattern in ("shuffle", "decoder", "attention", "grouped"):
        _, network = traced(pattern)
        keep = random_keep(network)
        smaller = network.cut(keep)
        counts = {name: int(row.sum()) for name, row in keep.items()}
        assert np.array_equal(network.activations_if(counts), smaller.activations_if({})), pattern


def test_heads_that_only_train_are_not_in_it(traced):
    _, network = traced("two heads")
    assert [operation.operator for operation in network.flow.operations].count("linear") == 1
    assert len(network.flow.inputs) == 2
