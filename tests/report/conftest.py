# SPDX-License-Identifier: Apache-2.0
"""Reports as runs write them: of every kind, with nothing optional, with hostile names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer.certify import ByArea
from gossamer.report.record import (
    Bytes,
    Candidate,
    ClassRow,
    Epoch,
    Latency,
    LayerRow,
    Panel,
    Report,
    SecondTest,
    Shown,
    Side,
    SpeedRow,
    SplitRow,
    Swatch,
)

HOSTILE = "<script>alert('x')</script>\"&\x1b[31m\u202e[bold]"


def _latency(median: float) -> Latency:
    return Latency(median, round(median * 0.97, 4), round(median * 1.09, 4), n=400, threads=1)


def _layers() -> tuple[LayerRow, ...]:
    widths = [16] * 7 + [32] * 6 + [64] * 6
    kept = [12, 9, 12, 7, 12, 11, 12, 21, 27, 19, 27, 24, 27, 40, 51, 29, 51, 12, 51]
    rows, given, taken = [], 3, 3
    for i, (width, keep) in enumerate(zip(widths, kept, strict=True)):
        block = f"layer{1 + (i - 1) // 6}.{(i - 1) % 6 // 2}.conv{1 + (i - 1) % 2}" if i else "conv1"
        bits = round(3.9 - 0.08 * i + 0.3 * (i % 3), 3)
        size = int(keep * taken * 9 * bits / 8) + 21
        shapes = ((width, given, 3, 3), (keep, taken, 3, 3))
        rows.append(LayerRow(f"{block}.weight", "convolution", *shapes, 0.02 * i, bits, size, "range"))
        given, taken = width, keep
    last = LayerRow("fc.weight", "linear", (10, 64), (10, 51), 0.0, 5.1, 346, "huffman", "outputs are never cut")
    return (*rows, last)


def _candidates() -> tuple[Candidate, ...]:
    found = []
    for i in range(12):
        share = 0.93 - 0.07 * i
        drop = round(-0.0008 + 0.000035 * (i + 1) ** 2.3, 4)
        accepted = drop < 0.0035
        found.append(
            Candidate(
                f"cut {100 - 100 * share:.0f} %",
                int(1_079_000 / (2.3 + 1.35 * i)),
                int(40_800_000 * share**1.4),
                round(1.9 * share + 0.05 * (i % 3), 3),
                round(0.9172 - drop, 4),
                drop,
                accepted,
                "" if accepted else "drop beyond what can be proven",
            )
        )
    chance = Candidate("8 % left, 2 bits", 21_000, 900_000, 0.31, 0.1034, 0.8138, False, "collapsed")
    return (*found, chance)


def _full() -> Report:
    original = Side(
        0.9164,
        269_722,
        269_722,
        40_813_184,
        Bytes(1_083_408, 1_001_772, 1_094_301, None),
        {"onnxruntime": _latency(1.87), "openvino": _latency(1.31)},
    )
    compressed = Side(
        0.9152,
        131_410,
        98_206,
        19_204_331,
        Bytes(528_040, 371_220, 541_377, 76_402),
        {"onnxruntime": _latency(1.21), "openvino": _latency(0.894)},
    )
    control = replace(original, quality=0.9181)
    candidates = _candidates()
    layers = _layers()
    rest = {"biases and other vectors": 1_240, "graph": 640, "header": 98, "table of the tensors": 0}
    weights = 76_402 - sum(rest.values()) - 800
    return Report(
        network="resnet20",
        task="classification",
        data="cifar10",
        recipe="auto",
        minimise="bytes",
        seed=0,
        original=original,
        compressed=compressed,
        control=control,
        certificate={
            "tolerance": 0.01,
            "confidence": 0.95,
            "n": 5000,
            "observed_drop": 0.0012,
            "bound": 0.00642,
            "guaranteed": 0.00642,
            "proven": True,
            "method": "exact unconditional score test (Tango), Berger-Boos interval, gamma 0.0005",
            "b": 101,
            "c": 95,
            "p_value": 0.0021,
            "payload_sha256": "9f2c" * 16,
        },
        environment={
            "cpu": "AMD EPYC 9554",
            "cores": 2,
            "threads": 2,
            "fast_arithmetic": ["avx512_bf16", "avx512_vnni"],
            "memory_bytes": 16_800_000_000,
            "os": "Linux-6.1.0-x86_64",
            "python": "3.11.7",
            "torch": "2.15.0",
            "onnxruntime": "1.32.0",
        },
        seconds=586.0,
        command="gossamer compress --model resnet20 --weights resnet20.safetensors --data cifar10.npz "
        "--tolerance 1 --minimise bytes --seed 0 --out runs/demo",
        candidates=candidates,
        chosen="cut 49 %",
        layers=layers,
        parts={"weights": weights, "units and codebooks": 800, **rest},
        times={"measure": 12.4, "search": 163.0, "tune": 341.0, "write": 4.2, "certify": 31.0, "export": 9.1},
        goal={"tolerance": 0.01, "confidence": 0.95, "minimise": "bytes", "runtime": "onnxruntime"},
        splits={
            "train": SplitRow(7000, "1a" * 32),
            "calibration": SplitRow(1000, "2b" * 32),
            "selection": SplitRow(5000, "3c" * 32),
            "test": SplitRow(5000, "4d" * 32),
        },
        notes=(
            "The original network was trained on all 50,000 training images: half of the test set was used "
            "for selection, the other for the certificate.",
            "Int8 arithmetic was not tried: the goal is bytes.",
        ),
        history=tuple(Epoch(i + 1, 0.9 / (i + 1.5) + 0.11, 0.90 + 0.016 * (1 - 0.85**i)) for i in range(24)),
        speed=(
            SpeedRow("onnxruntime", "f32", 1.87, 1.21, 1.545, 1.51, 1.58),
            SpeedRow("openvino", "f32", 1.31, 0.894, 1.465, 1.43, 1.49),
            SpeedRow("openvino", "bf16", 1.12, None, None, None, None),
        ),
        classes=tuple(
            ClassRow(name, 500, 0.93 - 0.01 * i, 0.935 - 0.01 * i - 0.004 * (i == 3) * 7)
            for i, name in enumerate(("airplane", "automobile", "bird", "cat", "deer", "dog"))
        ),
    )


@pytest.fixture
def hostile_text() -> str:
    """Markup, an escape sequence, a turned reading direction and rich's markup in one name."""
    return HOSTILE


@pytest.fixture
def full() -> Report:
    """A run that minimised bytes, with every optional part."""
    return _full()


@pytest.fixture
def fast() -> Report:
    """A run that minimised latency, with more of a drop than can be excluded."""
    report = _full()
    return replace(
        report,
        network="resnet56",
        minimise="latency",
        certificate={
            **report.certificate,
            "observed_drop": 0.0078,
            "bound": 0.01334,
            "guaranteed": 0.01334,
            "proven": False,
            "p_value": 0.31,
        },
        compressed=replace(report.compressed, quality=0.9086),
        control=None,
    )


@pytest.fixture
def minimal() -> Report:
    """Only what the record of a claim must hold, nothing timed, of a segmentation network."""
    report = _full()
    return Report(
        network="ternausnet11",
        task="segmentation",
        data="buildings",
        recipe="information-richness",
        minimise="macs",
        seed=3,
        original=replace(report.original, latency_ms={}),
        compressed=replace(
            report.compressed, quality=0.9168, latency_ms={}, bytes=Bytes(528_040, 371_220, None, 76_402)
        ),
        control=None,
        certificate={
            "tolerance": 0.005,
            "confidence": 0.9,
            "n": 300,
            "observed_drop": -0.0004,
            "bound": None,
            "guaranteed": None,
            "proven": False,
            "method": "bootstrap (approximate)",
        },
        environment={},
        seconds=12.0,
        command="gossamer compress net.toml",
    )


@pytest.fixture
def masks() -> Report:
    """A segmentation network: a quality that is a number, figures of all pixels, areas, and pictures."""
    report = _full()
    figures = {"IoU of all pixels": 0.7712, "accuracy of all pixels": 0.9401}
    less = {"IoU of all pixels": 0.7633, "accuracy of all pixels": 0.9388}
    second, worse = SecondTest(0.5521, {"IoU of all pixels": 0.5610}), SecondTest(0.5402, {"IoU of all pixels": 0.5544})
    names = ("image", "truth", "before", "after", "difference")
    return replace(
        report,
        network="unet",
        task="segmentation",
        data="tiles",
        original=replace(report.original, quality=0.7344, figures=figures, second_test=second),
        compressed=replace(report.compressed, quality=0.7301, figures=less, second_test=worse),
        control=replace(report.original, quality=0.7360, figures=figures),
        certificate={
            "tolerance": 0.02,
            "confidence": 0.95,
            "n": 400,
            "b": 210,
            "c": 180,
            "observed_drop": 0.0043,
            "bound": 0.0172,
            "guaranteed": 0.0172,
            "proven": True,
            "method": "bets on the mean difference, paired; wager settled before the test",
            "measure": "Dice",
            "differences": "sTg=",
            "wager": 0.8,
        },
        classes=(),
        by_area=ByArea(-0.0012, 0.0098, 40),
        shown=tuple(
            Shown(which, before, after, tuple(Panel(name, f"pictures/{slug}-{name}.png") for name in names))
            for which, slug, before, after in (
                ("largest drop", "largest-drop", 0.812, 0.345),
                ("median change", "median-change", 0.7, 0.7),
                ("largest gain", "largest-gain", 0.2, 0.41),
            )
        ),
        legend=(Swatch("background", "#000000"), Swatch("turned wrong", "#d55e00")),
    )


@pytest.fixture
def hostile() -> Report:
    """Every text that comes from outside tries to be markup, or to talk to the terminal."""
    report = _full()
    return replace(
        report,
        network=HOSTILE,
        data=HOSTILE,
        recipe=HOSTILE,
        command=HOSTILE,
        notes=(HOSTILE,),
        candidates=tuple(replace(c, name=f"{HOSTILE} {c.name}", note=HOSTILE) for c in report.candidates),
        chosen=f"{HOSTILE} {report.chosen}",
        parts={HOSTILE: 76_402},
        layers=tuple(replace(row, name=HOSTILE, kind=HOSTILE, coder=HOSTILE, note=HOSTILE) for row in report.layers),
        classes=tuple(replace(row, name=HOSTILE) for row in report.classes),
        times={HOSTILE: 1.0},
        goal={HOSTILE: HOSTILE},
        splits={HOSTILE: SplitRow(3, HOSTILE)},
        environment={HOSTILE: [HOSTILE]},
        certificate={**report.certificate, "method": HOSTILE, "measure": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}},
        shown=(Shown(HOSTILE, 0.9, 0.1, (Panel(HOSTILE, "pictures/x.png"),)),),
        legend=(Swatch(HOSTILE, "#000000"),),
        speed=(replace(report.speed[0], runtime=HOSTILE, precision=HOSTILE),),
        original=replace(report.original, latency_ms={HOSTILE: _latency(2.0)}, figures={HOSTILE: 0.5}),
        compressed=replace(report.compressed, latency_ms={HOSTILE: _latency(1.0)}),
    )
