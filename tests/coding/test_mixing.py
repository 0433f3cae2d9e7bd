# SPDX-License-Identifier: Apache-2.0
"""The mixing coder: smaller than the adaptive one on networks, its memory and its guesses worth it, the same bits."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gossamer import container
from gossamer.coding import MOST_MIXED, Memory, adaptive, decode, mixing, smallest
from gossamer.coding import mixing_loop as loop
from gossamer.coding.range_coder import VALUES_PER_BYTE

RESULTS = Path(__file__).parents[2] / "results"


def weights_of(claim: str) -> list[np.ndarray]:
    tensors = container.read(RESULTS / claim / "model.gossamer").payload.tensors
    return [t.integers for t in tensors if t.integers is not None and t.integers.ndim > 1]


def smooth_kernels(seed: int, shape=(32, 32, 3, 3)) -> np.ndarray:
    """Kernels whose places resemble one another, as those of trained networks do."""
    rng = np.random.default_rng(seed)
    return np.rint(3 * rng.normal(size=(*shape[:2], 1, 1)) + rng.normal(size=shape)).astype(np.int32)


@pytest.mark.parametrize(("claim", "at_most"), [("demo-bytes", 0.95), ("resnet56-bytes", 0.95)])
def test_smaller_than_the_adaptive_coder_on_compressed_networks(claim, at_most):
    memory, tensors = Memory(), weights_of(claim)
    mixed = sum(len(mixing.encode(values, memory)) for values in tensors)
    assert mixed < at_most * sum(len(adaptive.encode(values)) for values in tensors)


def test_a_memory_is_worth_more_than_a_hundredth():
    memory, tensors = Memory(), weights_of("demo-bytes")
    carried = sum(len(mixing.encode(values, memory)) for values in tensors)
    assert carried < 0.99 * sum(len(mixing.encode(values)) for values in tensors)


def test_signs_are_guessed_where_kernels_are_smooth():
    values = smooth_kernels(0)
    shuffled = np.random.default_rng(1).permuted(values, axis=1)  # the same magnitudes, other neighbours
    assert len(mixing.encode(values)) < 0.9 * len(mixing.encode(shuffled))
    assert len(mixing.encode(values)) < 0.9 * len(adaptive.encode(values))


def test_filters_channels_and_places_that_are_larger_are_found_together():
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=(48, 1, 1, 1)) + rng.normal(size=(1, 48, 1, 1)) + rng.normal(size=(1, 1, 3, 3)))
    values = np.rint(rng.laplace(size=(48, 48, 3, 3)) * scale).astype(np.int32)
    assert len(mixing.encode(values)) < 0.93 * len(adaptive.encode(values))


def test_one_memory_for_tensors_of_all_shapes_comes_back():
    rng = np.random.default_rng(0)
    shapes = [(8, 4, 3, 3), (5,), (7, 9), (4, 1, 5, 5), (3, 2, 7), (2, 2, 2, 2, 2), (1, 1, 9, 9), (0, 3), ()]
    tensors = [np.rint(rng.laplace(0, 3, shape)).astype(np.int32) for shape in shapes * 2]
    writer, reader = Memory(), Memory()
    for values in tensors:
        assert (mixing.decode(mixing.encode(values, writer), values.shape, reader) == values).all()
    assert (writer.numbers[: loop.WHERE] == reader.numbers[: loop.WHERE]).all()
    assert writer.values == reader.values == sum(values.size for values in tensors)


def test_a_decoder_with_another_memory_does_not_read_it_silently():
    """Whoever decodes tensors out of order gets an error or other integers; the file's checksums come first."""
    writer = Memory()
    mixing.encode(smooth_kernels(0), writer)
    second = mixing.encode(smooth_kernels(1), writer)
    with suppress(ValueError):
        assert (mixing.decode(second, (32, 32, 3, 3)) != smooth_kernels(1)).any()


def test_plain_python_writes_and_reads_the_same_bytes(monkeypatch):
    rng = np.random.default_rng(9)
    cases = [
        smooth_kernels(3, (4, 6, 3, 3)),
        rng.integers(-(2**31) + 1, 2**31, (9, 5)).astype(np.int32),
        np.zeros((7, 2), np.int32),
        np.rint(rng.laplace(0, 2, (6, 1, 5, 5))).astype(np.int32),
    ]
    memory = Memory()
    compiled = [mixing.encode(values, memory) for values in cases]
    monkeypatch.setattr(mixing, "_compiled", lambda: None)
    writer, reader = Memory(), Memory()
    for values, data in zip(cases, compiled, strict=True):
        assert mixing.encode(values, writer) == data
        assert (mixing.decode(data, values.shape, reader) == values).all()
    with pytest.raises(ValueError, match=r"ends after .* symbols"):
        mixing.decode(compiled[0][: len(compiled[0]) // 2], cases[0].shape)


def test_an_encoder_that_ran_out_of_room_has_learned_nothing_yet():
    noise = np.random.default_rng(8).integers(-(2**31) + 1, 2**31, (60, 50)).astype(np.int32)
    memory = Memory()
    data = mixing.encode(noise, memory)
    assert len(data) > 64 + 2 * noise.size
    assert memory.values == noise.size
    assert (mixing.decode(data, noise.shape) == noise).all()


@pytest.mark.parametrize("edge", [2**31 - 1, -(2**31) + 1, 2**30, 2**16, -65535])
def test_the_largest_magnitudes_come_back(edge):
    values = np.array([[0, edge, 1], [edge, -edge, 0]], np.int32)
    assert (mixing.decode(mixing.encode(values), (2, 3)) == values).all()


def test_a_value_never_costs_less_than_the_bound_assumes():
    """The bound that refuses counts up front must never refuse an honest stream of zeros."""
    values = np.zeros((1000, 1000), np.int32)
    assert values.size < VALUES_PER_BYTE * (len(mixing.encode(values)) + 4)


@pytest.mark.parametrize("bits", range(5))
def test_logarithms_step_evenly(bits):
    found = [loop.steps(x, bits) for x in range(5000)]
    assert found == sorted(found)
    for x in (0, 1, 7, 100, 4095):
        exact = ((x + 1).bit_length() - 1 + (x + 1) / 2 ** ((x + 1).bit_length() - 1)) * 2**bits
        assert found[x] == int(exact)
        assert loop.length(x) == x.bit_length()
    for x in (2**16, 2**31, 2**40 + 5, 2**52):
        assert loop.length(x) == x.bit_length()


def test_the_smallest_leaves_large_networks_and_vectors_to_faster_coders():
    values, memory = smooth_kernels(0), Memory()
    assert smallest(values, memory)[0] == "mixing"
    assert memory.values == values.size
    memory.values = MOST_MIXED - values.size + 1
    assert smallest(values, memory)[0] == "adaptive"
    assert memory.values == MOST_MIXED - values.size + 1
    assert smallest(values.reshape(-1), Memory())[0] != "mixing"


def test_what_the_smallest_writes_is_decoded_in_order():
    writer, reader = Memory(), Memory()
    rng = np.random.default_rng(2)
    tensors = [
        smooth_kernels(0),
        np.full((3, 3), 7, np.int32),
        smooth_kernels(1),
        rng.integers(0, 9, 50).astype(np.int32),
    ]
    names = set()
    for values in tensors:
        name, data = smallest(values, writer)
        names.add(name)
        assert (decode(name, data, values.shape, reader) == values).all()
    assert {"mixing", "packed"} <= names
