"""`busway pair`: two machines enter each other's keys in their trust files, once people have compared six
words on both screens. Joins no bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable

import click

from busway import settings, trust
from busway.cli import failures, keys, output
from busway.cli.options import Examples, json_option
from busway.drivers import tcp
from busway.errors import KeyFileError, TrustFileError
from busway.keys import Key, public_text
from busway.pairing import COMPARING, NONCE_SIZE, PAIRED, Pairing
from busway.trust import Trusted, TrustFile

PORT = 7661  # beside the bus's own
_DIAL_S = 10.0  # until somebody takes the connection, as long as links try
_WORDS_S = 15.0  # until there are words: nobody has to think
_PEOPLE_S = 600.0  # for who walks to the other screen
_READ_SIZE = 4096
_ANSWERS = {b"yes": True, b"y": True, b"no": False, b"n": False}
_INCOMING_MAX = 8  # who come and have not got as far as words


@click.command(cls=Examples)
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "--listen", "listen_url", metavar="URL", help="Wait there for the other machine's `busway pair`."
)
@click.option("--key", "key_path", metavar="FILE", help="The key of this machine; also from BUSWAY_KEY.")
@click.option(
    "--trust", "trust_path", metavar="FILE", help="Where to enter the other; also from BUSWAY_TRUST."
)
@click.option("--name", metavar="TEXT", help="Enter the other by this name.  [default: as it calls itself]")
@click.option(
    "--role",
    type=click.Choice(trust.ROLES),
    default="router",
    show_default=True,
    help="Of the other: a router may forward for others, a leaf speaks for itself only.",
)
@json_option("JSON lines: where it listens, the words, what was entered.")
def pair(
    url: str | None,
    listen_url: str | None,
    key_path: str | None,
    trust_path: str | None,
    name: str | None,
    role: str,
    as_json: bool,
) -> int:
    """Examples:
      busway pair --listen tcp://0.0.0.0:7661        at one machine
      busway pair tcp://192.168.1.20:7661            at the other

    Both show six words. Answer yes at both if they are the same at both; then each has the other's key in its
    trust file, and programs that have that file as --trust or trust= let it in, running ones at once. If they
    are not the same somebody is in between: answer no. The answer is one line on standard input, yes or no;
    anything else is asked again.

    The key is key.pem in ~/.config/busway, made if it is not there, and the trust file trust.toml beside it,
    unless --key and --trust say otherwise; give the bridge the same two files. The default port is 7661.
    """
    if (url is None) == (listen_url is None):
        raise click.UsageError("give a URL, or --listen URL: one machine waits for the other")
    if name is not None and (problem := settings.name_problem(name)):
        raise click.BadParameter(problem, param_hint="--name")
    try:
        meeting = Meeting(_key(key_path), trust_path or trust.usual_path(), name, role, as_json)
        return asyncio.run(meeting.meet(_place(url or listen_url or ""), dialled=url is not None))
    except KeyFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "KEY_FILE") from None
    except TrustFileError as error:
        raise failures.Failure(failures.NEGATIVE, str(error), "TRUST_FILE") from None


def _key(path: str | None) -> Key:
    where = path or keys.usual_path()
    if path is None and not os.path.lexists(where):
        keys.make(where, encrypted=False)
        output.note(f"made the key of this machine: {where}")
    return keys.load(where)


def _place(url: str) -> tuple[str, int]:
    scheme, marks, rest = url.partition("://")
    plain = url if marks else f"tcp://{scheme}"
    if not (rest or scheme).rpartition("]")[2].count(":"):
        plain = f"{plain}:{PORT}"
    try:
        return tcp.parse(plain, listening=True)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


class Meeting:
    """One of the two machines, and the person at it."""

    def __init__(self, key: Key, trust_path: str, name: str | None, role: str, as_json: bool) -> None:
        self._key = key
        self._path = trust_path
        self._name = name
        self._role = role
        self._as_json = as_json
        self._known = TrustFile(trust_path).entries if os.path.lexists(trust_path) else []

    async def meet(self, place: tuple[str, int], dialled: bool) -> int:
        """Pair with who is at `place`, or comes there; returns the exit status."""
        try:
            line = await (self._dial(place) if dialled else self._wait(place))
        except OSError as error:
            text = failures.with_remedy(f"{_url(*place)}: {_reason(error)}", "`busway pair --listen` waiting")
            raise failures.Failure(failures.NO_BUS, text) from None
        try:
            if line.work.public == self._key.public:
                text = "both sides have the same key: make another at one machine, with `busway key new`"
                raise failures.Failure(failures.NEGATIVE, text, "NOT_PAIRED")
            await self._compare(line)
            if line.work.state != PAIRED:
                raise _not_paired(line.work)
            self._enter(line.work)
            return failures.OK
        finally:
            await line.close()

    async def _dial(self, place: tuple[str, int]) -> Line:
        with output.noted_if_slow(f"waiting for {_url(*place)} to answer"):
            try:
                ends = await asyncio.wait_for(asyncio.open_connection(*place), _DIAL_S)
            except TimeoutError:
                raise OSError(f"no answer within {_DIAL_S:g} s") from None
            line = self._line(*ends, True, lambda: True)
            try:
                await line.get_words()
            except BaseException:
                await line.close()
                raise
        return line

    async def _wait(self, place: tuple[str, int]) -> Line:
        """The first who comes and commits itself as `busway pair` does. Who never gets so far does not end
        it; who breaks off then does, for that may be a guess at the words.
        """
        found: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        present: set[Line] = set()
        taken = False

        def may_tell() -> bool:
            nonlocal taken
            first, taken = not taken, True
            return first

        async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(present) == _INCOMING_MAX or taken:
                writer.close()
                return
            line = self._line(reader, writer, False, may_tell)
            present.add(line)
            try:
                await line.get_words()
            except failures.Failure as failure:
                await line.close()
                if line.work.told and not found.done():
                    found.set_exception(_broken_off(failure))
                return
            finally:
                present.discard(line)
            found.set_result(line)

        server = await asyncio.start_server(came, *place)
        url = _url(*server.sockets[0].getsockname()[:2])
        self._tell(
            {"what": "listening", "url": url}, f"waiting at {url} for `busway pair` of the other machine"
        )
        try:
            return await found
        finally:
            server.close()

    def _line(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        dialled: bool,
        may_tell: Callable[[], bool],
    ) -> Line:
        from busway.primitives import PRIMITIVES

        name, nonce = socket.gethostname(), os.urandom(NONCE_SIZE)
        return Line(Pairing(PRIMITIVES, self._key.pair, dialled, name, nonce, may_tell), reader, writer)

    async def _compare(self, line: Line) -> None:
        """Show the words, and have both people say whether they are the same."""
        work, name = line.work, self._name_for(line.work)
        text = public_text(work.public)
        fields = {"what": "words", "words": work.words, "key": text, "name": name}
        self._tell(fields, f"{output.printable(name)} has the key {text}\n\n    {work.words}\n")
        output.note(
            f"the same six words on the other screen? yes: it may join as {self._role}; no: it may not"
        )
        following = asyncio.create_task(line.follow(PAIRED))
        answering = asyncio.create_task(_answer())
        try:
            async with asyncio.timeout(_PEOPLE_S):
                await asyncio.wait([following, answering], return_when=asyncio.FIRST_COMPLETED)
                if work.state == COMPARING:
                    work.answer(await answering)
                    line.write()
                with output.noted_if_slow("waiting for the answer at the other machine"):
                    await following
        except TimeoutError:
            raise failures.Failure(failures.UNKNOWN, "not paired: one of both gave no answer") from None
        finally:
            following.cancel()
            answering.cancel()

    def _name_for(self, work: Pairing) -> str:
        """The name in the trust file: the one it has there, or one that nobody has."""
        for each in self._known:
            if each.public == work.public:
                return each.name
        if self._name is not None:
            return self._name
        base = work.name or "other"
        taken = {each.name for each in self._known}
        names = [base, *(f"{base}-{number}" for number in range(2, trust.KEYS_MAX + 2))]
        return next(name for name in names if name not in taken and not settings.name_problem(name))

    def _enter(self, work: Pairing) -> None:
        name = self._name_for(work)
        trusted = Trusted(name, work.public, self._role)
        fields = {"what": "paired", "name": name, "role": self._role, "key": public_text(work.public)}
        if trusted in self._known:
            text = f"{output.printable(name)} is in {self._path} already, as {self._role}"
        else:
            os.makedirs(os.path.dirname(os.path.abspath(self._path)), mode=0o700, exist_ok=True)
            trust.append(self._path, trusted)
            text = f"{output.printable(name)} may join as {self._role}: it is entered in {self._path}"
        self._tell(fields | {"file": self._path}, text)

    def _tell(self, fields: dict[str, str], text: str) -> None:
        if self._as_json:
            output.say_json(fields)
        else:
            output.say(text)


class Line:
    """A connection to the other machine, and how far the pairing over it is."""

    def __init__(self, work: Pairing, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.work = work
        self._reader = reader
        self._writer = writer

    async def get_words(self) -> None:
        """Raises Failure if there are none."""
        try:
            async with asyncio.timeout(_WORDS_S):
                await self.follow(COMPARING)
        except TimeoutError:
            text = f"not paired: the other side said nothing for {_WORDS_S:g} s"
            raise failures.Failure(failures.NO_BUS, text) from None
        if self.work.state != COMPARING:
            raise _not_paired(self.work)

    async def follow(self, until: int) -> None:
        """Move bytes until the pairing has got so far, or is over."""
        self.write()
        while self.work.state < until:
            try:
                data = await self._reader.read(_READ_SIZE)
            except OSError:
                data = b""
            if data:
                self.work.receive_data(data)
            else:
                self.work.receive_eof()
            self.write()

    def write(self) -> None:
        self._writer.write(self.work.data_to_send())

    async def close(self) -> None:
        """All that was written leaves first."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _not_paired(work: Pairing) -> failures.Failure:
    return failures.Failure(failures.NEGATIVE, f"not paired: {output.printable(work.trouble)}", "NOT_PAIRED")


def _broken_off(failure: failures.Failure) -> failures.Failure:
    """Of who listens: somebody had begun, and may have guessed at the words."""
    text = f"{failure.message}; somebody began to pair, and broke off. Begin anew at both machines"
    return failures.Failure(failures.NEGATIVE, text, "NOT_PAIRED")


def _reason(error: OSError) -> str:
    """The reason in the system's words: asyncio has others."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def _url(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


async def _answer() -> bool:
    """The next line of standard input that says yes or no; its end is a no."""
    loop = asyncio.get_running_loop()
    said: asyncio.Future[bool] = loop.create_future()
    kept = bytearray()
    fd = sys.stdin.fileno()

    def read() -> None:
        if (answer := _answer_in(kept, os.read(fd, _READ_SIZE))) is not None and not said.done():
            said.set_result(answer)

    try:
        loop.add_reader(fd, read)
    except PermissionError:  # a file: there is nothing to wait for
        answer = _answer_in(kept, os.read(fd, _READ_SIZE))
        return answer is True or (answer is None and _answer_in(kept, b"") is True)
    try:
        return await said
    finally:
        loop.remove_reader(fd)


def _answer_in(kept: bytearray, data: bytes) -> bool | None:
    """The answer in the lines so far, `data` just read; None: none yet. A slip of the finger is no answer,
    for a no would end the pairing at both machines.
    """
    if not data:
        return _ANSWERS.get(_word(kept), False)
    *lines, rest = (kept + data).split(b"\n")
    kept[:] = rest[-_READ_SIZE:]
    for line in lines:
        if (answer := _ANSWERS.get(_word(line))) is not None:
            return answer
        output.note("yes or no?")
    return None


def _word(line: bytes | bytearray) -> bytes:
    return bytes(line.strip().lower())
