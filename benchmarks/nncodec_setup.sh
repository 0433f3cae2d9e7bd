#!/bin/sh
# NNCodec 2.1.3 (ISO/IEC 15938-17) in an environment of its own: it is built from source with a C++ compiler and needs
# numpy below 2, which Gossamer's environment must not have to agree with.
#
#     sh benchmarks/nncodec_setup.sh FOLDER      then      export GOSSAMER_NNCODEC=FOLDER
set -eu
python3 -m venv "$1"
"$1/bin/python" -m pip install "numpy<2" "nncodec==2.1.3"
"$1/bin/python" -c "from nncodec import nnc; print('NNCodec is ready')"
