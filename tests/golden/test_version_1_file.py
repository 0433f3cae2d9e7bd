# SPDX-License-Identifier: Apache-2.0
"""A whole file of version 1, byte by byte: every later program must read it to the same network.

It holds each way of storing a tensor and each coder. That these exact bytes are written again is not asked: deflate
streams of equal content differ between builds of zlib.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gossamer import container
from gossamer.coding import adaptive, mixing

VERSION_1 = bytes.fromhex(
    "9347534d0d0a1a0a010067030000ddd8238a6b85f21630c519903e71a8d4c77981e47dd586b5ddb61f22de91d2b97a00"
    "0000b9e91f721d020000b15934cc0800000087b700971100000098316034120000000bb8c72143000000221c63141a22"
    "a48d8b0125d5510ec2300806e02c71b512e3193887b7c18dba464b97ae5d7c37f1dcfed5374880f0c287f7d7cf40ef81"
    "bcccb2d6b8c3b2a5859000a45b657a00bb435f814e2917e55fe89260c88bce962b0b5b4b372d748c36e3976c3486a7dc"
    "51d555037e633fab8d7c36e566b192db7502107411f42f5af89f7f018014666a53303112106060606563645450506061"
    "6262640422460610c9c2c4ccccc3c1c2c2ccc2c5c3c4c4b48609c8072a606264d055905090dcf2eccc4bf68603f20d0d"
    "0d3ff8eb9a1a1a2ef0db011533b10075333030b2b0ca4a887029f4317170333171320b00000000009f6e1855e8e23f6b"
    "f5d233280908cf3eb0a1a85805f33c8821c48ad45582a359636a35003d530f270b5d5bbc45613a4c2490000a03122008"
    "c2308c2308c2308c2308c2308c230f040123456789abcdef80426caeb0780fd8ec08fa75d0372dca006b40002b6d9f7d"
    "87cb7ed3defbffe015cfa18a02711007e04d97ae5db25d32d93619cefd2793cd6433adc566b2098220180441583108c2"
    "8260100441f0dc7d80f5017c015fc017b8efc2b2f3fb6676988da2b27c54b772935dcb417a29e3f85c46d1891dd981e5"
    "6ccf766ccb32b6662bb6640b36673336651379ac1ee90d79cafaacc7baacc3da2cb0268b5983d5d937abb12ff6c93e58"
    "24bf8b41fa2a36d9b3785455810a77b29c656cc12672aaeee8c5bcc6a2fff9bb993bf754bf2cf2fe915bbca56ea1c47c"
    "e2bb8427f624f6a9173c9373bd332b59c59eecc5de2c0aee0cee0dee0ef604ffc1eaacc162d66481b5598775598ff559"
    "ca866cc4c66ca29ef2993cd75bb0255bb135cbd896edd89ee5ecc08eecc4ceecc2aeec16fe000000c07f0000803f6360"
    "0002460686ff5000000100003e63601805a380fa0000221e360105050000011000000105200222c9400aab86260ad35a"
    "00108b56024618d008efc34bd2528b94620115ab56ca4e4d057a2d1aec5670bcc6d602005b6dcfdb0d80300805d05d9c"
    "a040798d537ae912c6dd4dfc7681939cfbcbfeb00082259655e86132195b2973483badc0dcee19d4d3010d2b05cae830"
    "a393c095d7f302"
)
PAYLOAD = "ddd8238a6b85f21630c519903e71a8d4c77981e47dd586b5ddb61f22de91d2b9"
ONNX = "482d8c86bc83a585e0367d31b23f003b9b1ec2622aefd80c7e5a01da6af65d31"


# Codebooks with and without units, by relative indices.
VERSION_1_CODEBOOKS = bytes.fromhex(
    "9347534d0d0a1a0a010073010000c658c3ddb1844e092ace8b2b773e44d377498bbd094e9c0a70bfb70aea8614ed2700"
    "0000df8fe2029e000000a65975990500000056be198805000000885766100500000056be19883d000000572e51accdd2"
    "6a4d2ce3e0b0d2e052e362036a2c02966b82105a019489144af3324b8ab938f3f35215ca12734a53019c053433737070"
    "60616162616266066126260626067666766646060533738686868607fc1fd8ff30cfdafcec0e3b0b2b2bab9abc3c3300"
    "00000084932c7e7309c69729bc87b500024093889ad7c242c9d391e88b93afdffe47fbcfe17301300a00000211aaaaaa"
    "aaaaaa0005052220027b1a4ed7b1a4ed7b1a4ed7b101300a00000211aaaaaaaaaaaa0005052220027b1a4ed7b1a4ed7b"
    "1a4ed7b103000002abae0500028b8e050002abae05005565cdc11180300804c096487206288703d28463effab781ddfb"
    "0fe6be2c571587012d3e23db38a9ba1aa8a50a37b2c4d19e122a3c54890edb035ffcbc"
)


# The mixing coder, whose memory goes from each tensor to the next.
VERSION_1_MIXING = bytes.fromhex(
    "9347534d0d0a1a0a0100540100000e687b474c85125521c0bd767dd1243625c1ddfacab16e8e01a19000988d45902200"
    "0000ba7e90787e00000064bc4e1b0500000056be198805000000885766100500000056be198843000000d90a24dff5b7"
    "038e22e3e0b092e392e1624dcb2c2a2e01a6d5f4c4cc3c2eb6dc44a0a20a604a05da0d00f80629295350501060616162"
    "6461626606610e4e66464646090909b3bababa1fec4c6c6c6c4c4ce202aa2c0000008da931c926762834d5228b4800ce"
    "d03d70afd1b0531114a0b56b8c5b6a7e90175cb06edc1e97949e11e269c9db9312bf0b728fcb9ebc9ff273a2c9199036"
    "2c0eb3362e0b1f02fbc94c6c6c200b046b0002abae0500028b8e050002abae05005565d2cb1180300845d15eac801709"
    "9072f8a509c7decdde06eee2cc7dfe416a310d564e9b38e70c2445a9681506df3266a26a7b7a40da9ae058876b9915cf"
    "45d7fb01"
)


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.gossamer"
    path.write_bytes(VERSION_1)
    return path


def expected() -> dict[str, np.ndarray]:
    """What the tensors hold, by formula."""
    integers = (np.arange(72, dtype=np.int32).reshape(4, 2, 3, 3) ** 2 % 7 - 3) * (
        np.arange(72).reshape(4, 2, 3, 3) % 3 > 0
    )
    grid = integers.astype(np.float32)
    return {
        "adaptive": grid * np.array([0.1, 0.2, 0.3, 0.7], np.float32).reshape(4, 1, 1, 1),
        "huffman": np.array([5, 5, 5, 5, 6, 5, 5, 7] * 12, np.int32).reshape(12, 8),
        "packed": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
        "bias": np.array([0.5, -0.25, 65504.0], np.float32),
        "more bias": np.array([0.1, -0.0, 3e38, np.inf], np.float32),
        "matrix": np.arange(-60, 60, dtype=np.float32).reshape(10, 12) * np.float32(0.1),
        "not a number": np.array([np.nan, 1], np.float32),
        "indices": np.array([2**40, -1], np.int64),
        "flags": np.array([True, False]),
        "scalar": np.array(1.5, np.float16),
        "zeros": np.zeros(300, np.float16),
        "one unit": np.arange(-3, 3, dtype=np.float32).reshape(2, 3) * np.float32(0.5),
        "vector": np.array([3, -1, 2], np.float32) * np.array([0.5, -0.25, 0.1], np.float32),
        "another vector": np.array([0.125, 0.125], np.float32),
    }


@pytest.mark.parametrize("compiled", [True, False])
def test_it_is_read_for_ever(golden, monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(adaptive, "_compiled", lambda: None)
    file = container.read(golden)
    assert file.version == 1
    assert file.payload_sha256 == PAYLOAD
    assert file.claims == {"payload_sha256": PAYLOAD, "n": 1}
    assert (file.payload.preprocess, file.payload.plan) == ({"size": 5}, {"keep": [True, False]})
    assert file.payload.classes == ("cat", "Käfer")
    found = {tensor.name: tensor.decoded() for tensor in file.payload.tensors}
    assert list(found) == list(expected())
    for name, value in expected().items():
        assert (found[name].dtype, found[name].shape, found[name].tobytes()) == (
            value.dtype,
            value.shape,
            value.tobytes(),
        )
    assert hashlib.sha256(container.to_onnx(file.payload)).hexdigest() == ONNX


def test_it_holds_every_way_of_storing(golden):
    file = container.read(golden)
    assert {entry.coder for entry in file.stored} == {"raw", "deflated", "packed", "huffman", "adaptive", "relative"}


def test_its_parts_written_again_are_the_same_payload(golden, tmp_path):
    """With the zlib of this test; where another build deflates otherwise, the contents are compared."""
    file = container.read(golden)
    container.write(tmp_path / "again.gossamer", file.payload, {"n": 1})
    again = container.read(tmp_path / "again.gossamer")
    assert [(e.name, e.zeros) for e in again.stored] == [(e.name, e.zeros) for e in file.stored]
    assert container.to_onnx(again.payload) == container.to_onnx(file.payload)


def test_codebooks_are_read_for_ever(tmp_path):
    (tmp_path / "golden.gossamer").write_bytes(VERSION_1_CODEBOOKS)
    file = container.read(tmp_path / "golden.gossamer")
    assert file.payload_sha256 == "c658c3ddb1844e092ace8b2b773e44d377498bbd094e9c0a70bfb70aea8614ed"
    assert {entry.coder for entry in file.stored} == {"relative"}
    places = np.arange(72).reshape(4, 2, 3, 3)
    integers = (places**2 % 7 - 3) * (places % 3 > 0) + 3
    single = np.array([-1, -0.5, -0.1, 0, 0.2, 0.5, 3], np.float32)[integers]
    half = np.array([-1, -0.5, -0.25, 0, 0.25, 0.5, 3], np.float32)[integers]
    expected = {
        "shared": single,
        "shared with units": half * np.array([0.5, -2, 1, 0.125], np.float32).reshape(4, 1, 1, 1),
        "one value": np.full((2, 2), 0.1, np.float32),
    }
    assert [tensor.name for tensor in file.payload.tensors] == list(expected)
    for tensor in file.payload.tensors:
        assert (tensor.decoded().dtype, tensor.decoded().tobytes()) == (np.float32, expected[tensor.name].tobytes())


@pytest.mark.parametrize("compiled", [True, False])
def test_what_was_learned_from_tensor_to_tensor_is_read_for_ever(tmp_path, monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(mixing, "_compiled", lambda: None)
    (tmp_path / "golden.gossamer").write_bytes(VERSION_1_MIXING)
    file = container.read(tmp_path / "golden.gossamer")
    assert file.payload_sha256 == "0e687b474c85125521c0bd767dd1243625c1ddfacab16e8e01a19000988d4590"
    assert [entry.coder for entry in file.stored] == ["mixing", "mixing", "mixing", "packed"]
    places = np.arange(72).reshape(4, 2, 3, 3)
    once = ((places**2 % 7 - 3) * (places % 3 > 0)).astype(np.float32)
    found = {tensor.name: tensor.decoded() for tensor in file.payload.tensors}
    assert list(found) == ["first", "again", "matrix", "bias"]
    for name, expected in (("first", once / 2), ("again", once / 2), ("matrix", once.reshape(8, 9) * 20)):
        assert found[name].tobytes() == expected.tobytes()
    assert found["bias"].tolist() == [1, -2, 0.375]
