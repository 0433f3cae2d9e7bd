# SPDX-License-Identifier: Apache-2.0
"""Converters that are missing, broken, talkative or at a loss: one sentence, and nothing else on the terminal."""

from __future__ import annotations

import os
import sys
import warnings
from types import ModuleType

import numpy as np
import onnx
import pytest

from gossamer.exporters import TARGETS
from gossamer.exporters.converters import LONGEST, Refused, imported, quiet, translating, version
from tests.exporters.networks import float_network


def test_a_package_that_is_not_installed():
    with pytest.raises(
        ValueError,
        match=r"^expected the package no-such for --to it, .*; pip install -e '\.\[it\]' in the clone of Gossamer$",
    ):
        imported("no_such.inside", "no-such", "it")


@pytest.mark.parametrize(
    "text",
    [
        "import no_such_other",
        "raise OSError('libtorch.so: undefined symbol')",
        "raise RuntimeError('too new\\nfor this')",
    ],
)
def test_a_package_that_does_not_load(text, tmp_path, monkeypatch):
    (tmp_path / "broken_converter.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"expected the package broken .*for --to it to load here, but: ") as caught:
        imported("broken_converter", "broken", "it")
    assert "\n" not in str(caught.value)


def test_what_a_converter_raises_becomes_one_sentence():
    said = r"that pytest [0-9.]+ translates, but: KeyError: 'full_like'; choose another"
    with pytest.raises(ValueError, match=said), translating("pytest", "it"):
        raise RuntimeError("KeyError:\n   'full_like'.")
    with pytest.raises(ValueError, match=r"but: x+ \.\.\.; choose") as caught, translating("pytest", "it"):
        raise ValueError("x" * 5000)
    assert len(str(caught.value)) < LONGEST + 200
    with pytest.raises(ValueError, match="but: AssertionError; choose"), translating("pytest", "it"):
        raise AssertionError


def test_our_own_sentences_stay():
    with pytest.raises(Refused, match=r"^as it is$"), translating("pytest", "it"):
        raise Refused("as it is")


def test_ctrl_c_passes():
    with pytest.raises(KeyboardInterrupt), translating("pytest", "it"):
        raise KeyboardInterrupt


def test_nothing_is_printed(capfd):
    with quiet():
        print("from Python")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from C\n")
        os.write(2, b"from C\n")
        warnings.warn("one", stacklevel=1)
    os.write(1, b"afterwards\n")
    print("afterwards too", flush=True)
    assert capfd.readouterr() == ("afterwards\nafterwards too\n", "")


def test_printing_goes_on_after_a_fault(capfd):
    with pytest.raises(OSError, match="x"), quiet():
        raise OSError("x")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_the_version_of_a_package_that_is_not_there():
    assert version("no-such-package-here") == ""


@pytest.mark.parametrize("target", ["litert", "executorch", "ncnn"])
def test_a_network_that_does_not_become_a_graph_is_one_sentence(target, monkeypatch):
    monkeypatch.setattr(f"gossamer.exporters.{target}.imported", lambda *given: ModuleType("any"))

    def fails(*given, **options):
        raise RuntimeError("shapes\nof something")

    monkeypatch.setattr("gossamer.exporters.plain_torch.plain_graph", fails)
    with pytest.raises(ValueError, match="translates, but: shapes of something; choose another --to than") as caught:
        TARGETS[target].export(float_network("shortcut"), np.zeros((1, 3, 16, 16), np.float32))
    assert "\n" not in str(caught.value)


def test_two_inputs_are_one_sentence():
    graph = "two (float[N, 3] a, float[N, 3] b) => (float[N, 3] y) { y = Add(a, b) }"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {graph}').SerializeToString()
    with pytest.raises(ValueError, match=r"^expected a network of one input for --to onnx, got one of 2$"):
        TARGETS["onnx"].export(model, np.zeros((1, 3), np.float32))
