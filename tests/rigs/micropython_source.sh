#!/bin/bash
# micropython_source.sh DEST: MicroPython's source, Debian 13's, as DEST/source. 6 MB of downloads; nothing is installed.
set -euo pipefail
"$(dirname "$0")/debian_source.sh" micropython "$1/source"
mkdir -p "$1/source/lib/micropython-lib"
touch "$1/source/lib/micropython-lib/README.md"  # what make asks for; nothing of it is frozen
