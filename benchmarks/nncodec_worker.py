# SPDX-License-Identifier: Apache-2.0
"""Runs inside NNCodec's own environment: compresses one network at several settings and takes it apart again.

    python nncodec_worker.py FOLDER

reads FOLDER/network.npz (float32 tensors by name), blocks.json (what each tensor is, as NNCodec wants to know it for
folding batch norms) and settings.json (a list); writes sizes.json and one N.npz of decoded tensors for each setting.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from nncodec import nnc


def main(folder: Path) -> None:
    """Every setting, one after the other."""
    with np.load(folder / "network.npz") as pack:
        network = {name: pack[name] for name in pack.files}
    blocks = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
    sizes = []
    for number, setting in enumerate(json.loads((folder / "settings.json").read_text(encoding="utf-8"))):
        start = time.monotonic()
        stream = nnc.compress(
            dict(network),
            bitstream_path=None,
            block_id_and_param_type=blocks,
            return_bitstream=True,
            use_dq=True,
            row_skipping=True,
            bnf=True,
            verbose=False,
            **setting,
        )
        decoded = nnc.decompress(
            stream, reconstruct_bnf=True, reconstruct_lsa=True, block_id_and_param_type=blocks, verbose=False
        )
        np.savez(folder / f"{number}.npz", **decoded)
        sizes.append({"bytes": len(stream), "seconds": round(time.monotonic() - start, 2)})
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
