# SPDX-License-Identifier: Apache-2.0
"""A bundle: networks and a script in a small folder, to be timed on another machine, and what comes back from there.

    BUNDLE/on_board.py   the script (numpy and onnxruntime)        BUNDLE/networks/*.onnx
    BUNDLE/bundle.json   names, hashes, input shape                BUNDLE/images.npz   images and answers, if any

Integers are rounded differently on different processors, so answers may differ on a board. With d of m images answered
differently there, the drop on the board is at most the certified one plus an upper bound of the share that differs:

    U_board <= U(alpha_1) + CP(alpha_2; d, m),   alpha_1 + alpha_2 = alpha

Where pixels have classes, an image is answered differently as soon as one of its pixels is: the bound holds, and is
wide.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from gossamer import container
from gossamer.certify.binomial import clopper_pearson
from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.files import read_json, sha256, write_atomically, write_json, written_aside
from gossamer.measure import on_board
from gossamer.measure.answers import answers
from gossamer.measure.bench import comparable

SCRIPT = Path(on_board.__file__)
AT_ONCE = 256  # images as floats
COLUMNS = ("network", "milliseconds", "p10 to p90", "times as fast", "first answer after", "answers that differ")


def pack(
    folder: Path, files: Sequence[Path], batch_size: int = 1, size: int | None = None, images: Split | None = None
) -> None:
    """Write a bundle of .onnx and .gossamer files; `images` are those that answers are compared on."""
    models, shape = comparable(files, batch_size, size)
    if images is not None:
        _write_images(folder / "images.npz", models, images, preprocess_of(files))
    pack_models(folder, models, shape, 0 if images is None else len(images))


def pack_models(folder: Path, models: Mapping[str, bytes], shape: Sequence[int], images: int = 0) -> None:
    """Write the ONNX networks of a bundle, which read inputs of one shape, its script and its list."""
    networks = {}
    for number, (name, model) in enumerate(models.items(), start=1):  # a/b.onnx and a-b.onnx are two
        readable = name.replace("/", "-").removesuffix(".gossamer").removesuffix(".onnx")
        file = f"networks/{number:02}-{readable}.onnx"
        write_atomically(folder / file, model)
        networks[name] = {"file": file, "sha256": sha256(model)}
    write_atomically(folder / SCRIPT.name, SCRIPT.read_bytes())
    content = {"networks": networks, "shape": list(shape), "images": images}
    write_json(folder / "bundle.json", {"version": 1, "id": sha256(json.dumps(content).encode())[:16], **content})


def preprocess_of(files: Sequence[Path]) -> Preprocess:
    """How the networks read images, as the first .gossamer file among them says."""
    known = [path for path in files if path.suffix == ".gossamer"]
    if not known:
        raise ValueError("expected a .gossamer file among the networks, which says how images are read, got none")
    return Preprocess.from_json(dict(container.read(known[0]).payload.preprocess))


def _write_images(path: Path, models: dict[str, bytes], images: Split, preprocess: Preprocess) -> None:
    """What `np.savez` would write; images go into the file by and by: as floats they may not fit in memory."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(images), *preprocess.shape)}
    with written_aside(path) as part, zipfile.ZipFile(part, "w") as pack:
        with pack.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for positions in chunks(len(images), AT_ONCE):
                file.write(preprocess.apply(images.images.take(positions)).astype("<f4", copy=False).tobytes())
        for name, model in models.items():
            with pack.open(f"answers of {name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, answers(model, images, preprocess), allow_pickle=False)


def board_table(board: Path, alpha: float = 0.05) -> Table:
    """What a board.json says, one row a network."""
    found = read_board(board)
    table = Table(title=board_name(found))
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for name, row in found["networks"].items():
        differ = row["different_answers"]
        words = "not asked"
        if differ is not None:
            most = clopper_pearson(differ, found["images"], 2 * alpha)[1]
            words = f"{differ} of {found['images']:,}; below {100 * most:.2f} % at {100 * (1 - alpha):g} % confidence"
        table.add_row(
            name,
            f"{row['median_ms']:.3f}",
            f"{row['p10_ms']:.3f} to {row['p90_ms']:.3f}",
            f"{row['times_as_fast']:.2f}",
            f"{row['open_ms']:.0f} ms",
            words,
        )
    return table


def board_name(found: Mapping[str, Any]) -> str:
    """The machine of a board.json, and how it measured."""
    machine = found["board"]
    return (
        f"{machine['processor'] or machine['machine']}, {machine['threads']} threads, onnxruntime "
        f"{machine['onnxruntime']}, {machine['rounds']} rounds"
    )


def read_board(path: Path) -> dict[str, Any]:
    """What a bundle's script wrote."""
    found = read_json(path)
    if not isinstance(found, dict) or found.get("version") != 1 or not {"board", "networks", "images"} <= found.keys():
        raise ValueError(f"expected the board.json that a bundle's {SCRIPT.name} writes in {path}, got something else")
    return dict(found)
