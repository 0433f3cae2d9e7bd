# SPDX-License-Identifier: Apache-2.0
"""A folder to copy to a board: a network, the code that runs it, what to install, and what it should answer.

    DIR/network.gossamer      the network, as it was given            DIR/requirements.txt   what to install
    DIR/gossamer/             the modules that are needed, no others   DIR/board.py           their commands
    DIR/run.sh, check.sh, latency.sh                                   DIR/README.md          how, on which board
    DIR/expected.json         what the network answers here            DIR/test.png, pictures/    to what

The same network and pictures give the same bytes. The folder is made aside, then renamed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from gossamer import container
from gossamer.device.board_check import expectations
from gossamer.device.board_texts import LAUNCHER, REQUIREMENTS, readme, scripts
from gossamer.device.deployed import Kind, find_pictures, kind_of, open_deployed
from gossamer.device.imports import PACKAGE, needed
from gossamer.device.stored import Opener, Session
from gossamer.files import write_json

NETWORK, TEST = "network.gossamer", "test.png"
BLOCKS, BLOCK = (24, 32), 10  # rows and columns of the test picture, pixels a side
DISTRIBUTION, LICENCE = "gossamer-cnn", "LICENSE"


@dataclass(frozen=True)
class Packed:
    """What a bundle holds, and how large it is."""

    kind: Kind
    modules: int
    pictures: int
    bytes: int


def pack(
    network: Path, out: Path, open_session: Opener, entries: Sequence[str], pictures: Path | None = None
) -> Packed:
    """Write the bundle of a .gossamer file to a folder that is not there or empty; `entries` are its modules.

    `pictures` is an image or a folder of images, which are packed with what the network answers to them.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"expected a folder that is new or empty, {out} holds files; choose another --out")
    given = () if pictures is None else find_pictures(pictures)
    kind = kind_of(network, open_session)
    out = out.resolve()  # '.' has no name
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        packed = _fill(part, network, kind, open_session, entries, given)
        part.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return packed


def coloured_blocks() -> bytes:
    """A PNG of coloured blocks, the same on every machine: 320 x 240 pixels."""
    rows, columns = BLOCKS
    colours = np.frombuffer(hashlib.shake_256(b"gossamer").digest(rows * columns * 3), np.uint8)
    pixels = colours.reshape(rows, columns, 3).repeat(BLOCK, 0).repeat(BLOCK, 1)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def _fill(
    folder: Path, network: Path, kind: Kind, open_session: Opener, entries: Sequence[str], given: Sequence[Path]
) -> Packed:
    """All files of the bundle."""
    content = network.read_bytes()
    (folder / NETWORK).write_bytes(content)
    (folder / TEST).write_bytes(coloured_blocks())
    pictures = {TEST: folder / TEST}
    for path in given:
        pictures[f"pictures/{path.name}"] = _copied(path, folder / "pictures" / path.name)
    modules = needed(entries)
    for path in modules.values():
        _copied(path, folder / PACKAGE.name / path.relative_to(PACKAGE))
    if (licence := _licence()) is not None:
        _copied(licence, folder / LICENCE)

    models: list[bytes] = []

    def open_kept(model: bytes) -> Session:
        models.append(model)
        return open_session(model)

    deployed = open_deployed(folder / NETWORK, kind, open_kept)
    write_json(folder / "expected.json", expectations(deployed, models[0], (NETWORK, content), pictures))
    known = deployed.preprocess
    classes = container.read(folder / NETWORK).payload.classes
    texts = {
        "README.md": readme(kind, NETWORK, (known.height, known.width), classes, len(given)),
        "requirements.txt": REQUIREMENTS,
        "board.py": LAUNCHER,
        **scripts(kind, NETWORK),
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
        (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Packed(kind, len(modules), len(given), sum(path.stat().st_size for path in files))


def _copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return target


def _licence() -> Path | None:
    """The licence of the code, in a checkout or as installed; None where neither has it."""
    if (PACKAGE.parent / "pyproject.toml").is_file() and (PACKAGE.parent / LICENCE).is_file():
        return PACKAGE.parent / LICENCE
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == LICENCE), None)
