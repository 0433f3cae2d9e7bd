# SPDX-License-Identifier: Apache-2.0
"""The file: what was written comes back, twice the same bytes, claims apart from the payload."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer import container
from gossamer.container import CorruptFile, Payload, Tensor, tensor_data
from gossamer.container.float_words import from_words, to_words
from gossamer.container.sections import HEADER_BYTES, split
from tests.attacks.hostile import graph_that_reads

FLOATS = st.floats(width=32)
DTYPES = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def some_tensor(draw, name):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    kind = draw(st.sampled_from(["exact", "grid", "codebook"]))
    width = draw(st.sampled_from([16, 32]))
    unit, axis = None, 0
    if shape and (kind == "grid" or (kind == "codebook" and draw(st.booleans()))):
        axis = draw(st.integers(0, len(shape) - 1))
        size = draw(st.sampled_from([1, shape[axis]]))
        unit = draw(hnp.arrays(np.float32, size, elements=st.floats(-100, 100, width=width)))
    if kind == "codebook":
        centroids = draw(hnp.arrays(np.float32, st.integers(1, 9), elements=st.floats(-100, 100, width=width)))
        zero = draw(st.integers(0, len(centroids) - 1))
        integers = draw(hnp.arrays(np.int32, shape, elements=st.integers(-zero, len(centroids) - zero - 1)))
        return Tensor.codebook(name, integers, centroids, zero, unit, axis)
    if kind == "grid" and unit is not None:
        return Tensor.grid(name, draw(hnp.arrays(np.int32, shape, elements=st.integers(-99, 99))), unit, axis)
    dtype = draw(st.sampled_from(DTYPES))
    return Tensor.exact(name, draw(hnp.arrays(dtype, shape)))


@st.composite
def some_payload(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    graph = graph_that_reads(*names)
    tensors = tuple(draw(some_tensor(name)) for name in names)
    return Payload(
        graph,
        tensors,
        draw(st.dictionaries(NAMES, JSON, max_size=3)),
        tuple(draw(st.lists(NAMES, max_size=3))),
        draw(st.dictionaries(NAMES, JSON, max_size=3)),
    )


def assert_same(one: Tensor, other: Tensor) -> None:
    """To the bit, with NaN and the sign of zero."""
    assert (one.name, one.shape, one.dtype, one.axis) == (other.name, other.shape, other.dtype, other.axis)
    assert one.zero == other.zero
    pairs = ((getattr(one, part), getattr(other, part)) for part in ("values", "integers", "unit", "centroids"))
    for a, b in pairs:
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert one.decoded().shape == one.shape
    assert one.decoded().dtype == one.dtype


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=80)
@given(payload=some_payload(), claims=st.dictionaries(NAMES, JSON, max_size=3))
def test_a_payload_comes_back_and_has_one_spelling(tmp_path_factory, payload, claims):
    path = tmp_path_factory.mktemp("files") / "a.gossamer"
    digest = container.write(path, payload, claims)
    file = container.read(path)
    for one, other in zip(payload.tensors, file.payload.tensors, strict=True):
        assert_same(one, other)
    again = file.payload
    assert (again.graph, again.classes) == (payload.graph, payload.classes)
    assert (again.preprocess, again.plan) == (payload.preprocess, payload.plan)
    assert file.claims == {"payload_sha256": digest} | claims
    assert digest == file.payload_sha256 == hashlib.sha256(container.payload_bytes(again)).hexdigest()
    written = path.read_bytes()
    container.write(path, again, claims)
    assert path.read_bytes() == written


def test_places_and_sizes_add_up_to_the_file(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    container.write(path, payload, {})
    file = container.read(path)
    assert file.bytes == path.stat().st_size == file.places[-1].offset + file.places[-1].length
    assert [place.name for place in file.places] == ["graph", "tensors", "preprocess", "classes", "plan", "claims"]
    assert all(a.offset + a.length == b.offset for a, b in zip(file.places, file.places[1:], strict=False))
    assert file.places[0].offset == HEADER_BYTES
    assert sum(entry.bytes for entry in file.stored) < file.places[1].length
    first = file.stored[0]
    assert (first.name, first.shape, first.count) == ("w", (4, 2, 3, 3), 72)
    assert first.zeros == int((payload.tensors[0].integers == 0).sum())
    assert list(tmp_path.iterdir()) == [path]


def test_the_parts_add_up_to_the_file(tmp_path, payload):
    container.write(tmp_path / "a.gossamer", payload, {"n": 1})
    file = container.read(tmp_path / "a.gossamer")
    parts = container.parts(file)
    assert sum(parts.values()) == file.bytes
    w, b, s = file.stored
    assert (parts["weights"], parts["units and codebooks"]) == (w.bytes - w.side, w.side)
    assert parts["biases and other vectors"] == b.bytes + s.bytes
    text = container.describe(file)
    assert f"{len(container.to_onnx(file.payload)):,} bytes as the ONNX model that a runtime loads" in text
    assert all(name in text for name in parts)


def test_overhead_is_small(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    container.write(path, replace(payload, preprocess={}, classes=(), plan={}), {})
    file = container.read(path)
    assert file.bytes - sum(entry.bytes for entry in file.stored) - file.places[0].length < 230


def test_claims_are_replaced_and_the_payload_keeps_every_byte(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    digest = container.write(path, payload, {"quality": 0.9})
    before = path.read_bytes()
    start = container.read(path).places[-1].offset
    container.with_claims(path, {"certificate": {"payload_sha256": digest, "n": 100}})
    file = container.read(path)
    assert path.read_bytes()[HEADER_BYTES:start] == before[HEADER_BYTES:start]
    assert (file.payload_sha256, file.claims["certificate"]["n"]) == (digest, 100)
    assert "quality" not in file.claims
    assert container.verify(path)[-1] == "the certificate names this payload"
    container.with_claims(path, {"quality": 0.9})
    assert path.read_bytes() == before


def test_claims_about_another_payload_are_refused(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    with pytest.raises(ValueError, match=r"expected claims about the payload [0-9a-f]{64}, got claims about 00"):
        container.write(path, payload, {"payload_sha256": "00"})
    container.write(path, payload, {"certificate": {"payload_sha256": "00"}})
    with pytest.raises(CorruptFile, match=r"a.gossamer: its certificate is of another payload; do not trust it"):
        container.verify(path)


def test_verify_lists_what_holds(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    digest = container.write(path, payload, {})
    holds = container.verify(path)
    assert f"payload SHA-256 {digest}" in holds
    assert "3 tensors decode to the shapes they say" in holds
    assert "the claims name this payload" in holds


def test_each_tensor_is_stored_the_cheapest_way_that_keeps_every_bit(tmp_path):
    rng = np.random.default_rng(1)
    cases = {
        "matrix": (rng.normal(size=(100, 100)).astype(np.float32), "huffman", 35_000),
        "rounded matrix": (rng.normal(size=(100, 100)).astype(np.float16).astype(np.float32), "huffman", 19_000),
        "repeated": (np.full((5, 100), np.pi, np.float32), "deflated", 25),
        "sparse int8": (
            np.where(rng.random(4096) < 0.95, 0, rng.integers(-9, 10, 4096)).astype(np.int8),
            "adaptive",
            400,
        ),
        "zero points": (np.zeros(64, np.uint8), "adaptive", 2),
        "lowest": (np.array([-(2**31), 0], np.int32), "raw", 8),
        "not a number": (np.array([np.nan, 1.5], np.float32), "raw", 8),
        "minus zero": (np.array([-0.0, 1e9], np.float32), "adaptive", 11),
        "empty": (np.zeros((0, 3), np.float32), "raw", 0),
    }
    payload = Payload(
        graph_that_reads(*cases),
        tuple(Tensor.exact(name, values) for name, (values, _, _) in cases.items()),
        {},
        (),
        {},
    )
    container.write(tmp_path / "a.gossamer", payload, {})
    file = container.read(tmp_path / "a.gossamer")
    for entry, (name, (values, coder, most)) in zip(file.stored, cases.items(), strict=True):
        assert (entry.name, entry.coder) == (name, coder)
        assert entry.bytes <= most, name
        assert next(t for t in file.payload.tensors if t.name == name).decoded().tobytes() == values.tobytes()


def test_a_description_names_everything_and_moves_no_cursor(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    certificate = {"bound": 0.005, "guaranteed": 0.01, "confidence": 0.95, "proven": True, "n": 100}
    container.write(path, replace(payload, classes=("cat", "\x1b[2J")), {"certificate": certificate})
    text = container.describe(container.read(path))
    assert "4x2x3x3" in text
    assert "one number" in text
    assert "drop in accuracy below 1 points at 95 % confidence, proven on 100 images" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": {"x": float("nan")}}, "expected plan that JSON can hold, got something else"),
        ({"plan": {"x": {1, 2}}}, "expected plan that JSON can hold"),
        ({"preprocess": json.loads('{"x":' * 33 + "0" + "}" * 33)}, "nested at most 32 deep, got 33; flatten it"),
        ({"classes": ("x" * 2**23,)}, "expected a classes of at most 4,194,304 bytes, got 8,388,612"),
        (
            {"graph": b"\x3a\x7f"},
            "expected a serialized ONNX ModelProto as graph, but it has a field that",
        ),
        ({"graph": b"\x08\x08"}, "but it has 0 graphs where one is expected"),
        ({"graph": b"\x3a\x00\x3a\x00"}, "but it has 2 graphs"),
        (
            {"graph": graph_that_reads("w", "b")},
            "each of the 2 names .*, got 's', which it does not read",
        ),
        ({"graph": graph_that_reads(*"wbst")}, "for each of the 4 names that the graph reads .*, got none for 't'"),
        ({"tensors": (Tensor.exact("w", np.zeros(1)[:, None] > 0),) * 2}, "3 names .*, got 'w' 2 times"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(tmp_path, payload, change, message):
    with pytest.raises(ValueError, match=message):
        container.write(tmp_path / "a.gossamer", replace(payload, **change), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("a\n", (1,))], r"but 'a\\n' holds control characters"),
        ([("a" * 1025, (1,))], "has 1,025 bytes where at most 1,024 are allowed"),
        ([("a", (1,) * 9)], "has 9 dimensions where at most 8 are allowed"),
        ([("a", (1,)), ("b", (1,)), ("c", (1,)), ("d", (1,))], "expected at most 3 tensors, got 4"),
    ],
)
def test_tensors_that_a_reader_would_refuse_are_not_written(tmp_path, payload, tensors, message, monkeypatch):
    monkeypatch.setattr(tensor_data, "MOST_TENSORS", 3)
    made = tuple(Tensor.exact(name, np.zeros(shape, np.float32)) for name, shape in tensors)
    with pytest.raises(ValueError, match=message):
        container.write(
            tmp_path / "a.gossamer",
            replace(payload, graph=graph_that_reads(*(name for name, _ in tensors)), tensors=made),
            {},
        )


def test_more_memory_than_any_reader_takes_is_not_written(tmp_path, payload):
    huge = Tensor.exact("a", np.broadcast_to(np.float32(0), (1,)))
    object.__setattr__(huge, "shape", (2**30 + 1,))
    with pytest.raises(ValueError, match="at most 4,294,967,296 bytes in all, got 4,294,967,300"):
        container.write(tmp_path / "a.gossamer", replace(payload, graph=graph_that_reads("a"), tensors=(huge,)), {})


@pytest.mark.parametrize(
    ("shape", "units", "axis", "message"),
    [
        ((2, 3), [1.0, 2.0, 3.0], 0, r"each slice along axis 0 of tensor 'w' \(2, 3\), got 3"),
        ((2, 3), [1.0], 2, "along axis 2"),
        ((2, 3), [1.0], -1, "along axis -1"),
        ((), [1.0], 0, "along axis 0"),
        ((2, 3), [np.inf], 0, "expected finite units for tensor 'w', got inf"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(shape, units, axis, message):
    with pytest.raises(ValueError, match=message):
        Tensor.grid("w", np.zeros(shape, np.int32), np.array(units, np.float32), axis)


BOOK = np.array([-0.5, 0.0, 0.1, 3.0], np.float32)


def test_a_codebook_decodes_by_lookup_and_at_most_one_multiplication():
    integers = np.array([[0, -1, 2], [1, 0, 2]], np.int32)
    expected = np.array([[0, -0.5, 3], [0.1, 0, 3]], np.float32)
    assert (Tensor.codebook("w", integers, BOOK, zero=1).decoded() == expected).all()
    unit = np.array([0.7, -0.3], np.float32)
    assert (Tensor.codebook("w", integers, BOOK, 1, unit).decoded() == expected * unit[:, None]).all()
    plain = Tensor.codebook("w", np.array([3, 0], np.int32), BOOK)
    assert plain.decoded().tolist() == [3, -0.5]


def test_floats_of_few_bits_take_few_bytes(tmp_path):
    """Codebooks, units and biases alike; equal ones cost next to nothing."""
    rng = np.random.default_rng(0)
    integers = np.zeros((500, 2), np.int32)
    sizes = {}
    for name, units in {
        "equal": np.full(500, np.pi),
        "five bits": np.ldexp(rng.integers(32, 64, 500), -9),
        "all": rng.uniform(1, 2, 500),
    }.items():
        made = (Tensor.grid("w", integers, units.astype(np.float32)), Tensor.exact("b", -units.astype(np.float32)))
        container.write(tmp_path / "a.gossamer", Payload(graph_that_reads("w", "b"), made, {}, (), {}), {})
        file = container.read(tmp_path / "a.gossamer")
        sizes[name] = [entry.bytes for entry in file.stored]
        for one, other in zip(made, file.payload.tensors, strict=True):
            assert_same(one, other)
    assert max(sizes["equal"]) <= 5
    assert max(sizes["five bits"]) < 500 * 5 / 8 + 100
    assert min(sizes["all"]) > 500 * 2.5


def test_vectors_share_a_stream_and_its_bytes(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"b{i}" for i in range(40)]
    made = tuple(Tensor.exact(name, rng.integers(-9, 9, 16).astype(np.float32) * 0.5) for name in names)
    container.write(tmp_path / "a.gossamer", Payload(graph_that_reads(*names), made, {}, (), {}), {})
    file = container.read(tmp_path / "a.gossamer")
    assert 40 * 16 * 4 / 8 < sum(entry.bytes for entry in file.stored) < 40 * 16 * 7 / 8
    assert len({entry.bytes for entry in file.stored}) <= 2, "equal parts but for rounding"


@settings(deadline=None)
@given(values=hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32, allow_nan=False)))
def test_words_are_the_floats_again(values):
    form, integers = to_words(values)
    assert from_words(form, integers).tobytes() == values.tobytes()


def test_zeros_of_a_codebook_are_counted_by_value():
    from gossamer.container.tensor_data import _zeros

    assert _zeros(Tensor.codebook("w", np.array([0, 0, 1], np.int32), np.array([5.0, 0.0], np.float32))) == 1


@pytest.mark.parametrize(
    ("centroids", "zero", "message"),
    [
        ([], 0, r"expected integer 0 in the codebook of tensor 'w' \(0..-1\), got 0"),
        ([1.0, 2.0], 2, r"expected integer 0 in the codebook of tensor 'w' \(0..1\), got 2"),
        ([1.0, 2.0], -1, r"got -1"),
        ([np.nan, 2.0], 0, "expected finite values for tensor 'w', got nan"),
        ([1.0, 2.0], 1, r"expected integers of -1..0 for the codebook of tensor 'w', got 0..1"),
    ],
)
def test_a_codebook_that_does_not_fit_is_refused(centroids, zero, message):
    with pytest.raises(ValueError, match=message):
        Tensor.codebook("w", np.array([0, 1], np.int32), np.array(centroids, np.float32), zero)


def test_the_writer_may_say_how_integers_are_coded(tmp_path, payload):
    from gossamer.coding import CODERS, encode

    for name in CODERS:
        path = tmp_path / f"{name}.gossamer"
        container.write(path, payload, {}, lambda integers, memory, name=name: (name, encode(name, integers, memory)))
        file = container.read(path)
        assert [entry.coder for entry in file.stored if entry.name == "w"] == [name]
        assert_same(file.payload.tensors[0], payload.tensors[0])


def test_a_dtype_that_the_format_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"expected a dtype of float32, .*got float64 for tensor 'w'"):
        Tensor.exact("w", np.zeros(3))


def test_a_grid_decodes_by_one_multiplication_along_its_axis():
    integers = np.array([[1, -2, 3], [4, 5, -6]], np.int32)
    unit = np.array([0.1, 0.2, 0.7], np.float32)
    expected = np.stack([integers[:, i].astype(np.float32) * unit[i] for i in range(3)], 1)
    assert (Tensor.grid("w", integers, unit, 1).decoded() == expected).all()
    assert np.isinf(Tensor.grid("w", integers, np.array([3e38], np.float32)).decoded()[1, 0])


def test_a_smaller_limit_of_memory_is_respected(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    container.write(path, payload, {})
    needed = 4 * (72 + 4 + 4 + 1)
    container.read(path, most_decoded_bytes=needed)
    with pytest.raises(CorruptFile, match=f"decodes to {needed} bytes, at most {needed - 1} are allowed here"):
        container.read(path, most_decoded_bytes=needed - 1)


def test_no_file_and_no_whole_file_have_their_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"expected a \.gossamer file, found none at .*nowhere"):
        container.read(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" * 100)
    with pytest.raises(CorruptFile, match=r"a.zip: does not begin as a .gossamer file does; it is another kind"):
        container.read(tmp_path / "a.zip")


def test_sections_split_into_what_was_joined(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    container.write(path, payload, {})
    sections, places, digest = split(path.read_bytes(), "a.gossamer")
    assert [len(sections[kind]) for kind in sorted(sections)] == [place.length for place in places]
    assert digest.hex() == container.read(path).payload_sha256


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("mean", ["a", None, 0.5], "minus a None 0.5"),
        ("scale", {"x": 1}, "divided by {'x': 1}"),
        ("std", 10**400, f"divided by {10**400}"),
        ("crop", "half", "the centre kept: half of"),
        ("crop", [0.5], "the centre kept: [0.5] of"),
        ("size", {"x": 1}, "{'x': 1}x{'x': 1} pixels"),
    ],
)
def test_preprocessing_of_any_type_is_described(tmp_path, payload, name, value, shown):
    path = tmp_path / "a.gossamer"
    claims = {"certificate": {"guaranteed": 0.01, "confidence": 0.95, "proven": True, "n": 100}}
    container.write(path, replace(payload, preprocess={name: value}, plan={"error": 10**400}), claims)
    assert shown in container.describe(container.read(path))
