"""Brokers that some rivals need: nats-server and dbus-daemon, each private to one team."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

START_S = 10.0
MESSAGE_MOST = 64 * 1024 * 1024

# The limits of Debian's session.conf; nobody else can reach the socket, whose folder is this user's.
DBUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={place}/dbus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
</busconfig>
"""


class BrokerFailed(Exception):
    """A broker did not start."""


def command_of(name: str) -> str | None:
    """The program, beside this Python or on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def version_of(name: str) -> str:
    """The first line that `--version` prints."""
    command = command_of(name)
    if command is None:
        return ""
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].strip()


class Broker:
    """A broker in the folder `place`."""

    def __init__(self, name: str, place: str) -> None:
        self.place, self._errors = Path(place), Path(place, "broker.log")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(self._words(name), stdout=errors, stderr=errors)
        self.pid = self._process.pid
        try:
            self._wait(name)
        except BaseException:
            self.end()
            raise

    def _words(self, name: str) -> list[str]:
        command = command_of(name) or name
        if name == "nats-server":
            return [command, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(self.place)]
        config = self.place / "dbus.conf"
        config.write_text(DBUS.format(place=self.place))
        return [command, f"--config-file={config}", "--nofork", "--nopidfile"]

    def _wait(self, name: str) -> None:
        """Until it takes connections: nats-server writes its port to a file, dbus-daemon makes its socket."""
        until = time.monotonic() + START_S
        while not (nats_url(self.place) if name == "nats-server" else (self.place / "dbus").exists()):
            if self._process.poll() is not None or time.monotonic() > until:
                raise BrokerFailed(f"{name} did not start: {self._errors.read_text(errors='replace')[-500:]}")
            time.sleep(0.01)

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def nats_url(place: str | Path) -> str:
    """Where nats-server listens; "" as long as it does not."""
    for file in Path(place).glob("nats-server_*.ports"):
        try:
            return str(json.loads(file.read_text())["nats"][0])
        except (ValueError, KeyError, IndexError):
            pass  # it is being written
    return ""
