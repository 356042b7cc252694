#!/bin/bash
# freeze_micropython.sh FIRMWARE DEST: builds MicroPython's Unix port for 32-bit words with FIRMWARE frozen in, which
# `busway firmware --out FIRMWARE` has written, as DEST/micropython. It takes half a minute, and 6 MB of downloads.
#
#   busway firmware --out /tmp/board && tests/rigs/freeze_micropython.sh /tmp/board /tmp/frozen
#   python -m benchmarks.leaf_memory --frozen /tmp/frozen/micropython
#
# Needs gcc, make and Debian's apt, installs nothing. The source is Debian 13's. TLS, FFI, Bluetooth and databases are
# left out, for they need libraries of 32 bits; so SHA-1 is frozen in, too, as on boards without TLS.
set -euo pipefail
firmware=$(realpath "$1")
mkdir -p "$2"
dest=$(realpath "$2")

"$(dirname "$0")/micropython_source.sh" "$dest"

echo 'int main(void) { return 0; }' > "$dest/probe.c"
compiler="gcc -m32"
if ! $compiler -static "$dest/probe.c" -o "$dest/probe" 2>/dev/null; then
    (cd "$dest/debs" && apt-get -qq -o APT::Sandbox::User=root download libc6-dev-i386 libc6-i386 "lib32gcc-$(gcc -dumpversion)-dev")
    for package in "$dest"/debs/lib*.deb; do dpkg -x "$package" "$dest/root"; done
    gcc32=$dest/root/usr/lib/gcc/x86_64-linux-gnu/$(gcc -dumpversion)/32
    printf '#!/bin/sh\nexec gcc -m32 -B%q -B%q -L%q -L%q -I%q -I%q -idirafter /usr/include/x86_64-linux-gnu "$@"\n' \
        "$gcc32" "$dest/root/usr/lib32" "$gcc32" "$dest/root/usr/lib32" \
        "$dest/root/usr/include" "$dest/root/usr/include/x86_64-linux-gnu" > "$dest/gcc32"
    chmod +x "$dest/gcc32"
    compiler=$dest/gcc32
    "$compiler" -static "$dest/probe.c" -o "$dest/probe"
fi

make -s -C "$dest/source/mpy-cross" CWARN=-Wall >/dev/null
make -s -C "$dest/source/ports/unix" VARIANT=standard BUILD="$dest/build" FROZEN_MANIFEST="$firmware/manifest.py" \
    CC="$compiler" CWARN=-Wall LDFLAGS_EXTRA=-static MICROPY_PY_FFI=0 MICROPY_PY_SSL=0 MICROPY_SSL_MBEDTLS=0 \
    MICROPY_PY_BTREE=0 MICROPY_PY_BLUETOOTH=0 >/dev/null
cp "$dest/build/micropython" "$dest/micropython"
echo "$dest/micropython"
