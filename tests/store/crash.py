"""Kills stores, senders and receivers at random instants: nothing that was confirmed is lost, nothing is
taken twice, and the order is kept.

`python -m tests.store.crash --seed N --messages M` lets senders bring messages into a store, and receivers
take them once, each a process that is killed and begun anew, until M were confirmed. `--kills K` kills a
program that writes to a store's file alone, at each statement, then at random instants, K times; `--cuts C`
cuts its files short; `--disk` fills a small file system; with `--nats` two stores take turns at a NATS
server. Each prints a line, and raises what is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import busway
from busway.store.records import DISK_FULL, MAIL, OVERHEAD, StoreError
from busway.store.sqlite import SqliteBackend
from busway.store.tables import Entry, now_ms
from tests.rigs import nats_servers
from tests.rigs.tree import ROOT

NAMES = 3
WINDOW = 200
PAUSE_S = (0.4, 2.0)  # between two kills
DRAIN_S = 240.0
EACH = 60  # statements of a writer that begins, at each of which it is killed once
_NOTE = struct.Struct(">QQ")


# ---- the programs


async def sender(folder: Path, life: int) -> None:
    """Send for ever; note what was confirmed."""
    notes = os.open(folder / f"confirmed-{life}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with busway.AsyncBus(label="sender") as bus:
        number = 0

        async def send(each: int) -> None:
            payload = _NOTE.pack(life, each)
            await bus.send(f"crash/{each % NAMES}", payload, store=True, timeout=60.0)
            os.write(notes, _NOTE.pack(life, each))

        while True:
            async with asyncio.TaskGroup() as group:
                for _ in range(WINDOW):
                    group.create_task(send(number))
                    number += 1


async def receiver(folder: Path, which: int) -> None:
    """Take for ever, with what was taken in the same file."""
    async with busway.AsyncBus(label=f"receiver {which}") as bus:
        mail: Any = bus.register(f"crash/{which}", once=folder / f"taken-{which}.db")
        while True:
            batch = await mail.receive_many(64)
            with batch[0].once(*batch[1:]) as db:
                db.execute("CREATE TABLE IF NOT EXISTS results (place INTEGER PRIMARY KEY, life, number)")
                rows = [_NOTE.unpack(message.payload) for message in batch]
                db.executemany("INSERT INTO results (life, number) VALUES (?, ?)", rows)


async def keeper(folder: Path, _: int) -> None:
    """A store, in the folder or where the environment says."""
    place = os.environ.get("STORE_PLACE") or str(folder / "store")
    async with busway.AsyncBus(label="store") as bus, busway.Store(bus, place, keep=["crash/**"]):
        await asyncio.Event().wait()


ROLES = {"sender": sender, "receiver": receiver, "keeper": keeper}


class Program:
    """A process of a role, which is killed and begun anew."""

    def __init__(self, folder: Path, role: str, number: int, place: str = "") -> None:
        self.folder = folder
        self.place = place
        self.role = role
        self.number = number
        self.process = self.begun()

    def begun(self) -> subprocess.Popen[bytes]:
        words = ["-m", "tests.store.crash", "--role", self.role, str(self.folder), str(self.number)]
        environment = {**os.environ, "BUSWAY_DIR": str(self.folder / "bus"), "STORE_PLACE": self.place}
        with (self.folder / f"{self.role}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def again(self) -> None:
        self.kill()
        if self.role == "sender":
            self.number += 1
        self.process = self.begun()


# ---- the campaign


def confirmed(folder: Path) -> set[tuple[int, int]]:
    """What senders were told to be kept."""
    found = set()
    for path in folder.glob("confirmed-*"):
        data = path.read_bytes()
        found |= {_NOTE.unpack_from(data, at) for at in range(0, len(data) // 16 * 16, 16)}
    return found


def results(folder: Path) -> list[list[tuple[int, int]]]:
    """What each receiver has taken, in order."""
    found = []
    for which in range(NAMES):
        rows: list[tuple[int, int]] = []
        path = folder / f"taken-{which}.db"
        if path.exists():
            with contextlib.suppress(sqlite3.OperationalError):
                db = sqlite3.connect(path, timeout=10)
                rows = db.execute("SELECT life, number FROM results ORDER BY place").fetchall()
                db.close()
        found.append(rows)
    return found


def faults(kept: set[tuple[int, int]], taken: list[list[tuple[int, int]]]) -> list[str]:
    """What was lost, taken twice, or out of order."""
    wrong = []
    everything = [row for rows in taken for row in rows]
    if lost := kept - set(everything):
        wrong.append(f"{len(lost)} confirmed messages are lost, as {sorted(lost)[:3]}")
    if twice := len(everything) - len(set(everything)):
        wrong.append(f"{twice} messages were taken twice")
    for which, rows in enumerate(taken):
        last: dict[int, int] = {}
        for life, number in rows:
            if number <= last.get(life, -1):
                wrong.append(f"receiver {which}: {number} of sender {life} after {last[life]}")
                break
            last[life] = number
    return wrong


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A short folder, kept if something is wrong in it."""
    folder = Path(tempfile.mkdtemp(prefix="bw-store-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def campaign(seed: int, messages: int, seconds: float, nats: bool) -> str:
    """Until so many messages are confirmed, or so many seconds are over; with `nats` two stores at a real
    server, of which one is active. Raises AssertionError.
    """
    rng = random.Random(seed)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch())
        (folder / "bus").mkdir(mode=0o700)
        place = ""
        if nats:
            server = nats_servers.one(f'jetstream {{ store_dir: "{folder}/js" }}')
            place = f"{stack.enter_context(server).url}/crash"
        programs = [Program(folder, "sender", 0)]
        programs += [Program(folder, "keeper", number, place) for number in range(1 + nats)]
        programs += [Program(folder, "receiver", which) for which in range(NAMES)]
        kills = dict.fromkeys(ROLES, 0)
        began = time.monotonic()
        try:
            while len(confirmed(folder)) < messages and time.monotonic() < began + seconds:
                time.sleep(rng.uniform(*PAUSE_S))
                victim = rng.choice(programs)
                kills[victim.role] += 1
                victim.again()
            programs[0].kill()
            kept = confirmed(folder)
            until = time.monotonic() + DRAIN_S
            while time.monotonic() < until and sum(map(len, results(folder))) < len(kept):
                time.sleep(0.3)
            time.sleep(1.0)  # for what should not come any more
        finally:
            for program in programs:
                program.kill()
        taken = results(folder)
        wrong = faults(kept, taken)
        assert not wrong, f"seed {seed}, in {folder}: {'; '.join(wrong)}"
        killed = ", ".join(f"{count} of {role}s" for role, count in kills.items())
        return (
            f"{len(kept):,} confirmed, {sum(map(len, taken)):,} taken, each once and in order;"
            f" killed {killed} in {time.monotonic() - began:.0f} s"
        )


# ---- the file alone


def entry(number: int) -> Entry:
    data = number.to_bytes(8, "big") * 16
    ident = bytes(16) + number.to_bytes(8, "big")
    size = len(data) + OVERHEAD
    return Entry(0, MAIL, "crash/0", bytes(16), bytes(16), "", ident, now_ms(), 0, 1, 0, 0, b"", data, size)


async def write(folder: Path, first: int, told: int, statement: int) -> None:
    """Put for ever; tell what was committed. Ends itself at a statement, if that is not 0."""
    backend = SqliteBackend(folder)
    count = 0

    def trace(_: str) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    if statement:
        backend._writer.db.set_trace_callback(trace)

    async def put(number: int) -> None:
        places = await backend.commit([("put", bytes(16), number, now_ms(), [entry(number)])])
        os.write(told, number.to_bytes(8, "big"))
        if number % 3 == 0:
            await backend.commit([("remove", places[0])])

    number = first
    while True:
        await asyncio.gather(*(put(number + each) for each in range(7)))
        number += 7


def numbers(folder: Path) -> list[int]:
    """All that is in a store's file, in order. Raises StoreError."""

    async def read() -> list[int]:
        backend = SqliteBackend(folder)
        found = [
            int.from_bytes(row.id[16:], "big") for row in backend.tables.mail(bytes(16), (0, 0), 0, 10**9)
        ]
        await backend.close()
        return found

    return asyncio.run(read())


def kills(seed: int, count: int, folder: Path) -> str:
    """Kill a writer so often, if that is enough at each of its first statements, and at random; after each
    the file has all that was told. Raises AssertionError.
    """
    rng = random.Random(seed)
    first = 0
    told: set[int] = set()
    each = [*range(1, EACH + 1)] if count >= EACH else []
    for turn in range(count):
        statement = each[turn] if turn < len(each) else rng.choice((0, rng.randrange(1, 400)))
        read, written = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                asyncio.run(write(folder, first, written, statement))
            finally:
                os._exit(1)
        os.close(written)
        if not statement:
            time.sleep(rng.uniform(0.02, 0.25))
            os.kill(child, signal.SIGKILL)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        told |= {int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data) // 8 * 8, 8)}
        found = numbers(folder)
        assert found == sorted(set(found)), f"seed {seed}: out of order, or twice"
        lost = {number for number in told if number % 3} - set(found)
        assert not lost, f"seed {seed}: lost {sorted(lost)[:5]}"
        first = max([first, *told, *found]) + 1
    return f"{count} kills of a writer, {len(told):,} told, none lost"


def cuts(seed: int, count: int, folder: Path) -> str:
    """Cut the files short: the store begins with a beginning of what it had, or refuses."""
    rng = random.Random(seed)
    whole = folder / "whole"
    kills(seed, 6, whole)
    before = numbers(whole)
    child = os.fork()
    if child == 0:  # leaves a log behind
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            asyncio.run(write(whole, before[-1] + 1, null, 500))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    refused = kept = 0
    for turn in range(count):
        damaged = folder / f"cut-{turn}"
        shutil.copytree(whole, damaged)
        victim = damaged / rng.choice(("store.db", "store.db-wal"))
        size = victim.stat().st_size
        os.truncate(victim, rng.randrange(size))
        try:
            found = numbers(damaged)
        except StoreError:
            refused += 1
        else:
            kept += 1
            assert found == sorted(set(found)), f"seed {seed}, turn {turn}: out of order, or twice"
            if victim.name.endswith("-wal"):
                assert set(before) - {n for n in before if n % 3 == 0} <= set(found) | {0}, (
                    f"seed {seed}, turn {turn}: what was in the file itself is lost"
                )
        shutil.rmtree(damaged)
    return f"{count} cuts: {kept} began with what was left, {refused} were refused"


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A file system of that size there; False if this user may not make one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def fill(folder: Path) -> tuple[int, int]:
    """Put until the disk is full, remove some, and go on; how many were told at first, and then."""
    backend = SqliteBackend(folder / "store", reserve=1 << 20)
    told = []
    number = 0
    with contextlib.suppress(StoreError):
        while True:
            big = entry(number)._replace(payload=bytes(20_000))
            places = await backend.commit([("put", bytes(16), number, now_ms(), [big])])
            told.append(places[0][0])
            number += 1
    code = 0
    try:
        await backend.commit([("put", bytes(16), number, now_ms(), [entry(number)])])
    except StoreError as error:
        code = error.code
    assert code == DISK_FULL, "it took more than there is room for"
    assert [row.pos for row in backend.tables.mail(bytes(16), (0, 0), 0, 10**9)] == told
    for place in told[: len(told) // 2]:
        await backend.commit([("remove", [place])])
    await backend.close()
    backend = SqliteBackend(folder / "store", reserve=1 << 20)
    left = [row.pos for row in backend.tables.mail(bytes(16), (0, 0), 0, 10**9)]
    assert left == told[len(told) // 2 :]
    await backend.close()
    return len(told), len(left)


def disk(folder: Path) -> str:
    """Fill a disk. Raises AssertionError."""
    with small_disk(folder / "disk", "8m") as there:
        if not there:
            return "a small disk was left out: only root may mount one"
        told, left = asyncio.run(fill(folder / "disk"))
    return (
        f"a full disk refused; all {told} that it had taken were there, and {left} after half were done with"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--nats", action="store_true")
    parser.add_argument("--role", nargs=3, metavar=("ROLE", "FOLDER", "NUMBER"))
    options = parser.parse_args()
    if options.role:
        role, folder, number = options.role
        asyncio.run(ROLES[role](Path(folder), int(number)))
        return
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with scratch() as place:
        if options.kills:
            print(kills(seed, options.kills, place / "kills"), flush=True)
        if options.cuts:
            print(cuts(seed, options.cuts, place), flush=True)
        if options.disk:
            print(disk(place), flush=True)
    if options.messages:
        print(campaign(seed, options.messages, options.seconds, options.nats), flush=True)


if __name__ == "__main__":
    main()
