"""A machine on which nobody has logged in: a mount namespace with an empty /run and an empty /tmp."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.rigs.tree import ROOT, remove

# The checkout may lie under what is hidden.
_HIDE = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/user /run/kept
mount --bind {root} /run/kept
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p {root}
[ -e {root}/pyproject.toml ] || mount --bind /run/kept {root}
cd {root}
exec "$@"
"""


def command(*words: str) -> list[str]:
    """A command as it runs on such a machine."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = _HIDE.format(root=shlex.quote(str(ROOT)))
    return ["unshare", "--mount", *user, "sh", "-c", script, "sh", *words]


def obstacle() -> str:
    """Why there is no such machine here; "" if there is."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` (Debian: util-linux)"
    tried = subprocess.run(command("true"), capture_output=True, text=True, timeout=20, check=False)
    return f"this system makes no mount namespaces: {tried.stderr}" if tried.returncode else ""


def runtime() -> Path:
    """The folder that login makes and logout removes."""
    return Path(f"/run/user/{os.geteuid()}")


def log_in() -> None:
    runtime().mkdir(0o700)


def log_out() -> None:
    remove(runtime())


def python(program: str) -> subprocess.Popen[str]:
    """A program of the user's, with pipes to its standard input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
