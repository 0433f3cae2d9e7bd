# SPDX-License-Identifier: Apache-2.0
"""The verb `detect`: a detection network on images, a video, a camera or a stream, with boxes around what it finds.

It needs numpy, Pillow and a runtime; neither torch nor ONNX, and OpenCV only for a video or a camera.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

if TYPE_CHECKING:
    from gossamer.device.detect import Seen
    from gossamer.device.detector import Detector
    from gossamer.device.figures import Figures
    from gossamer.device.listing import Add
    from gossamer.device.sources import Source
    from gossamer.device.web import LivePage

LIST = "detections.jsonl"
PORT = 8008
PATIENCE_S = 2.0  # without a line that says how it goes
TERMINAL_S, FILE_S, PAGE_S = 0.5, 10.0, 0.25  # between two such lines, and between two numbers of the page
MOST_SAID = 20  # sentences about frames that could not be read; a broken stream would fill the screen
PAGE_SIDE, PAGE_QUALITY = 1280, 80


def add_verbs(verbs: Any) -> None:
    """`detect` with its options."""
    detect = verbs.add_parser("detect", help="a detection network on images, a video, a camera or a stream: boxes")
    detect.add_argument("network", type=Path, help="a .gossamer or an .onnx file")
    detect.add_argument(
        "source", help="an image, a folder of images, a video, camera:0, or the http:// address of a Motion JPEG stream"
    )
    detect.add_argument(
        "--out", type=cli_values.new_folder, metavar="DIR", help=f"for pictures with boxes, and their list, {LIST}"
    )
    detect.add_argument("--no-pictures", action="store_true", help="write the list alone")
    detect.add_argument(
        "--threshold",
        type=cli_values.number("a score from 0 to below 1, such as 0.5", lambda value: 0 <= value < 1),
        default=0.5,
        metavar="SCORE",
        help="above which an object counts as found; default 0.5",
    )
    detect.add_argument("--classes", nargs="+", metavar="NAME", help="to look for; default: all that it knows")
    detect.add_argument(
        "--every", type=cli_values.whole(1, "frames"), default=1, metavar="N", help="take each Nth frame"
    )
    detect.add_argument("--frames", type=cli_values.whole(1, "frames"), metavar="N", help="stop after as many")
    lists = detect.add_mutually_exclusive_group()
    lists.add_argument("--json", type=Path, metavar="FILE", help="the list, a JSON object a line")
    lists.add_argument("--csv", type=Path, metavar="FILE", help="the list as a table")
    detect.add_argument(
        "--web",
        type=cli_values.whole(0, "a port", below=2**16),
        nargs="?",
        const=PORT,
        metavar="PORT",
        help=f"show it on a page, for this machine alone; default {PORT}",
    )
    detect.add_argument("--web-host", metavar="ADDRESS", help="show the page to others too; 0.0.0.0 is everybody")
    cli_values.add_runtime(detect)
    detect.add_argument("--head", type=Path, metavar="FILE", help="of an .onnx file: what its output means, as JSON")
    detect.add_argument("--mean", type=cli_values.any_number, nargs="+", metavar="M", help="of an .onnx file, in 0..1")
    detect.add_argument("--std", type=cli_values.any_number, nargs="+", metavar="S", help="of an .onnx file, in 0..1")
    detect.set_defaults(run=run_detect)


def run_detect(options: argparse.Namespace) -> int:
    """`gossamer detect`: exit status 1 if an image could not be read, or a camera or stream went away for good."""
    from gossamer.device.detector import open_detector
    from gossamer.device.figures import Figures
    from gossamer.device.listing import listing
    from gossamer.device.sources import open_source
    from gossamer.device.web import LOOPBACK, LivePage
    from gossamer.files import read_json

    source = open_source(options.source, options.every)
    _check(options, source)
    detector = open_detector(
        options.network,
        cli_values.opener(options),
        head=None if options.head is None else read_json(options.head),
        mean=options.mean,
        std=options.std,
    )
    wanted = detector.classes_named(options.classes) if options.classes else None
    with ExitStack() as stack:
        page = None
        if options.web is not None:
            page = stack.enter_context(LivePage(options.web, options.web_host or LOOPBACK))
            print(f"live at {page.url}", flush=True)
            if options.web_host is not None:
                print(f"whoever reaches {options.web_host} sees what is on it", flush=True)
        if list_path := _list_path(options):
            add = stack.enter_context(listing(list_path, "csv" if options.csv else "json"))
        else:
            add = None
        terminal = stack.enter_context(closing(_Terminal()))
        run = _Run(options, source, detector, wanted, Figures(), terminal, add, page)
        with _stopped_by_signals():
            stopped = run.all_frames()
    print(run.summary(list_path))
    if isinstance(stopped, KeyboardInterrupt):
        if source.endless:
            return 0  # there is no other end
        print("stopped; what is written is whole", file=sys.stderr)
        return 130
    if stopped is not None:
        raise stopped
    return int(terminal.said > 0 and not source.endless)


def _check(options: argparse.Namespace, source: Source) -> None:
    """ValueError for options that do not go together, before anything is read."""
    from gossamer.device.sources import Pictures

    if options.no_pictures and options.out is None:
        raise ValueError("expected --no-pictures with --out only, without it none are written; leave it out")
    if options.web_host is not None and options.web is None:
        raise ValueError("expected --web-host with --web only; add --web")
    if _draws(options):
        if source.endless and options.frames is None:
            raise ValueError(
                f"expected an end of the pictures in {options.out}, and {options.source} has none; give --frames N, or "
                "--no-pictures"
            )
        if isinstance(source, Pictures):
            source.check_apart(lambda stem: _place(options, stem))


def _place(options: argparse.Namespace, stem: str) -> Path:
    """Where a frame is drawn."""
    return Path(options.out, f"{stem}.jpg")


def _draws(options: argparse.Namespace) -> bool:
    return options.out is not None and not options.no_pictures


def _list_path(options: argparse.Namespace) -> Path | None:
    found: Path | None = options.json or options.csv
    return options.out / LIST if found is None and options.out is not None else found


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Being ended by the system, as services are, is being stopped: what is written becomes whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(eq=False)
class _Run:
    """What is done with each frame."""

    options: argparse.Namespace
    source: Source
    detector: Detector
    wanted: frozenset[int] | None
    figures: Figures
    terminal: _Terminal
    add: Add | None
    page: LivePage | None
    told: dict[str, Any] = field(default_factory=dict)
    told_at: float = float("-inf")

    def all_frames(self) -> BaseException | None:
        """Look at every frame; what stopped it, where it did not come to its end."""
        from gossamer.device.detect import look

        try:
            with closing(self.source.frames(self.say)) as frames:
                for frame in frames:
                    seen = look(self.detector, frame, self.options.threshold, self.wanted)
                    self.one(seen)
                    if self.figures.frames == self.options.frames:
                        break
        except (KeyboardInterrupt, OSError, ValueError) as error:
            return error
        return None

    def one(self, seen: Seen) -> None:
        """List, draw and show a frame."""
        from gossamer.device.drawing import write_drawn

        if self.add is not None:
            self.add(seen.rows())
        if _draws(self.options):
            picture = seen.frame.picture
            try:
                write_drawn(_place(self.options, seen.frame.stem), picture, seen.labels(picture.size))
            except ValueError as error:
                self.say(f"no picture of {seen.frame.source}: {error}")
        self.figures.add(seen.times, seen.classes)
        self.terminal.live(self._line)
        if self.page is not None:
            self._show(self.page, seen)

    def say(self, sentence: str) -> None:
        """A frame could not be read, or a source does not answer; called from any thread."""
        self.terminal.say(sentence)
        if self.page is not None:
            self.page.tell(self.told | {"trouble": sentence})

    def summary(self, list_path: Path | None) -> str:
        """How fast it was, what was found, and where it is."""
        from gossamer.device.figures import counted

        figures = self.figures
        if not figures.frames:
            return "no frame was read"
        of = figures.medians()
        lines = [
            f"{figures.frames:,} frame{'s' if figures.frames > 1 else ''}, {figures.per_second:.3g} a second; medians: "
            f"decode {of.decode:.3g} ms, network {of.network:.3g} ms, boxes {of.boxes:.3g} ms",
            f"found: {counted(figures.total)}",
        ]
        if _draws(self.options):
            lines.append(f"pictures with boxes are in {self.options.out}")
        if list_path is not None:
            lines.append(f"the list is in {list_path}")
        return "\n".join(lines)

    def _line(self) -> str:
        from gossamer.device.figures import counted

        figures = self.figures
        return (
            f"frame {figures.frames:,}, {figures.per_second_now:.3g} a second, network "
            f"{figures.medians().network:.3g} ms: {counted(figures.newest)}"
        )

    def _show(self, page: LivePage, seen: Seen) -> None:
        from gossamer.device.drawing import as_jpeg, drawn

        if page.watched:
            picture = seen.frame.picture
            zoom = PAGE_SIDE / max(picture.size)
            if zoom < 1:  # before it is drawn into, or lines and letters would shrink
                picture = picture.convert("RGB").resize(
                    (max(1, round(picture.width * zoom)), max(1, round(picture.height * zoom))), reducing_gap=2.0
                )
            page.show(as_jpeg(drawn(picture, seen.labels(picture.size)), PAGE_QUALITY))
        if time.monotonic() - self.told_at >= PAGE_S:
            self.told_at, self.told = time.monotonic(), self._numbers()
            page.tell(self.told)

    def _numbers(self) -> dict[str, Any]:
        figures, of = self.figures, self.figures.medians()
        return {
            "source": self.source.name,
            "network": self.detector.path.name,
            "frames": figures.frames,
            "per_second": figures.per_second_now,
            "decode_ms": of.decode,
            "network_ms": of.network,
            "boxes_ms": of.boxes,
            "counts": figures.newest.most_common(),
            "trouble": "",
        }


class _Terminal:
    """Standard error: one line that is written over, and sentences; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written = 0  # letters of the line that stands there
        self._next = time.monotonic() + PATIENCE_S
        self.said = 0

    def say(self, sentence: str) -> None:
        """A line that stays; after twenty of them no more."""
        with self._lock:
            self.said += 1
            if self.said <= MOST_SAID:
                self._clear()
                more = " (further ones are not shown)" if self.said == MOST_SAID else ""
                print(f"{sentence}{more}", file=sys.stderr, flush=True)

    def live(self, line: Callable[[], str]) -> None:
        """How it goes, from time to time."""
        if time.monotonic() < self._next:
            return
        with self._lock:
            there = sys.stderr.isatty()
            self._next = time.monotonic() + (TERMINAL_S if there else FILE_S)
            text = line()[: shutil.get_terminal_size().columns - 1 if there else None]
            self._clear()
            print(text, end="" if there else "\n", file=sys.stderr, flush=True)
            self._written = len(text) if there else 0

    def close(self) -> None:
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._written:
            print(f"\r{' ' * self._written}\r", end="", file=sys.stderr, flush=True)
            self._written = 0
