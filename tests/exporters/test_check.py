# SPDX-License-Identifier: Apache-2.0
"""The comparison sees what is wrong, and how wrong; integers of a port are the numbers they stand for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.data.images import ArrayImages, Split
from gossamer.exporters import Port
from gossamer.exporters.check import FLOAT, INT8, RANDOM_IMAGES, Limit, check, random_images
from gossamer.exporters.onnx_file import OnnxFile
from gossamer.runtime.session import open_session
from tests.exporters.networks import PREPROCESS, float_network, images, network


class Changed(OnnxFile):
    """A runtime that gives something else."""

    def changed(self, images, output):
        raise NotImplementedError

    @contextmanager
    def opened(self, exported):
        with super().opened(exported) as run:
            yield lambda images: [self.changed(images, output) for output in run(images)]


@dataclass(frozen=True)
class Wrong(Changed):
    """A runtime that adds to its first output, or gives it another shape."""

    more: float = 0.0
    image: int | None = None
    flat: bool = False

    def changed(self, images, output):
        output = output.copy()
        index = slice(None) if self.image is None else self.image
        output[index, ..., 0] += self.more
        return output.ravel() if self.flat else output


ANY = Limit(1e9, 1e9)


def checked(target, **options):
    model = float_network("shortcut")
    return check(target, OnnxFile().export(model, images(1)), model, PREPROCESS, **options)


def spread() -> float:
    return float(np.ptp(open_session(float_network("shortcut")).run(random_images(PREPROCESS))[0]))


def test_the_same_differs_by_nothing():
    agreement = checked(OnnxFile())
    assert (agreement.difference, agreement.average, agreement.different) == (0.0, 0.0, 0)
    assert str(agreement).endswith("on 4 random images; 0 answers changed")
    assert agreement.random_images == RANDOM_IMAGES


@pytest.mark.parametrize("share", [0.01, -0.3, 7.0])
def test_the_difference_is_a_share_of_the_spread(share):
    agreement = checked(Wrong(more=share * spread()), limit=ANY)
    assert agreement.difference == pytest.approx(abs(share), rel=1e-3)


def test_one_image_of_all_is_enough():
    said = r"within 0.001 of the output's spread and 0.001 on average, got 1.0e-02 and 5.0e-04; nothing is written"
    with pytest.raises(ValueError, match=said):
        checked(Wrong(more=0.01 * spread(), image=RANDOM_IMAGES - 1), limit=FLOAT)


def test_the_average_is_over_all_images_and_numbers():
    """One of five numbers, of all images and of one of four."""
    assert checked(Wrong(more=0.3 * spread()), limit=ANY).average == pytest.approx(0.3 / 5, rel=1e-3)
    assert checked(Wrong(more=0.3 * spread(), image=1), limit=ANY).average == pytest.approx(0.3 / 20, rel=1e-3)


def test_an_int8_network_is_judged_by_the_average():
    assert checked(Wrong(more=0.3 * spread(), image=1), limit=INT8).difference == pytest.approx(0.3, rel=1e-3)
    with pytest.raises(ValueError, match=r"and 0.02 on average, got 3.0e-01 and 6.0e-02"):
        checked(Wrong(more=0.3 * spread()), limit=INT8)
    with pytest.raises(ValueError, match=r"within 0.5 of the output's spread"):
        checked(Wrong(more=0.6 * spread(), image=1), limit=INT8)


def test_answers_that_differ_are_counted():
    assert checked(Wrong(more=100 * spread(), image=0), limit=ANY).different in (0, 1)
    assert checked(Wrong(more=100 * spread()), limit=ANY).different > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="nothing is written"):
        checked(Wrong(more=value, image=1), limit=ANY)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected an output of \(4, 5\), as the ONNX file gives it, got \(20,\)"):
        checked(Wrong(flat=True))


def test_pictures_are_compared_too():
    pixels = np.random.default_rng(3).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    agreement = checked(OnnxFile(), pictures=Split("test", ArrayImages(pixels), np.zeros(3, np.int64)))
    assert agreement.pictures == 3
    assert "on 4 random images and 3 pictures; 0 answers changed" in str(agreement)


def test_a_fault_on_a_picture_is_seen():
    pixels = np.full((1, 16, 16, 3), 255, np.uint8)  # brighter than any random image

    class OnWhite(Changed):
        def changed(self, images, output):
            return output + (images.std() == 0 or images[0, 0].std() == 0)

    assert checked(OnWhite()).difference == 0
    with pytest.raises(ValueError, match="nothing is written"):
        checked(OnWhite(), pictures=Split("test", ArrayImages(pixels), np.zeros(1, np.int64)))


@pytest.mark.parametrize("end", ["low", "high"])
def test_a_constant_output_is_compared_with_itself(end):
    body = f"a = Clip(input0, {end}, {end})\n output0 = ReduceMean<keepdims=0>(a, axes)"
    model = network("", body, {}, {"axes": [2, 3]})
    exported = OnnxFile().export(model, images(1))
    assert check(OnnxFile(), exported, model, PREPROCESS).difference == 0
    with pytest.raises(ValueError, match="nothing is written"):
        check(Wrong(more=0.1), exported, model, PREPROCESS)


def test_random_images_are_the_same_everywhere():
    assert random_images(PREPROCESS).shape == (RANDOM_IMAGES, 3, 16, 16)
    assert np.array_equal(random_images(PREPROCESS, 2), random_images(PREPROCESS, 2))
    wide = replace(PREPROCESS, size=(8, 24))
    assert random_images(wide, 1).shape == (1, 3, 8, 24)


@given(
    st.floats(1e-3, 10),
    st.integers(-128, 127),
    st.lists(st.integers(-128, 127), min_size=1, max_size=20),
)
def test_integers_of_a_port_come_back(scale, zero, integers):
    port = Port("x", (len(integers),), "int8", scale, zero)
    values = np.array(integers, np.int8)
    assert np.array_equal(port.encoded(port.decoded(values)), values)


def test_a_port_of_floats_changes_nothing():
    port = Port("x", (None, 3), layout="NCHW")
    x = np.array([[0.1, 1e9, -3]], np.float32)
    assert np.array_equal(port.encoded(x), x)
    assert np.array_equal(port.decoded(x), x)
    assert port.to_json() == {"name": "x", "shape": [None, 3], "dtype": "float32", "layout": "NCHW"}
