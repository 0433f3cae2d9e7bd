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
from gossamer.coding import adaptive

VERSION_1 = bytes.fromhex(
    "9347534d0d0a1a0a0100060007020000000000008c53b5e64c33f3ab2703df497f0c2d2eac225591b3b35da05e030c43"
    "5eb46371010b00000000000000d615203402eb00000000000000e3228904030d000000000000008e7c16590413000000"
    "00000000261dfaee05180000000000000053ca95f10653000000000000004923baeb4af87b8a08e3e0b0621162cac804"
    "0009ac067b9701158ec10e82301044a7dba518f5608c078e7c9a1bdac2c6da100a7ebfcbdc5e26f3321789b2eefa4b60"
    "26ef89c143bf1c397fa5b27bb3075e6195e99322b9071370e5454a86f30e40084deb5c92a111eebdd6a8536a9d23587f"
    "eb7291b905230b85364991ed1c1a3de74de3a8753c7de351756f20fbc026fb03cdcccc3dcdcc4c3e9a99993e3333333f"
    "8ad45582a359636a35003d530f270b5d5bbc45613a4c2490000a03122008c2308c2308c2308c2308c2308c230f040123"
    "456789abcdef003800b4ff7bcdcccc3d00000080e6b1617f63600002460686ff5000000100003e0038221e360aab562a"
    "ceac4a55b232ad0500108b564a4e2c51d251f23ebc242db54829160015ab56ca4e4d2d50b28a2e292a4dd5494bcc294e"
    "8dad05005b05c1310e84300c04c0bfb8a670bc71027ce6643b892810205121c4df6fe6a583d634d165cf7e5afbdd9b89"
    "165a690e856b2f39800173a98c36f252078734e91622aa4b7238b4196b67706468f75c50137d7f"
)
PAYLOAD = "8c53b5e64c33f3ab2703df497f0c2d2eac225591b3b35da05e030c435eb46371"
ONNX = "1f089456aa60b1e719c859e783bf08f1b47a2b29681c09336427a34d9342460f"


# Codebooks in float32 and in float16, with and without units, by relative indices of 3 bits.
VERSION_1_CODEBOOKS = bytes.fromhex(
    "9347534d0d0a1a0a01000600b801000000000000efbad6e1a4f841681971885f5b837161b1115bf64ee97dffb76ff926"
    "8bbfe5d9010b00000000000000d615203402b900000000000000b6f70350030d000000000000008e7c1659040a000000"
    "000000002696634505050000000000000056be1988065200000000000000ea7dc9fe20d674a408e3e0b0621162cac804"
    "0003d0043e47632bce482c4a4d616061616266666565609067671680882964e6296424e694a5164364d958195880b29c"
    "f979a90a658939a5a90c4c4c4c202dcc8c0c00000080bf000000bfcdccccbd00000000cdcc4c3e0000003f0000404003"
    "300a00000211aaaaaaaaaaaa0005052220027b1a4ed7b1a4ed7b1a4ed7b100bc00b800b40000003400380042003800c0"
    "003c003003300a00000211aaaaaaaaaaaa0005052220027b1a4ed7b1a4ed7b1a4ed7b1cdcccc3d0300000aab562aceac"
    "4a55b232ad0500078b564a4e2c518a050002abae05005b05c1310e83400c04c0bfb84eb3e4ecf3f11964ebbca2408094"
    "2a8af277667e72ca8a97dcf13dae98db678f454d5629664c2b44a337986374b82b35fddd6148009ab45635fa24b31b39"
    "16f34c96ce21ff07"
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
        "huffman": np.array([5, 5, 5, 5, 6, 5, 5, 7] * 12, np.int32),
        "packed": np.arange(-8, 8, dtype=np.int8),
        "half": np.array([0.5, -0.25, 65504.0], np.float32),
        "single": np.array([0.1, -0.0, 3e38], np.float32),
        "indices": np.array([2**40, -1], np.int64),
        "flags": np.array([True, False]),
        "scalar": np.array(1.5, np.float16),
        "grid in half units": np.arange(-3, 3, dtype=np.float32).reshape(2, 3) * np.float32(0.5),
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
    assert {entry.coder for entry in file.stored} == {"raw", "deflated", "packed", "huffman", "adaptive"}


def test_its_parts_written_again_are_the_same_payload(golden, tmp_path):
    """With the zlib of this test; where another build deflates otherwise, the contents are compared."""
    file = container.read(golden)
    container.write(tmp_path / "again.gossamer", file.payload, {"n": 1})
    again = container.read(tmp_path / "again.gossamer")
    assert [(e.name, e.coder, e.zeros) for e in again.stored] == [(e.name, e.coder, e.zeros) for e in file.stored]
    assert container.to_onnx(again.payload) == container.to_onnx(file.payload)


def test_codebooks_are_read_for_ever(tmp_path):
    (tmp_path / "golden.gossamer").write_bytes(VERSION_1_CODEBOOKS)
    file = container.read(tmp_path / "golden.gossamer")
    assert file.payload_sha256 == "efbad6e1a4f841681971885f5b837161b1115bf64ee97dffb76ff9268bbfe5d9"
    assert {entry.coder for entry in file.stored} == {"relative"}
    places = np.arange(72).reshape(4, 2, 3, 3)
    integers = (places**2 % 7 - 3) * (places % 3 > 0) + 3
    single = np.array([-1, -0.5, -0.1, 0, 0.2, 0.5, 3], np.float32)[integers]
    half = np.array([-1, -0.5, -0.25, 0, 0.25, 0.5, 3], np.float32)[integers]
    expected = {
        "shared": single,
        "shared in halves": half * np.array([0.5, -2, 1, 0.125], np.float32).reshape(4, 1, 1, 1),
        "one value": np.full((2, 2), 0.1, np.float32),
    }
    assert [tensor.name for tensor in file.payload.tensors] == list(expected)
    for tensor in file.payload.tensors:
        assert (tensor.decoded().dtype, tensor.decoded().tobytes()) == (np.float32, expected[tensor.name].tobytes())
