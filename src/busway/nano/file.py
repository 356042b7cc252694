"""FileBus: an append-only file that several processes map. What was committed survives whoever is killed.

The file is a header of 64 KiB and segments of equal size, each mapped by itself; no block crosses from one
to the next. When it is opened all blocks are looked at: where they end is where writing goes on, whatever the
header says. It guards against programs that end at any instant, not against a machine that loses power: for
that there is `sync`.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import secrets
import threading
from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from busway.nano import blocks
from busway.nano.blocks import BLOCK, DATA_AT, Block, Cursor, State
from busway.nano.errors import Damaged, LogFull, SchemaMismatch
from busway.nano.log import Log
from busway.nano.memory import WriteLock, close_map, rounded, size_of
from busway.nano.reading import Reader
from busway.nano.waiting import bell

_log = logging.getLogger("busway.nano")
_FILE = 2
_CHUNK = 64 << 10
_ZEROS = bytes(_CHUNK)
_BLOCK_MAX = 16 << 20
_SCHEMA = Struct("QII")


class Gap(NamedTuple):
    """A part of a file that is damaged, with whole blocks behind it."""

    begin: int
    end: int
    missed: int  # messages


class FileReport(NamedTuple):
    """The state in which a file was found when it was opened."""

    messages: int
    """Messages that are whole."""
    end: int
    """The position behind the last of them."""
    lost: int
    """Messages that the header tells of and that are not there, as when the file was cut short."""
    torn: int
    """Bytes behind the end of a block that was not committed; they have been cleared."""
    gaps: tuple[Gap, ...]
    """Damaged parts in the middle."""


class FileBus(Log):
    """A bus that is a file: messages stay, a worker goes on where it was, and anything can be read again.

    Args:
        path: of the file. It is made if it is not there or empty.
        size: bytes of messages, or a text such as "64 MiB"; rounded up to 64 KiB. The space is taken from
            the disk at once where the system can. A message has at most a quarter of it, and 16 MiB. A file
            that is there keeps its own.
        growable: when it is full, as much again is added; else `LogFull` is raised.

    Raises:
        ValueError: no size.
        OSError: the file cannot be opened, or the disk is full.
        Damaged: the file is shorter than its header, or not of this sort.
        SchemaMismatch: it is of a machine with another byte order.

    `report` says in which state it was found.
    """

    resumes = keeps = True

    def __init__(
        self, path: str | os.PathLike[str], size: int | str = "64 MiB", *, growable: bool = False
    ) -> None:
        self.path = os.fspath(path)
        lap = rounded(size_of(size), DATA_AT)
        try:
            if not os.path.getsize(self.path):
                _make(self.path, lap, os.replace)
        except FileNotFoundError:
            _make(self.path, lap, _link)
        self._begin(growable)
        try:
            with self.lock:
                self.report = self._recover()
        except BaseException:
            self.close()
            raise
        self._tell()

    def _begin(self, growable: bool) -> None:
        self._growable = growable
        self._gaps: tuple[Gap, ...] = ()
        self._closed = False
        self._maps: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        self._mapping = threading.Lock()
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.map = self._header()
        except BaseException:
            os.close(self._file)
            raise
        _, _, _, self.key, self.lap = blocks.PREFIX.unpack_from(self.map, 0)
        known = self._schema()[2]
        self.kinds = [(name, text) for name, text in known["kinds"]]
        self.sources = known["sources"]
        self.lock = WriteLock(self._opened, shared=True)
        self.bell = bell(self.map, blocks.BELL_AT, shared=True)

    def _header(self) -> mmap.mmap:
        if os.fstat(self._file).st_size < DATA_AT:
            raise Damaged(0, 0, f"{self.path} is shorter than its header")
        mapped = mmap.mmap(self._file, DATA_AT)
        magic, version, kind, _, lap = blocks.PREFIX.unpack_from(mapped, 0)
        swapped = int.from_bytes(blocks.VERSION.to_bytes(4, "little"), "big")
        if magic == blocks.MAGIC and version == swapped:
            raise SchemaMismatch(f"{self.path} was written by a machine with another byte order")
        if magic != blocks.MAGIC or version != blocks.VERSION or kind != _FILE or not lap or lap % DATA_AT:
            raise Damaged(0, 0, f"{self.path} is no file of a bus, or its header is damaged")
        return mapped

    def _opened(self) -> int:
        there = f"/proc/self/fd/{self._file}"
        return os.open(there if os.path.exists(there) else self.path, os.O_RDWR | os.O_CLOEXEC)

    # Where things lie

    @property
    def block_max(self) -> int:
        """The most bytes of messages, with what stands before each, in one block."""
        return min(self.lap // 4, _BLOCK_MAX) - BLOCK

    def place(self, position: int) -> tuple[mmap.mmap, int]:
        """The map that has a position, and the offset in it."""
        segment, at = divmod(position, self.lap)
        if segment >= len(self._maps):
            self._map(segment)
        return self._maps[segment], at

    def view(self, position: int) -> tuple[memoryview, int]:
        """The same, as a view of the whole map."""
        segment, at = divmod(position, self.lap)
        if segment >= len(self._maps):
            self._map(segment)
        return self._views[segment], at

    def place_or_none(self, position: int) -> tuple[mmap.mmap | None, int]:
        """`place`, if the file is that long."""
        if position // self.lap >= len(self._maps) and position // self.lap >= self._segments():
            return None, 0
        return self.place(position)

    def _map(self, segment: int) -> None:
        with self._mapping:
            while len(self._maps) <= segment:
                at = DATA_AT + len(self._maps) * self.lap
                mapped = mmap.mmap(self._file, self.lap, offset=at)
                self._views.append(memoryview(mapped))
                self._maps.append(mapped)

    def _segments(self) -> int:
        return (os.fstat(self._file).st_size - DATA_AT) // self.lap

    def make_room(self, state: State, end: int, waited: float) -> int:
        """With the lock: adds segments as needed. The head of a file is its beginning."""
        wanted = -(-end // self.lap)
        if wanted > len(self._maps) and (there := self._segments()) < wanted:
            if not self._growable:
                raise LogFull(f"{self.path} is full: {there * self.lap} bytes; growable=True adds more")
            _allocate(self._file, DATA_AT + there * self.lap, (wanted - there) * self.lap)
        return 0

    def wait_for_room(self, end: int, reader: Reader | None, waited: float) -> float:
        """Never asked: there is room, or an error."""
        return waited

    def resync(self, position: int) -> tuple[int, int]:
        """The next whole block behind a damaged one."""
        state = self.state()
        found, _ = self._search(position + 8, state.tail)
        return (found.position, found.first) if found is not None else (state.tail, state.total)

    def number_at(self, position: int, state: State) -> int | None:
        """The number of the first message at a position, also of a damaged part that was found."""
        for gap in self._gaps:
            if gap.begin == position:
                behind = super().number_at(gap.end, state)
                return None if behind is None else behind - gap.missed
        return super().number_at(position, state)

    # Opening

    def _recover(self) -> FileReport:
        """With the lock: finds the end by what is there, and the places of readers."""
        self._fill_up()
        said = blocks.state_of(blocks.STATES.unpack_from(self.map, blocks.STATES_AT))
        tail, total, gaps, places, torn = self._scan()
        for slot in (0, 1):
            blocks.pack_state(self.map, blocks.STATES_AT + 32 * slot, tail, total, 0)
        if torn:
            self._clear(tail, torn)
        self._settle_readers(tail, places)
        lost = max(0, said.total - total) if said is not None else 0
        whole = total - sum(gap.missed for gap in gaps)
        self._gaps = tuple(gaps)
        return FileReport(whole, tail, lost, torn, self._gaps)

    def _fill_up(self) -> None:
        """Makes the last segment whole again in a file that was cut short."""
        size = os.fstat(self._file).st_size - DATA_AT
        if size % self.lap or not size:
            _allocate(self._file, DATA_AT + size, max(rounded(size, self.lap), self.lap) - size)

    def _scan(self) -> tuple[int, int, list[Gap], dict[int, Block], int]:
        """All blocks from the beginning: end, messages, gaps, the last block of each reader, bytes torn."""
        limit = self._segments() * self.lap
        position = tail = total = torn = 0
        gaps: list[Gap] = []
        places: dict[int, Block] = {}
        while position < limit:
            left = self.lap - position % self.lap
            if left < BLOCK:
                position += left
                continue
            block = self.read(position, limit)
            if block is None:
                block, dirty = self._search(position, limit)
                if block is None:
                    torn = position + dirty - tail if dirty else 0
                    break
                gaps.append(Gap(position, block.position, block.first - total))
            position = tail = block.end
            total = block.first + block.messages
            if block.reader:
                places[block.reader - 1] = block
        return tail, total, gaps, places, torn

    def _search(self, position: int, limit: int) -> tuple[Block | None, int]:
        """The first whole block at a position or behind it; how far behind it bytes are that are not zero."""
        begin, dirty = position, 0
        while position < limit:
            size = min(_CHUNK, self.lap - position % self.lap)
            mapped, at = self.place(position)
            data = mapped[at : at + size]
            if data != _ZEROS[:size]:
                dirty = position - begin + len(data.rstrip(b"\0"))
                for offset in range(0, size - 7, 8):
                    (word,) = blocks.WORD.unpack_from(data, offset)
                    if word == (position + offset) ^ self.key:
                        block = self.read(position + offset, limit)
                        if block is not None:
                            return block, dirty
            position += size
        return None, dirty

    def _clear(self, tail: int, size: int) -> None:
        while size > 0:
            mapped, at = self.place(tail)
            part = min(size, _CHUNK, self.lap - at)
            mapped[at : at + part] = _ZEROS[:part]
            tail, size = tail + part, size - part

    def _settle_readers(self, tail: int, places: dict[int, Block]) -> None:
        """The places of readers that are not at work: what they committed counts, nothing behind the end."""
        for row, _, pid in self.rows():
            if pid:
                continue
            at = blocks.READERS_AT + blocks.READER_SIZE * row
            known = found = blocks.cursor_of(self.map, at) or Cursor(0, 0, 0, 0)
            block = places.get(row)
            if block is not None and block.position >= found.as_of:
                found = found._replace(position=block.cursor, done=block.done)
            if found.position > tail:
                found = found._replace(position=tail, done=0)
            # Over the older copy, as each time; all there is has been looked at.
            turn = (known.turn + 1) & 0xFFFFFFFF
            blocks.pack_cursor(self.map, at, found._replace(as_of=tail, turn=turn))

    def committed(self, row: int, known: Cursor, tail: int) -> Cursor:
        """With the lock: the place of a reader that is not at work, with all that it committed since."""
        position = known.as_of
        while position < tail:
            block = self.read(position, tail) or self._search(position, tail)[0]
            if block is None:
                break
            if block.reader == row + 1:
                known = known._replace(position=block.cursor, done=block.done)
            position = block.end
        return known

    def _tell(self) -> None:
        report = self.report
        if report.lost or report.gaps:
            gone = report.lost + sum(gap.missed for gap in report.gaps)
            _log.warning(
                "%s is damaged: %d messages are gone, %d are whole (%s)",
                *(self.path, gone, report.messages, report),
            )

    # The rest

    def declare(
        self, kinds: Sequence[tuple[str, str]], sources: Sequence[str]
    ) -> tuple[list[int], list[int]]:
        """Numbers for types and sources, kept in the file: the same each time it is opened.

        Raises:
            SchemaMismatch: a type has another layout there.
            LogFull: there are more names than the header has room for.
        """
        with self.lock:
            slot, generation, known = self._schema()
            self.kinds = [(name, text) for name, text in known["kinds"]]
            self.sources = known["sources"]
            before = len(self.kinds), len(self.sources)
            found = super().declare(kinds, sources)
            if (len(self.kinds), len(self.sources)) != before:
                self._write_schema(1 - slot, generation + 1, {"kinds": self.kinds, "sources": self.sources})
        return found

    def _schema(self) -> tuple[int, int, dict[str, Any]]:
        """The later of both copies that is whole: which, its generation, and what it says."""
        best: tuple[int, int, dict[str, Any]] = (1, 0, {"kinds": [], "sources": []})
        for slot in (0, 1):
            at = blocks.SCHEMAS_AT + slot * blocks.SCHEMA_SIZE
            generation, size, check = _SCHEMA.unpack_from(self.map, at)
            text = self.map[at + _SCHEMA.size : at + _SCHEMA.size + size]
            if generation > best[1] and crc32(text) == check:
                best = (slot, generation, json.loads(text))
        return best

    def _write_schema(self, slot: int, generation: int, schema: dict[str, Any]) -> None:
        text = json.dumps(schema).encode()
        at = blocks.SCHEMAS_AT + slot * blocks.SCHEMA_SIZE
        if _SCHEMA.size + len(text) > blocks.SCHEMA_SIZE or max(map(len, schema.values())) > 0xFFFF:
            raise LogFull(
                f"{self.path} has room for {blocks.SCHEMA_SIZE} bytes of names of types and handlers"
            )
        self.map[at + _SCHEMA.size : at + _SCHEMA.size + len(text)] = text
        _SCHEMA.pack_into(self.map, at, generation, len(text), crc32(text))

    def sync(self) -> None:
        """Returns when all that was committed is on the disk: it survives a loss of power, too.

        Raises:
            OSError: it could not be written.
        """
        for mapped in (*self._maps, self.map):
            mapped.flush()

    def share(self) -> None:
        """From now on several processes use it, which a file is always ready for."""

    def close(self) -> None:
        """Lets go of the file; what is in it stays. Twice is once."""
        if not self._closed:
            self._closed = True
            self.bell.close()
            self.lock.close()
            for view in self._views:
                _release(view)
            for mapped in (*self._maps, self.map):
                close_map(mapped)
            os.close(self._file)

    def __reduce__(self) -> Any:
        """For processes that are spawned."""
        return _reopened, (self.path, self._growable)


def _reopened(path: str, growable: bool) -> FileBus:
    found = FileBus.__new__(FileBus)
    found.path = path
    found._begin(growable)
    return found


def _release(view: memoryview) -> None:
    try:
        view.release()
    except BufferError:
        pass  # somebody has a message that lies in it


def _make(path: str, lap: int, put: Any) -> None:
    """A new file, whole before it has its name; one that somebody else made meanwhile is as good."""
    scratch = f"{path}.{os.getpid()}.{secrets.token_hex(4)}.new"
    try:
        descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        folder = os.path.dirname(path)
        raise FileNotFoundError(error.errno, "There is no such folder to make the file in", folder) from None
    try:
        _allocate(descriptor, 0, DATA_AT + lap)
        header = bytearray(256)
        key = secrets.randbits(63) | 1 << 63
        blocks.PREFIX.pack_into(header, 0, blocks.MAGIC, blocks.VERSION, _FILE, key, lap)
        blocks.pack_state(header, blocks.STATES_AT, 0, 0, 0)
        os.pwrite(descriptor, header, 0)
        put(scratch, path)
    finally:
        os.close(descriptor)
        if os.path.exists(scratch):
            os.unlink(scratch)


def _link(scratch: str, path: str) -> None:
    try:
        os.link(scratch, path)
    except FileExistsError:
        pass


def _allocate(descriptor: int, at: int, size: int) -> None:
    """Space at the end of a file, all zeros."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, at, size)
    else:
        os.ftruncate(descriptor, at + size)
