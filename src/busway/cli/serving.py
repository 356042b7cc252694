"""`busway serve`: an external command answers requests."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from typing import Any

import click

from busway import tokens
from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.failures import Failure
from busway.cli.options import (
    Examples,
    Place,
    check_endpoint,
    joins,
    json_option,
    policy_option,
    timeout_option,
)
from busway.cli.payload import JSON, interpret
from busway.cli.process import run_command
from busway.cli.talk import KINDS, REALMS
from busway.errors import EndpointTaken, RemoteError
from busway.protocol import Request

CODE_BASE = 256  # plus the command's exit status: the code of the remote error
_STATUS_TIMEOUT = 124  # as timeout(1) has it
_STATUS_CANNOT_RUN = 126
_STATUS_SIGNAL = 128


class Task:
    """How the command is run: `words`, whether it speaks JSON (`as_json`), and `timeout` in seconds."""

    def __init__(
        self, bus: AsyncBus, name: str, words: tuple[str, ...], as_json: bool, timeout: float
    ) -> None:
        self.bus = bus
        self.name = name
        self.words = words
        self.as_json = as_json
        self.timeout = timeout
        self.mute = False  # nobody reads our lines any more, which is no reason to stop serving

    async def answer(self, request: Request) -> object:
        """Run the command for one request. Raises RemoteError with what it said."""
        try:
            done = await run_command(
                self.words, self._input(request), self._environment(request), self.timeout
            )
        except TimeoutError:
            sentence = f"the command took longer than {self.timeout:g} s"
            raise RemoteError(CODE_BASE + _STATUS_TIMEOUT, sentence) from None
        except OSError as error:
            raise RemoteError(CODE_BASE + _STATUS_CANNOT_RUN, f"the command cannot be run: {error}") from None
        if done.status:
            status = done.status if done.status > 0 else _STATUS_SIGNAL - done.status
            raise RemoteError(
                CODE_BASE + status, done.complaint or f"the command ended with exit status {status}"
            )
        return self._reply(done.output)

    def _input(self, request: Request) -> bytes:
        payload = request.payload
        if isinstance(payload, bytes) and not self.as_json:
            return payload
        if isinstance(payload, str) and not self.as_json:
            return payload.encode()
        return output.json_text(payload).encode() + b"\n"

    def _reply(self, data: bytes) -> object:
        if not self.as_json:
            return data
        try:
            return interpret(data, JSON)
        except Failure:
            raise RemoteError(CODE_BASE, "the command's output is no JSON") from None

    def _environment(self, request: Request) -> dict[str, str]:
        return {
            **tokens.without(os.environ),
            "BUSWAY_BUS": self.bus.node.bus,
            "BUSWAY_ENDPOINT": self.name,
            "BUSWAY_SOURCE": output.uuid_text(request.source),
            "BUSWAY_SOURCE_LABEL": request.flow.peer.label.replace("\0", ""),
        }


@click.command(cls=Examples, context_settings={"ignore_unknown_options": False})
@click.argument("name", metavar="NAME", callback=check_endpoint)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True)
@click.option("-j", "--json-payload", is_flag=True, help="Payload and reply are JSON for the command.")
@click.option(
    "--limit",
    type=click.IntRange(1, 4096),
    default=8,
    show_default=True,
    metavar="N",
    help="Commands at once.",
)
@click.option("--kind", type=KINDS, default="anycast", show_default=True, help="What to register as.")
@click.option(
    "--realm", type=REALMS, default="localnet", show_default=True, help="From how far it can be reached."
)
@click.option(
    "-q", "--quiet", is_flag=True, help="No line for each request, and none on stderr at the start."
)
@timeout_option(30.0, "How long one command may take, in seconds.")
@json_option("One JSON document a line for each request.")
@joins
@policy_option
def serve(
    place: Place,
    name: str,
    words: tuple[str, ...],
    json_payload: bool,
    limit: int,
    kind: Any,
    realm: Any,
    quiet: bool,
    timeout: float,
    as_json: bool,
) -> int:
    """Examples:
      busway serve lab/upper -- tr a-z A-Z
      busway serve lab/disk -- df -h /
      busway serve lab/sum -j -- jq 'add'
      busway serve lab/pump --kind unicast --limit 1 --timeout 5 -- ./pump.sh

    For each request the command is started once. On its standard input it reads the payload: bytes as they
    are, text as UTF-8, any other value as JSON. What it writes to standard output is the reply, as bytes;
    with -j the payload always comes as JSON, and the reply is the value that the output is in JSON. Its
    environment has BUSWAY_BUS, BUSWAY_ENDPOINT, BUSWAY_SOURCE (the asking node's id) and BUSWAY_SOURCE_LABEL,
    and no BUSWAY_TOKEN.

    An exit status that is not 0 is a remote error with code 256 + status and the last line of its standard
    error as message; 124 for a command that --timeout ended. One line is printed for each request. Ctrl-C
    ends it.
    """
    if shutil.which(words[0]) is None:
        raise Failure(
            failures.USAGE, f"{words[0]!r} is no command that can be run: check the name and its x permission"
        )

    async def job(bus: AsyncBus) -> int:
        task = Task(bus, name, words, json_payload, timeout)

        async def handler(request: Request) -> object:
            return await _logged(task, request, quiet, as_json)

        try:
            bus.serve(name, handler, kind=kind, realm=realm, limit=limit)
        except EndpointTaken:
            held = f"{name} is held by {session.holders_text(bus, name)} as {session.kind_of(bus, name)}"
            raise Failure(
                failures.NEGATIVE, f"{held}: choose another name or --kind", "ENDPOINT_TAKEN"
            ) from None
        if not quiet:
            output.note(f"serving {name} on bus {place.bus!r} with {words[0]}")
        await _for_ever()
        return failures.OK

    return session.run(place, "serve", job, leaf=False, endless=True)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def _logged(task: Task, request: Request, quiet: bool, as_json: bool) -> object:
    began = time.perf_counter()
    error: RemoteError | None = None
    reply: object = None
    try:
        reply = await task.answer(request)
    except RemoteError as raised:
        error = raised
    if not quiet and not task.mute:
        try:
            _tell(task.name, request, error, (time.perf_counter() - began) * 1000, as_json)
        except output.Closed:
            task.mute = True
    if error is not None:
        raise error
    return reply


def _tell(name: str, request: Request, error: object, spent_ms: float, as_json: bool) -> None:
    source = request.source_label  # now: it may have become known meanwhile
    code = error.code if isinstance(error, RemoteError) else 0
    said = error.message if isinstance(error, RemoteError) else ""
    if as_json:
        output.say_json(
            {
                "time": round(time.time(), 3),
                "endpoint": name,
                "source": output.uuid_text(request.source),
                "source_label": source,
                "code": code,
                "message": said,
                "ms": round(spent_ms, 3),
            }
        )
        return
    outcome = (
        click.style(f"error {code}: {output.printable(said)}", fg="red")
        if code
        else click.style("ok", fg="green")
    )
    who = output.node_text(request.source, source)
    output.say(
        f"{output.clock_text()}  {output.printable(name)}  {who}  {outcome}  {output.duration_text(spent_ms)}"
    )
