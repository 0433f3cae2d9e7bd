#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A bundle in an empty 64-bit ARM system, emulated: the same bits, the same boxes, from the bundle alone, without network.
#
#     sh benchmarks/aarch64.sh                                FastestDet as published, two pictures; needs $GOSSAMER_DATA
#     sh benchmarks/aarch64.sh NETWORK.gossamer PICTURES      a detector of your own
#
# writes results/aarch64/. Needs Debian 12 or like it, root, and: apt-get install qemu-user-static debootstrap
# The system (300 MB) stays in ${GOSSAMER_RUNS:-runs}/aarch64: the first time takes some ten to thirty minutes on two cores,
# later ones five. Milliseconds of an emulated processor say nothing: they are in no result.
set -eu
cd "$(dirname "$0")/.."
work=$(mkdir -p "${GOSSAMER_RUNS:-runs}/aarch64" && cd "${GOSSAMER_RUNS:-runs}/aarch64" && pwd)
root=$work/root
python=${PYTHON:-.venv/bin/python}
cpu=${QEMU_CPU:-cortex-a57}  # that of a Jetson Nano, ARMv8.0 as a Raspberry Pi 3 and 4; what it lacks stops the emulator
command="sh benchmarks/aarch64.sh${1:+ $1 $2}"

# 1. let the kernel hand ARM programs to the emulator, as the package does where systemd runs
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || mount -t binfmt_misc binfmt_misc $formats
if [ ! -e $formats/qemu-aarch64 ]; then
    cat /usr/lib/binfmt.d/qemu-aarch64.conf > $formats/register
    trap 'echo -1 > /proc/sys/fs/binfmt_misc/qemu-aarch64' EXIT
fi

# 2. an empty system with Python 3.11, as Raspberry Pi OS has it
if [ ! -e "$root/.made" ]; then
    rm -rf "$root"
    debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv bookworm "$root"
    touch "$root/.made"
fi

# 3. the bundle, and the packages that its requirements name
rm -rf "$work/given" "$work/bundle" "$work/wheels" "$root/home/board" "$root/home/wheels"
if [ $# -eq 0 ]; then
    "$python" -m benchmarks.aarch64_check given "$work/given"
    set -- "$work/given/network.gossamer" "$work/given/pictures"
fi
"$python" -m gossamer bundle "$1" --out "$work/bundle" --pictures "$2"
"$python" -m gossamer detect "$1" "$2" --json "$work/here.jsonl" --threads 1
"$python" -m pip download --quiet --dest "$work/wheels" --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 --requirement "$work/bundle/requirements.txt"
cp -r "$work/bundle" "$root/home/board"
cp -r "$work/wheels" "$root/home/wheels"

# 4. all that README.md of the bundle says, in the system, which sees no network and none of this one's files; without
#    /sys, which would describe another processor than the emulated one (ONNX Runtime warns that it cannot look)
cat > "$root/home/steps.sh" <<'STEPS'
set -eux
cd /home/board
uname -m
python3 --version
python3 -m venv .venv
.venv/bin/pip install --quiet --no-index --find-links /home/wheels --requirement requirements.txt
.venv/bin/pip list --format=freeze
./check.sh
./run.sh pictures --out found --threads 1
./latency.sh --rounds 1 --threads 1 > /dev/null
STEPS
unshare --mount --net --fork sh -eu -c 'mount -t proc proc "$0/proc"; exec chroot "$0" /usr/bin/env -i HOME=/root \
    PATH=/usr/bin:/bin QEMU_CPU="$1" sh /home/steps.sh' "$root" "$cpu" > "$work/log.txt" 2>&1 || {
    cat "$work/log.txt"
    exit 1
}
cat "$work/log.txt"

# 5. what is kept of it
"$python" -m benchmarks.aarch64_check file "$work" "$cpu" "$command"
