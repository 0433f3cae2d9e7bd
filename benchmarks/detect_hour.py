# SPDX-License-Identifier: Apache-2.0
"""An hour of `gossamer detect` on a clip that is looped, with faults: does its memory grow, does it go on?

    python -m benchmarks.detect_hour                            FastestDet as published; needs $GOSSAMER_DATA, Linux
    python -m benchmarks.detect_hour MINUTES [NETWORK.gossamer]

writes results/detect-hour/. The clip, test pictures of people at RATE frames a second, is served here as Motion JPEG.
Each `BROKEN`th frame is cut off in the middle, and the stream breaks off after each `BREAKS`th. Two clients watch the
live page: one reads everything, one never reads, and comes again when it is let go.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.aarch64_check import PEOPLE, given
from benchmarks.filing import file_circumstances
from gossamer.files import write_atomically, write_json

RESULTS = Path(__file__).resolve().parent.parent / "results" / "detect-hour"
PICTURES, RATE = 60, 3.0
BROKEN, BREAKS = 397, 2_000  # frames
EVERY, WARM = 10.0, 300.0  # seconds between two looks at the memory, and before the first that counts
MOST_GROWTH = 2**23  # bytes an hour that pass for none


def main() -> int:
    """Run it, and write memory.json; exit status 1 where memory grew or detection ended by itself."""
    data = Path(os.environ["GOSSAMER_DATA"])
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if len(sys.argv) > 2:
            network = Path(sys.argv[2])
        else:
            network = folder / "network.gossamer"
            given(data, folder)
        clip = Clip(pictures(data))
        with clip.served() as address:
            found, said = watched(network, address, folder, 60 * minutes)
    found |= {"frames_sent": clip.sent, "frames_broken": clip.broken, "streams": clip.streams}
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / "memory.json", found)
    write_atomically(RESULTS / "log.txt", said.encode())
    file_circumstances(RESULTS, " ".join(["python -m benchmarks.detect_hour", *sys.argv[1:]]))
    print((RESULTS / "memory.json").read_text(encoding="utf-8"))
    return int(found["exit"] != 0 or found["growth_bytes_per_hour"] > MOST_GROWTH)


def pictures(data: Path) -> list[bytes]:
    """JPEG files of the first test pictures."""
    with np.load(data / PEOPLE) as pack:
        jpeg, offsets, test = pack["jpeg"], pack["offsets"], np.flatnonzero(pack["test"])
    return [jpeg[offsets[place] : offsets[place + 1]].tobytes() for place in test[:PICTURES].tolist()]


class Clip:
    """Pictures as an endless stream, and what was sent of it."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files
        self.sent = self.broken = self.streams = 0

    def frames(self) -> Iterator[bytes]:
        """Parts of a multipart stream, at the clip's pace, until it breaks off."""
        self.streams += 1
        for file in itertools.cycle(self.files):
            self.sent += 1
            if self.sent % BROKEN == 0:
                self.broken += 1
                file = file[: len(file) // 2]
            yield b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(file) + file + b"\r\n"
            if self.sent % BREAKS == 0:
                return
            time.sleep(1 / RATE)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The address at which the clip can be watched."""
        clip = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):
                    for part in clip.frames():
                        self.wfile.write(part)

            def log_message(self, format: str, *values: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def watched(network: Path, address: str, folder: Path, seconds: float) -> tuple[dict[str, Any], str]:
    """Run `gossamer detect` for so long; what became of its memory, and all that it said."""
    said = folder / "said.txt"
    command = [sys.executable, "-m", "gossamer", "detect", str(network), address, "--json", str(folder / "found.jsonl")]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--web", "0", "--threads", "1"], stdout=output, stderr=subprocess.STDOUT, text=False
        )
        try:
            port = _port(said)
            for client in (_reads_all, _never_reads):
                threading.Thread(target=_again_and_again, args=(client, port), daemon=True).start()
            start, seen = time.monotonic(), []
            while time.monotonic() < start + seconds and process.poll() is None:
                time.sleep(EVERY)
                with contextlib.suppress(OSError):
                    seen.append((time.monotonic() - start, _resident_bytes(process.pid)))
            ended_itself = process.poll() is not None
            process.terminate()  # programs in the background may be deaf to SIGINT
            code = process.wait(60)
        finally:
            process.kill()
    rows = [(at, size) for at, size in seen if at >= min(WARM, seconds / 2)]
    if len(rows) < 2:
        raise RuntimeError(f"expected detection to go on, it ended by itself:\n{said.read_text(encoding='utf-8')}")
    times, sizes = np.array(rows, float).T
    lasted = time.monotonic() - start
    found = {
        "minutes": round(lasted / 60, 1),
        "exit": 1 if ended_itself else code,
        "resident_bytes": {"first": int(sizes[0]), "last": int(sizes[-1]), "most": int(sizes.max())},
        "growth_bytes_per_hour": round(3600 * float(np.polyfit(times, sizes, 1)[0])),
        "looks": len(rows),
        "list_bytes": (folder / "found.jsonl").stat().st_size if (folder / "found.jsonl").exists() else 0,
    }
    return found, said.read_text(encoding="utf-8").replace(f"{folder}/", "")


def _port(said: Path) -> int:
    """The port of the live page, once it is told."""
    for _ in range(600):
        if match := re.search(r"live at http://127\.0\.0\.1:(\d+)/", said.read_text(encoding="utf-8")):
            return int(match[1])
        time.sleep(0.1)
    raise TimeoutError(
        f"expected the address of the live page within a minute, got: {said.read_text(encoding='utf-8')}"
    )


def _resident_bytes(process: int) -> int:
    """Memory of a process that is in use, from the system (Linux)."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="utf-8"))
    if match is None:
        raise OSError(f"expected the memory of process {process}, it has ended")
    return 1024 * int(match[1])


def _again_and_again(client: Callable[[socket.socket], None], port: int) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            client(connection)
        time.sleep(1)


def _reads_all(connection: socket.socket) -> None:
    while connection.recv(2**16):
        pass


def _never_reads(connection: socket.socket) -> None:
    """Waits until it is let go: then a byte more to send is an error."""
    while True:
        time.sleep(5)
        connection.send(b" ")


if __name__ == "__main__":
    sys.exit(main())
