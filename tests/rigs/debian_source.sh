#!/bin/bash
# debian_source.sh PACKAGE DEST: the source of a package of Debian 13, as its authors made it, as DEST. Nothing is installed.
set -euo pipefail
package=$1
[ ! -d "$2" ] || exit 0
dest=$(realpath -m "$2")

uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '/debian/?$' | head -n1)
[ -n "$uri" ] || { echo "No Debian archive in this machine's apt sources; run apt-get update first." >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/{lists,cache,state,debs,source}
: > "$scratch/state/status"
printf 'Types: deb-src\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$uri" > "$scratch/trixie.sources"
options=(-qq -o Dir::Etc::sourcelist="$scratch/trixie.sources" -o Dir::Etc::sourceparts=- -o Dir::State="$scratch/state"
    -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o Dir::State::status="$scratch/state/status"
    -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$scratch/debs" && apt-get "${options[@]}" --download-only source "$package")
tar -xf "$scratch"/debs/*.orig.tar.* -C "$scratch/source" --strip-components=1
mkdir -p "$(dirname "$dest")"
mv "$scratch/source" "$dest"
