"""Runs a command with input, bounded in time and output, and leaves no process behind. Knows no bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

OUTPUT_SIZE_MAX = 67_108_864  # the largest message
_COMPLAINT_SIZE_MAX = 1000
_READ_SIZE = 65536
_TERMINATE_S = 1.0  # from SIGTERM to SIGKILL


class Done(NamedTuple):
    """How a command ended: its status (negative: the signal that ended it), output, last line of stderr."""

    status: int
    output: bytes
    complaint: str


async def run_command(
    words: Sequence[str], data: bytes, environment: Mapping[str, str], timeout: float
) -> Done:
    """Run `words` with `data` on standard input.

    Raises TimeoutError after `timeout` seconds, OSError if it cannot be run or writes more than
    OUTPUT_SIZE_MAX bytes. If it was broken off, its process group is gone when this ends.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,  # a Ctrl-C in the terminal is for us, and it can be ended with its children
    )
    try:
        async with asyncio.timeout(timeout):
            _, output, complaint = await asyncio.gather(
                _feed(process.stdin, data), _read_all(process.stdout), _last_line(process.stderr)
            )
            status = await process.wait()
        return Done(status, output, complaint)
    finally:
        if process.returncode is None:
            await _end(process)


async def _feed(stdin: asyncio.StreamWriter | None, data: bytes) -> None:
    assert stdin is not None
    # A command need not read its input.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(data)
        await stdin.drain()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.close()
        await stdin.wait_closed()


async def _read_all(stdout: asyncio.StreamReader | None) -> bytes:
    assert stdout is not None
    chunks = []
    size = 0
    while chunk := await stdout.read(_READ_SIZE):
        chunks.append(chunk)
        size += len(chunk)
        if size > OUTPUT_SIZE_MAX:
            raise OSError(f"its output exceeds {OUTPUT_SIZE_MAX} bytes")
    return b"".join(chunks)


async def _last_line(stderr: asyncio.StreamReader | None) -> str:
    assert stderr is not None
    tail = b""
    while chunk := await stderr.read(_READ_SIZE):
        tail = (tail + chunk)[-_COMPLAINT_SIZE_MAX:]
    lines = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERMINATE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal_group(process.pid, signal.SIGKILL)  # also what it left behind
    await process.wait()


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
