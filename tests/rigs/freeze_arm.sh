#!/bin/bash
# freeze_arm.sh FIRMWARE PROGRAM DEST [HEAP]: builds MicroPython for a Cortex-M3, QEMU's mps2-an385, with FIRMWARE, which
# `busway firmware --out FIRMWARE` has written, the files of the folder PROGRAM frozen in, cryptolib as boards have it, and a
# heap of HEAP bytes (20480), as DEST/firmware.elf.
#
# Needs gcc, make, Debian's apt and gcc-arm-none-eabi libnewlib-arm-none-eabi (qemu-system-arm runs it); installs nothing.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
firmware=$(realpath "$1")
program=$(realpath "$2")
mkdir -p "$3"
dest=$(realpath "$3")
heap=${4:-20480}
build=$dest/build-arm-$heap

"$here/micropython_source.sh" "$dest"
"$here/debian_source.sh" mbedtls "$dest/mbedtls"
cp -r "$here/arm" "$dest/"
ln -sfn "$dest/mbedtls" "$dest/arm/module/mbedtls"
printf 'include("%s/manifest.py")\nfreeze("%s")\n' "$firmware" "$program" > "$dest/manifest.py"
make -s -C "$dest/source/mpy-cross" CWARN=-Wall >/dev/null
make -s -C "$dest/source/ports/qemu" BOARD=MPS2_AN385 BOARD_DIR="$dest/arm" USER_C_MODULES="$dest/arm" BUILD="$build" \
    FROZEN_MANIFEST="$dest/manifest.py" MICROPY_HEAP_SIZE="$heap" >/dev/null
cp "$build/firmware.elf" "$dest/firmware.elf"
arm-none-eabi-size "$dest/firmware.elf"
