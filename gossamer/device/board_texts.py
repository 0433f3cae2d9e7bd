# SPDX-License-Identifier: Apache-2.0
"""What is written into a bundle beside the network and the code: requirements, a launcher, scripts, a page to read.

The versions are the newest that have wheels for 64-bit ARM and x86, for each Python from 3.11 to 3.14, and that run
with glibc 2.27: the oldest system among the boards, Ubuntu 18.04 of the first Jetson Nano, has that.
"""

from __future__ import annotations

from gossamer.device.deployed import Kind

PYTHON = (3, 11)
PINS = {
    "flatbuffers": "25.12.19",
    "llvmlite": "0.50.0",
    "numba": "0.68.1",
    "numpy": "2.4.6",
    "onnxruntime": "1.28.0",
    "packaging": "26.4",
    "pillow": "13.0.0",
    "protobuf": "7.36.2",
}
REQUIREMENTS = "".join(f"{name}=={version}\n" for name, version in PINS.items())

VERBS: dict[Kind, str] = {"detection": "detect", "segmentation": "predict", "classification": "classify"}
RUNS: dict[Kind, str] = {
    "detection": "./run.sh test.png --out found/             # boxes drawn into the picture, and their list",
    "segmentation": "./run.sh test.png --out masks/ --overlay   # a mask, and the picture in its colours",
    "classification": "./run.sh test.png                          # the likeliest classes",
}
MORE: dict[Kind, str] = {
    "detection": """
The source may also be a folder of pictures or the address of a Motion JPEG stream; a video or a camera, `camera:0`,
needs OpenCV too (`.venv/bin/pip install opencv-python-headless`). `--web` shows it on a page, to everybody who reaches
the board where `--web-host 0.0.0.0` is said too; `./run.sh --help` lists the rest:

    ./run.sh camera:0 --web --web-host 0.0.0.0
""",
    "segmentation": "\nThe source may also be a folder of pictures; `./run.sh --help` lists the options.\n",
    "classification": "\nThe source may also be a folder of pictures; `./run.sh --help` lists the options.\n",
}

LAUNCHER = f'''# SPDX-License-Identifier: Apache-2.0
"""The commands of this bundle: python3 board.py --help"""

import sys

if sys.version_info < {PYTHON}:
    sys.exit("expected Python {PYTHON[0]}.{PYTHON[1]} or newer, got %d.%d; README.md says how" % sys.version_info[:2])
if __name__ == "__main__":
    try:
        from gossamer.cli_board import main

        sys.exit(main())
    except ModuleNotFoundError as error:
        sys.exit("expected the packages of requirements.txt, %s is missing; README.md says how" % error.name)
'''

SCRIPT = """#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# {about}
here=$(cd "$(dirname "$0")" && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=${{PYTHON:-python3}}
exec "$python" "$here/board.py" {command} "$@"
"""


def scripts(kind: Kind, network: str) -> dict[str, str]:
    """The shell scripts of a bundle by name."""
    commands = {
        "run.sh": ("The network on pictures; see README.md", f'{VERBS[kind]} "$here/{network}"'),
        "check.sh": ("Does the network answer here as where the bundle was made?", 'check "$here"'),
        "latency.sh": ("What the network takes here, in milliseconds", 'latency "$here"'),
    }
    return {name: SCRIPT.format(about=about, command=command) for name, (about, command) in commands.items()}


def readme(kind: Kind, network: str, size: tuple[int, int], classes: tuple[str, ...], pictures: int) -> str:
    """The page of a bundle, in Markdown."""
    shown = ", ".join(classes[:10]) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
    beside = f"`test.png` and {pictures} pictures" if pictures else "`test.png`"
    return f"""# A network on a board

`{network}` is a network for {kind}; it reads {size[0]} x {size[1]} pixels{f" and knows {shown}" if shown else ""}.
This folder is all that it needs, beside Python {PYTHON[0]}.{PYTHON[1]} or newer and the packages of `requirements.txt`.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    ./check.sh                                 # does it answer as where it was made?
    {RUNS[kind]}
    ./latency.sh                               # milliseconds, written into latency.json too
{MORE[kind]}
`check.sh` decodes the network and compares the bytes, which must be the same as on the machine that made the bundle.
Then it compares the answers to {beside} with those given there (`expected.json`): these may differ by
rounding, and the script says by how much. Its exit status is 1 where anything differs by more; all numbers are in
`check.json`.

The first start takes longer: the loops that decode the network become machine code, which is kept. Without numba (leave
its line and llvmlite's out of `requirements.txt`) the same bits come out, in minutes instead of seconds.

## Raspberry Pi 3, 4, 5, Zero 2 W

Raspberry Pi OS, 64-bit: `uname -m` must say aarch64, since there are no packages for 32 bits. Bookworm has Python 3.11,
Trixie 3.13. `sudo apt install python3-venv` where `python3 -m venv` does not work, then as above.

## Jetson Nano

The system of the first Jetson Nano (JetPack 4, Ubuntu 18.04) has Python 3.6. A newer one beside it needs no root; uv
(`curl -LsSf https://astral.sh/uv/install.sh | sh`) brings it:

    uv venv --python 3.11 --seed .venv

then as above. Jetson Orin has Python 3.10 (JetPack 6, do the same) or 3.12 (JetPack 7).

The packages above compute on the processor. Where ONNX Runtime was built with TensorRT, which NVIDIA's and your own
builds are, install that build instead of the line `onnxruntime`, for the Python that it was made for, and

    ./check.sh --provider tensorrt
    ./latency.sh --provider tensorrt
    ./run.sh test.png --provider tensorrt

TensorRT rounds otherwise, so look at the differences. Without such a build TensorRT reads the decoded network itself,
from version 10 on (JetPack 6.1), which knows its operator set, 20:

    .venv/bin/python board.py decode {network} --out network.onnx
    /usr/src/tensorrt/bin/trtexec --onnx=network.onnx --fp16

None of this was tried on a Jetson with TensorRT.

## A PC with Linux on x86-64

As above. After `.venv/bin/pip install openvino`, `--runtime openvino` runs it there, often faster on Intel's
processors.
"""
