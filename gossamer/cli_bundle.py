# SPDX-License-Identifier: Apache-2.0
"""The verb `bundle`: a folder to copy to a board, with the network and all that runs it there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gossamer import cli_values

ENTRIES = ("gossamer.cli_board",)


def add_verbs(verbs: Any) -> None:
    """`bundle` with its options."""
    bundle = verbs.add_parser("bundle", help="a folder to copy to a board: the network, and all that runs it there")
    bundle.add_argument("network", type=Path, help="a .gossamer file")
    bundle.add_argument("--out", type=cli_values.new_folder, required=True, metavar="DIR", help="a new folder")
    bundle.add_argument(
        "--pictures",
        type=Path,
        metavar="PATH",
        help="an image or a folder of images, packed with what the network answers to them here",
    )
    bundle.set_defaults(run=run_bundle)


def run_bundle(options: argparse.Namespace) -> int:
    """`gossamer bundle`."""
    from gossamer.device.bundle import pack
    from gossamer.runtime.session import open_session

    packed = pack(options.network, options.out, open_session, ENTRIES, options.pictures)
    print(
        f"{options.out}: {packed.bytes:,} bytes for {packed.kind}, {packed.modules} modules; copy it to the board and "
        "read README.md there"
    )
    return 0
