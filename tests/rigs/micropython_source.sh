#!/bin/bash
# micropython_source.sh DEST: MicroPython's source, Debian 13's, as DEST/source. 6 MB of downloads; nothing is installed.
set -euo pipefail
mkdir -p "$1"
dest=$(realpath "$1")

uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '/debian/?$' | head -n1)
[ -n "$uri" ] || { echo "No Debian archive in this machine's apt sources; run apt-get update first." >&2; exit 1; }

if [ ! -d "$dest/source" ]; then
    mkdir -p "$dest"/{apt/lists,apt/cache,apt/state,debs,source}
    : > "$dest/apt/state/status"
    printf 'Types: deb-src\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
        "$uri" > "$dest/apt/trixie.sources"
    options=(-qq -o Dir::Etc::sourcelist="$dest/apt/trixie.sources" -o Dir::Etc::sourceparts=- -o Dir::State="$dest/apt/state"
        -o Dir::State::lists="$dest/apt/lists" -o Dir::Cache="$dest/apt/cache" -o Dir::State::status="$dest/apt/state/status"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$dest/debs" && apt-get "${options[@]}" --download-only source micropython)
    tar -xf "$dest"/debs/micropython_*.orig.tar.xz -C "$dest/source" --strip-components=1
    mkdir -p "$dest/source/lib/micropython-lib"
    touch "$dest/source/lib/micropython-lib/README.md"  # what make asks for; nothing of it is frozen
fi
