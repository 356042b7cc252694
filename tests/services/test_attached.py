"""Methods that take and give files: on both sorts of bus, between two over a Unix socket."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pytest

import busway
from busway.services.contracts import outline_of
from busway.services.describing import describe
from busway.services.stubs import stub
from tests.adapters import threads_tools
from tests.adapters.test_files import Pipe, opened
from tests.adapters.tools import until
from tests.rigs import held

pytestmark = pytest.mark.usefixtures("patient")


def text_of(file: busway.File) -> str:
    with file:
        return os.pread(file.fileno(), 100, 0).decode()


@busway.service("lab/editor", version=2)
class Editor(busway.Contract, Protocol):
    """A contract with files."""

    async def upper(self, text: busway.Attached[str], *, times: int = 1) -> busway.Attached[dict[str, int]]:
        """Files in, files out."""
        raise NotImplementedError

    async def size(self, file: busway.Attached) -> int:
        raise NotImplementedError

    async def closes(self, file: busway.Attached[None]) -> bool:
        raise NotImplementedError

    async def wrong(self) -> busway.Attached[int]:
        raise NotImplementedError

    def each(self, count: int) -> AsyncIterator[busway.Attached[int]]:
        raise NotImplementedError


def raised(text: busway.Attached[str], times: int) -> busway.Attached[dict[str, int]]:
    content = "".join(text_of(file) for file in text.files) + text.payload
    for region in text.regions:
        content += bytes(region.view[:4]).decode()
        region.close()
    with opened(content.upper() * times) as file:
        return busway.Attached({"size": len(content) * times}, files=[file])


class AsyncEditor:
    """Serves it."""

    def __init__(self) -> None:
        self.held: Pipe | None = None

    async def upper(self, text: busway.Attached[str], *, times: int = 1) -> busway.Attached[dict[str, int]]:
        return raised(text, times)

    async def size(self, file: busway.Attached) -> int:
        return len(text_of(file.files[0])) if file.files else -1

    async def closes(self, file: busway.Attached[None]) -> bool:
        for each in file.files:
            each.close()
        assert self.held is not None
        await until(self.held.closed)
        return True

    async def wrong(self) -> Any:
        return 5

    async def each(self, count: int) -> AsyncIterator[busway.Attached[int]]:
        for number in range(count):
            with opened(str(number)) as file:
                yield busway.Attached(number, files=[file])


class ThreadEditor:
    """The same with threads."""

    def upper(self, text: busway.Attached[str], *, times: int = 1) -> busway.Attached[dict[str, int]]:
        return raised(text, times)

    def size(self, file: busway.Attached) -> int:
        return len(text_of(file.files[0]))

    def closes(self, file: busway.Attached[None]) -> bool:
        return not file.files

    def wrong(self) -> Any:
        return 5

    def each(self, count: int) -> Iterator[busway.Attached[int]]:
        for number in range(count):
            with opened(str(number)) as file:
                yield busway.Attached(number, files=[file])


@contextlib.asynccontextmanager
async def joined(server: Any) -> AsyncIterator[tuple[busway.AsyncBus, Editor]]:
    before = held.count()
    async with busway.AsyncBus(label="server") as one, busway.AsyncBus(label="client") as two:
        one.host(server, Editor)
        yield two, two.client(Editor).using(ttl=30.0)
    await until(lambda: held.count() <= before)


async def test_arguments_and_results_bring_files() -> None:
    async with joined(AsyncEditor()) as (_, editor):
        region = busway.Region(4096)
        region.view[:4] = b"more"
        with opened("ab") as file:
            given = busway.Attached("c", files=[file, file], regions=[region])
        region.close()
        for times in (1, 2):  # the caller's own, which may be given again
            found = await editor.upper(given, times=times)
            assert found.payload == {"size": 9 * times}
            assert [text_of(each) for each in found.files] == ["ABABCMORE" * times]
            del found
        del given
        with opened("text") as file:
            assert await editor.size(busway.Attached(files=[file])) == 4
        parts = [(part.payload, text_of(part.files[0])) async for part in editor.each(3)]
        assert parts == [(0, "0"), (1, "1"), (2, "2")]


def test_so_they_do_with_threads() -> None:
    before = held.count()
    with busway.Bus(label="server") as one, busway.Bus(label="client") as two:
        one.host(ThreadEditor(), Editor)
        editor: Any = two.client(Editor).using(ttl=30.0)
        with opened("ab") as file:
            found = editor.upper(busway.Attached("c", files=[file]))
            assert (found.payload, text_of(found.files[0])) == ({"size": 3}, "ABC")
            assert editor.size(busway.Attached(files=[file])) == 2
        assert [(part.payload, text_of(part.files[0])) for part in editor.each(2)] == [(0, "0"), (1, "1")]
        with pytest.raises(busway.RemoteError):
            editor.wrong()
        del found
    threads_tools.until(lambda: held.count() <= before)


async def test_what_was_given_is_kept_open_by_nobody() -> None:
    server = AsyncEditor()
    async with joined(server) as (_, editor):
        server.held = pipe = Pipe()
        given = busway.Attached(None, files=[pipe.writer])
        pipe.writer.close()
        call = editor.closes(given)
        del given
        assert await call
        await pipe.ends()


async def test_who_knows_of_no_files_gives_and_gets_the_value() -> None:
    async with joined(AsyncEditor()) as (bus, _):
        assert await bus.request("lab/editor", ["upper", {"text": "a"}], ttl=30.0) == {"size": 1}
        assert await bus.request("lab/editor", ["size", {"file": 7}]) == -1
        assert [part async for part in bus.request_stream("lab/editor", ["each", {"count": 2}])] == [0, 1]


async def test_what_does_not_fit_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with joined(AsyncEditor()) as (_, editor):
        plain: Any = editor
        with pytest.raises(TypeError, match=r"upper\.text: expected busway\.Attached, got str"):
            await plain.upper("a")
        with pytest.raises(TypeError, match=r"upper\.text: expected str, got int"):
            await plain.upper(busway.Attached(5))
        with pytest.raises(TypeError, match="text"):
            await plain.upper()
        with pytest.raises(busway.RemoteError):
            await editor.wrong()
        assert "the result of wrong: expected busway.Attached, got int" in caplog.text
        with pytest.raises(ValueError, match="sealed"):
            await editor.using(sealed=True).upper(busway.Attached("a"))


async def test_they_stay_on_this_machine() -> None:
    async with busway.AsyncBus(ipc=False) as one, busway.AsyncBus(ipc=False) as two:
        one.host(AsyncEditor(), Editor, realm="global")
        listener = await one.listen("tcp://127.0.0.1:0")
        await two.connect(listener.url)
        editor = two.client(Editor, realm="global").using(ttl=30.0)
        pipe = Pipe()
        with pytest.raises(busway.Undeliverable, match="NO_FILES"):
            await editor.size(busway.Attached(files=[pipe.writer]))
        with pytest.raises(busway.Undeliverable, match="the reply has files or regions"):
            await editor.upper(busway.Attached("a"))
        assert await editor.size(busway.Attached(1)) == -1
        await pipe.ends()


async def plain(self: Any) -> int:
    return 1


async def two_of_them(self: Any, one: busway.Attached, other: busway.Attached[int]) -> None: ...


async def may_lack(self: Any, one: busway.Attached[int] = busway.Attached(5)) -> None: ...  # noqa: B008


async def several(self: Any, ones: list[busway.Attached]) -> None: ...


async def unchecked(self: Any) -> busway.Attached[range]:
    return busway.Attached(range(1))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"run": two_of_them}, "It.run: one argument brings files, so not both one and other"),
        ({"run": may_lack}, "It.run: one brings files, so it has no default"),
        ({"run": several}, "Attached cannot be checked on arrival"),
        ({"run": unchecked}, "range cannot be checked on arrival"),
        ({"__annotations__": {"seen": busway.Signal[busway.Attached]}, "run": plain}, "cannot be checked"),
    ],
)
def test_what_no_contract_may_have(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        busway.service("lab/it")(type("It", (), body))


def test_descriptions_and_stubs_name_them() -> None:
    outline = outline_of(Editor)
    assert outline is not None
    told = describe(outline, "lab/editor", 2)
    (text, times), result = (told["methods"]["upper"][part] for part in ("arguments", "result"))
    assert text["schema"] == {"type": "string", "x-attached": True}
    assert "x-attached" not in times["schema"]
    assert result["x-attached"] is True
    written = stub(told)
    assert "text: busway.Attached[str]" in written
    assert "-> busway.Attached[dict[str, int]]" in written
    assert "-> AsyncIterator[busway.Attached[int]]" in written
    made: dict[str, Any] = {}
    exec(compile(written, "stub", "exec", dont_inherit=True), made)
    again = outline_of(made["Editor"])
    assert again is not None
    assert describe(again, "lab/editor", 2)["methods"] == told["methods"]
