# SPDX-License-Identifier: Apache-2.0
"""`gossamer detect`: pictures, lists and figures of every kind of source, faults in one line, and without torch."""

from __future__ import annotations

import contextlib
import csv
import errno
import http.client
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from gossamer import cli_detect
from gossamer.cli import main
from gossamer.device import listing as listing_module
from gossamer.device import live
from gossamer.device.drawing import as_jpeg, colour_of
from gossamer.runtime.session import available
from tests.device.detectors import HEAD, SQUARES, save_scene, scene, write_detector
from tests.device.test_detect_live import server
from tests.device.test_sources import cv2  # noqa: F401  # a fixture

SCENES = {"a.png": [(0, 0, 0), (1, 2, 3)], "b.jpg": [(1, 1, 1)], "c.tif": []}


@pytest.fixture
def network(tmp_path):
    return write_detector(tmp_path / "net.gossamer")


@pytest.fixture
def photos(tmp_path):
    for name, squares in SCENES.items():
        save_scene(tmp_path / "photos" / name, 400, 320, squares, **({"quality": 95} if name == "b.jpg" else {}))
    return tmp_path / "photos"


def detect(*words: object) -> int:
    return main(["detect", *map(str, words), "--threads", "1"])


def json_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder(network, photos, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert detect(network, photos, "--out", out) == 0
    rows = json_of(out / "detections.jsonl")
    assert [(row["file"], row["frame"]) for row in rows] == [("a.png", 0), ("a.png", 0), ("b.jpg", 0)]
    assert {row["class"]: [row[side] for side in ("x1", "y1", "x2", "y2")] for row in rows[:2]} == {
        "cherry": [0, 0, 100, 80],
        "leaf": [300, 160, 400, 240],
    }
    assert all(0.9 < row["score"] <= 1 for row in rows)
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.jpg", "c.jpg", "detections.jsonl"]
    with Image.open(out / "a.jpg") as image:
        assert image.size == (400, 320)
        drawn = np.asarray(image).astype(int)
    change = np.abs(drawn - np.asarray(scene(400, 320, SCENES["a.png"])).astype(int)).max(-1)
    assert change[239, 310:390].min() > 60, "the lower side of the leaf's box"
    assert change[200:230, 310:390].max() < 20, "and not what is inside it"
    first, second, *others = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"3 frames, \S+ a second; medians: decode \S+ ms, network \S+ ms, boxes \S+ ms", first)
    assert second == "found: 2 leaf, 1 cherry"
    assert others == [f"pictures with boxes are in {out}", f"the list is in {out / 'detections.jsonl'}"]


@pytest.mark.parametrize("runtime", list(available()))
def test_an_image_as_a_table(network, photos, tmp_path, runtime):
    table = tmp_path / "found.csv"
    assert detect(network, photos / "a.png", "--csv", table, "--classes", "leaf", "--runtime", runtime) == 0
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["class"], float(row["x1"])) == ("a.png", "leaf", 300)


def test_an_onnx_file(photos, tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(SQUARES)
    (tmp_path / "head.json").write_text(json.dumps(HEAD.to_json()))
    line = [tmp_path / "net.onnx", photos, "--head", tmp_path / "head.json", "--mean", 0, 0, 0, "--std", 1, 1, 1]
    assert detect(*line, "--threshold", 0.8) == 0
    assert "found: 2 class 1, 1 class 0" in capsys.readouterr().out
    (tmp_path / "head.json").write_text("{")
    assert detect(*line) == 1
    assert "expected JSON in" in capsys.readouterr().err


def test_the_list_alone_and_the_first_frames(network, photos, tmp_path, capsys):
    assert detect(network, photos, "--out", tmp_path / "out", "--no-pictures", "--frames", 1) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]
    assert capsys.readouterr().out.startswith("1 frame, ")
    assert detect(network, photos, "--json", tmp_path / "list", "--every", 2) == 0
    assert {row["file"] for row in json_of(tmp_path / "list")} == {"a.png"}, "a and c, which is empty"


def test_what_cannot_be_read_is_one_line_each(network, photos, tmp_path, capsys):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:300])
    assert detect(network, photos, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"cannot read the image {photos / 'a.png'}: " in said.err
    assert "found: 1 leaf" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.jpg", "c.jpg", "detections.jsonl"]


def test_sentences_do_not_fill_the_screen(network, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index in range(30):
        (tmp_path / "in" / f"{index:02}.png").write_bytes(b"")
    assert detect(network, tmp_path / "in") == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == cli_detect.MOST_SAID
    assert said.err.endswith("(further ones are not shown)\n")
    assert said.out == "no frame was read\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("SOURCE --no-pictures", "expected --no-pictures with --out only"),
        ("SOURCE --web-host 0.0.0.0", "expected --web-host with --web only; add --web"),
        ("SOURCE --classes cherri", "got 'cherri'; did you mean cherry?; it knows cherry, leaf"),
        ("SOURCE --threshold 1", "expected a score from 0 to below 1, such as 0.5, got 1"),
        ("SOURCE --every 0", "expected frames, a whole number of at least 1, got 0"),
        ("SOURCE --json a --csv b", "argument --csv: not allowed with argument --json"),
        ("SOURCE --web 65536", "expected a port, a whole number of at least 0 and below 65536, got 65536"),
        ("SOURCE --mean 0 0 0", "expected --mean and --std for an .onnx file only"),
        (
            "http://127.0.0.1:1/ --out out",
            "expected an end of the pictures in out, and http://127.0.0.1:1/ has none; give",
        ),
        ("gone.png", "found nothing at gone.png"),
    ],
)
def test_bad_options_are_one_sentence(network, photos, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    try:
        status = detect(network, *words.replace("SOURCE", str(photos)).split())
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    assert status in (1, 2)
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_pictures_are_never_written_over(network, photos, capsys):
    before = (photos / "b.jpg").read_bytes()
    assert detect(network, photos, "--out", photos) == 1
    assert "b.jpg is one of them; choose another --out" in capsys.readouterr().err
    assert (photos / "b.jpg").read_bytes() == before


def film(count):
    return [np.asarray(scene(64, 64, [(0, 0, index % 4)]))[:, :, ::-1] for index in range(count)]


def test_a_video(network, tmp_path, cv2):  # noqa: F811
    (tmp_path / "way.mp4").touch()
    cv2.films["way.mp4"] = film(7)
    out = tmp_path / "out"
    assert detect(network, tmp_path / "way.mp4", "--out", out, "--every", 3) == 0
    assert [(row["file"], row["frame"], row["x1"]) for row in json_of(out / "detections.jsonl")] == [
        ("way.mp4", 0, 0),
        ("way.mp4", 3, 48),
        ("way.mp4", 6, 32),
    ]
    assert {path.name for path in out.iterdir()} == {
        "way-000000.jpg",
        "way-000003.jpg",
        "way-000006.jpg",
        "detections.jsonl",
    }


def test_a_camera_that_goes_away_leaves_what_there_was(network, tmp_path, cv2, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(live.Live, "__init__", _with_pauses(live.Live.__init__, (0.0, 0.0)))
    cv2.films["0"] = film(1)
    real = cv2.VideoCapture

    def once(target):
        capture = real(target)
        cv2.films.clear()
        return capture

    cv2.VideoCapture = once
    assert detect(network, "camera:0", "--json", tmp_path / "list") == 1
    said = capsys.readouterr()
    assert "camera:0 is gone: nothing more came; asking again in 0 s\n" in said.err
    rows = json_of(tmp_path / "list")
    assert rows
    assert {row["class"] for row in rows} == {"cherry"}
    assert all(capture.released for capture in cv2.captures)


def _with_pauses(real, pauses):
    def init(self, *values, **options):
        real(self, *values, **options, pauses_s=pauses)

    return init


def test_a_stream_that_goes_away(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(live.Live, "__init__", _with_pauses(live.Live.__init__, ()))
    jpeg = as_jpeg(scene(64, 64, [(1, 3, 3)]))
    body = b"--b\r\nContent-Length: %d\r\n\r\n%b\r\n--b--\r\n" % (len(jpeg), jpeg)
    with server(body=body) as (address, _):
        assert detect(network, f"http://me:secret@{address}/", "--json", tmp_path / "list") == 1
    said = capsys.readouterr()
    assert said.err == f"ValueError: http://{address}/ is gone: nothing more came; asked again 0 times, in vain\n"
    assert "found: 1 leaf" in said.out
    (row,) = json_of(tmp_path / "list")
    assert row["file"] == f"http://{address}/"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_ends_when_it_is_stopped(network, tmp_path, cv2, monkeypatch, capsys, request, number):  # noqa: F811
    """By Ctrl-C, or by the system: that is how it ends, and all is written."""

    class Film(list):
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            return film(1)[0]

    cv2.films["0"] = Film()
    real, frames = cli_detect._Run.one, []

    def one(self, seen):
        real(self, seen)
        frames.append(seen.frame.index)
        if len(frames) == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(cli_detect._Run, "one", one)
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupted))
    before = signal.getsignal(signal.SIGTERM)
    assert detect(network, "camera:0", "--json", tmp_path / "list") == 0
    assert [row["frame"] for row in json_of(tmp_path / "list")] == frames
    assert signal.getsignal(signal.SIGTERM) == before
    assert re.match(r"\d frames, ", capsys.readouterr().out)
    assert cv2.captures[-1].released


def test_pictures_that_are_stopped_are_not_all(network, photos, tmp_path, monkeypatch, capsys):
    def one(self, seen):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_detect._Run, "one", one)
    assert detect(network, photos, "--json", tmp_path / "list") == 130
    assert capsys.readouterr().err == "stopped; what is written is whole\n"


def test_a_full_disk_is_one_line_and_a_clean_end(network, photos, tmp_path, monkeypatch, capsys):
    """The list takes the first picture's rows, a part of the second's, then nothing."""
    real, written = listing_module._write_all, []

    def on_a_full_disk(file, data):
        written.append(data)
        if len(written) == 2:
            file.write(data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(listing_module, "_write_all", on_a_full_disk)
    out = tmp_path / "out"
    assert detect(network, photos, "--out", out) == 1
    said = capsys.readouterr()
    assert said.err == f"OSError: the disk of {out / 'detections.jsonl'} is full; make room, or choose another path\n"
    assert len(json_of(out / "detections.jsonl")) == 2
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "detections.jsonl"]


def test_the_page_shows_it(network, tmp_path, cv2, monkeypatch, capsys):  # noqa: F811
    """While a camera runs: figures and a drawn frame; at the end there is no page any more."""
    seen, ended = {}, threading.Event()

    class Film(list):
        def __len__(self):
            return 10**9 if not ended.is_set() else 0

        def __getitem__(self, index):
            return np.asarray(scene(2000, 1500, [(1, 3, 0)]))[:, :, ::-1]

    def look_at(url):
        try:
            netloc = urlsplit(url).netloc
            while not seen.get("figures", {}).get("frames"):
                with contextlib.closing(http.client.HTTPConnection(netloc, timeout=30)) as connection:
                    connection.request("GET", "/figures")
                    seen["figures"] = json.load(connection.getresponse())
            connection = http.client.HTTPConnection(netloc, timeout=30)
            connection.request("GET", "/stream")
            with connection.getresponse() as answer:
                from gossamer.device.motion_jpeg import read_parts

                seen["frame"] = next(read_parts(answer, b"frame"))
        finally:
            ended.set()

    monkeypatch.setattr(live.Live, "__init__", _with_pauses(live.Live.__init__, ()))
    real = cli_detect._Run.all_frames

    def all_frames(self):
        threading.Thread(target=look_at, args=(self.page.url,)).start()
        return real(self)

    monkeypatch.setattr(cli_detect._Run, "all_frames", all_frames)
    cv2.films["0"] = Film()
    assert detect(network, "camera:0", "--web", "0") == 1  # it went away
    assert capsys.readouterr().out.startswith("live at http://127.0.0.1:")
    figures = seen["figures"]
    assert figures["counts"] == [["leaf", 1]]
    assert figures["network"] == "net.gossamer"
    assert min(figures[name] for name in ("decode_ms", "network_ms", "boxes_ms")) > 0
    (tmp_path / "frame.jpg").write_bytes(seen["frame"])
    with Image.open(tmp_path / "frame.jpg") as image:
        assert image.size == (1280, 960)
        pixels = np.asarray(image).astype(int)
    assert np.abs(pixels[800, 318] - colour_of(1)).max() < 60, "the right side of the leaf's box"


def test_a_line_that_is_written_over(monkeypatch, capsys):
    ticks = iter([0.0, *(float(k) for k in (1, 3, 3, 3.1, 9, 9))])
    monkeypatch.setattr(cli_detect.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal = cli_detect._Terminal()
    for text in ("one", "two", "three", "four"):
        terminal.live(lambda text=text: text)
    terminal.say("a sentence")
    terminal.close()
    shown = capsys.readouterr().err
    assert shown == "two" + "\r   \r" + "four" + "\r    \r" + "a sentence\n"


ALONE = """
import sys
from gossamer.cli import main
status = main(sys.argv[1:])
loaded = {"torch", "onnx", "scipy", "rich", "cv2"} & set(sys.modules)
print("alone:", status, sorted(loaded))
"""


def test_it_runs_where_there_is_no_torch(run_alone, onnxruntime_alone, network, photos, tmp_path):
    out = tmp_path / "out"
    line = ["detect", str(network), str(photos), "--out", str(out), "--web", "0", "--threads", "1"]
    done = run_alone(ALONE, f"gossamer,PIL,{onnxruntime_alone}", *line)
    assert done.stdout.endswith("alone: 0 []\n"), done.stdout + done.stderr
    assert done.stderr == ""
    assert len(json_of(out / "detections.jsonl")) == 3
