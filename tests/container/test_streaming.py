# SPDX-License-Identifier: Apache-2.0
"""Reading tensor by tensor: the memory of one, whatever the file holds; and with nothing installed but numpy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gossamer import container
from gossamer.coding import CODERS
from gossamer.container import CorruptFile, Payload, Tensor
from tests.attacks.hostile import graph_that_reads

MANY, SHAPE = 40, (64, 64, 3, 3)
ONE = 4 * 64 * 64 * 9  # bytes of one decoded


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A file of forty tensors with their units and biases, 6 MB decoded."""
    rng = np.random.default_rng(0)
    tensors = []
    for i in range(MANY):
        integers = rng.integers(-1, 2, SHAPE).astype(np.int32)
        tensors += [
            Tensor.grid(f"w{i}", integers, np.full(64, 0.5, np.float32)),
            Tensor.exact(f"b{i}", np.arange(64, dtype=np.float32)),
        ]
    path = tmp_path_factory.mktemp("streamed") / "many.gossamer"
    graph = graph_that_reads(*(tensor.name for tensor in tensors))
    container.write(
        path, Payload(graph, tuple(tensors), {}, (), {}), {}, lambda v, _: ("packed", CODERS["packed"].encode(v))
    )
    return path


def test_what_one_tensor_taught_helps_the_next(tmp_path):
    """The mixing coder's memory goes from tensor to tensor, and a reader's goes the same way."""
    rng = np.random.default_rng(0)
    kernels = 3 * rng.normal(size=(4, 24, 24, 1, 1)) + rng.normal(size=(4, 24, 24, 3, 3))
    tensors = tuple(
        Tensor.grid(f"w{k}", np.rint(kernels[k]).astype(np.int32), np.ones(1, np.float32)) for k in range(4)
    )
    container.write(tmp_path / "a", Payload(graph_that_reads(*(t.name for t in tensors)), tensors, {}, (), {}), {})
    file = container.read(tmp_path / "a")
    assert [stored.coder for stored in file.stored] == ["mixing"] * 4
    assert file.stored[3].bytes < 0.97 * file.stored[0].bytes
    for ours, read in zip(tensors, file.payload.tensors, strict=True):
        assert (ours.integers == read.integers).all()


def peak(work) -> int:
    tracemalloc.start()
    work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_decoding_and_verifying_hold_one_tensor(many, tmp_path):
    container.verify(many)  # whatever is made once
    whole = peak(lambda: container.read(many))
    assert whole > MANY * ONE
    for work in (lambda: container.verify(many), lambda: container.decode(many, tmp_path / "a.onnx")):
        assert peak(work) < 12 * ONE < whole / 3


def test_what_is_written_piece_by_piece_is_the_whole(many, tmp_path):
    container.decode(many, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == container.to_onnx(container.read(many).payload)


def test_the_promise_is_known_before_anything_is_decoded(many):
    with container.opened(many) as file:
        assert file.tensors.memory == MANY * (ONE + 3 * 4 * 64 - 4 * 64)
        assert [entry.shape for entry in file.tensors.entries] == [SHAPE, (64,)] * MANY
        names = [tensor.name for tensor, _ in file.tensors]
    assert names[:3] == ["w0", "b0", "w1"]


def test_a_decoding_that_fails_leaves_nothing(many, tmp_path, monkeypatch):
    from gossamer.container import tensor_data

    def broken(*args):
        raise CorruptFile("tensor data")

    monkeypatch.setattr(tensor_data, "_floats", broken)
    with pytest.raises(CorruptFile):
        container.decode(many, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_shrinks_while_it_is_read_is_refused(many, tmp_path):
    copy = tmp_path / "a.gossamer"
    copy.write_bytes(many.read_bytes())
    with container.opened(copy) as file:
        rows = iter(file.tensors)
        next(rows)
        with copy.open("r+b") as other:
            other.truncate(1000)
        with pytest.raises(CorruptFile, match=r"became shorter while it was read"):
            list(rows)


ALONE = """
import sys
from gossamer.cli import main
from pathlib import Path
out = Path(sys.argv[2])
if "onnxruntime" not in ALLOWED:
    assert main(["inspect", sys.argv[1]]) == 0
    assert main(["verify", sys.argv[1]]) == 0
else:
    assert main(["decode", sys.argv[1], "--out", str(out)]) == 0
    import numpy, onnx, onnxruntime
    onnx.checker.check_model(onnx.load(out))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    print(session.run(None, {"input0": numpy.zeros((1, 1, 28, 28), numpy.float32)})[0].shape)
print("alone:", sorted(name for name in ("torch", "numba", "scipy", "onnx") if name in sys.modules))
"""


@pytest.mark.parametrize("runtime", [False, True], ids=["numpy", "numpy, onnx, onnxruntime"])
def test_a_file_opens_verifies_and_runs_where_nothing_else_is_installed(
    runtime, run_alone, onnxruntime_alone, tmp_path
):
    """Of delivered networks, with every other module refused; each coder then runs as plain Python."""
    name = "lenet5-deep-compression" if runtime else "resnet20-bytes"
    file = Path(__file__).resolve().parents[2] / "results" / name / "model.gossamer"
    allowed = f"gossamer,onnx,{onnxruntime_alone}" if runtime else "gossamer,numpy"
    done = run_alone(ALONE, allowed, str(file), str(tmp_path / "a.onnx"))
    assert done.returncode == 0, done.stderr
    if runtime:
        assert "(1, 10)" in done.stdout
        assert done.stdout.endswith("alone: ['onnx']\n")
    else:
        assert "holds: 40 tensors decode to the shapes they say" in done.stdout
        assert "holds: Proven: a drop in accuracy below 1 points at 95 % confidence" in done.stdout
        assert done.stdout.endswith("alone: []\n")
