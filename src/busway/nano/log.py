"""The common part of all buses: one line of blocks that any thread or process may write, and its readers.

Where a block lies in memory, and what is done when that is full, is the business of ring.py and file.py.
Knows nothing of handlers, types and routes.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from busway.nano import blocks
from busway.nano.blocks import BLOCK, HEADER, MESSAGE, MESSAGE_SIZE, Block, Cursor, State
from busway.nano.errors import Damaged, SchemaMismatch
from busway.nano.memory import WriteLock
from busway.nano.reading import Reader
from busway.nano.waiting import Bell


class Entry(NamedTuple):
    """A message as it lies on a bus."""

    position: int  # of the block that holds it
    number: int  # of the message, counted from 0
    source: str
    kind: str
    data: bytes


class Log:
    """A bus: writers append blocks, one at a time; each reader has a place of its own."""

    map: mmap.mmap  # where the header lies
    lock: WriteLock
    bell: Bell
    lap: int  # bytes that lie next to each other: the ring, or a segment of a file
    key: int
    kinds: list[tuple[str, str]]  # name, and what says the layout
    sources: list[str]
    resumes = False  # whether readers go on where they were
    summed = True  # whether blocks have checksums
    keeps = False  # whether what was written stays where it is

    # Where things lie

    def place(self, position: int) -> tuple[mmap.mmap, int]:
        """The map that has a position, and the offset in it."""
        raise NotImplementedError

    def view(self, position: int) -> tuple[memoryview, int]:
        """The same, as a view of the whole map."""
        raise NotImplementedError

    @property
    def block_max(self) -> int:
        """The most bytes of messages, with what stands before each, in one block."""
        raise NotImplementedError

    def state(self) -> State:
        """How far the bus is.

        Raises:
            Damaged: neither copy is whole, and stays so.
        """
        for attempt in range(2000):
            found = blocks.state_of(blocks.STATES.unpack_from(self.map, blocks.STATES_AT))
            if found is not None:
                return found
            time.sleep(0.0 if attempt < 1000 else 0.001)
        raise Damaged(0, 0, "the header of the bus says no longer how far it is")

    def grown(self, position: int) -> bool:
        """Whether there may be something behind a position: quick, and checked by whoever reads it."""
        words = blocks.STATES.unpack_from(self.map, blocks.STATES_AT)
        return bool(words[0] > position or words[4] > position)

    # Writing

    def commit(
        self, body: bytes, count: int, reader: Reader | None = None, cursor: int = -1, done: int = 0
    ) -> int:
        """Appends a block. It is seen whole or not at all.

        Args:
            body: messages as `blocks` says.
            count: how many these are.
            reader: who writes, if it is a reader.
            cursor: with this block it has handled all before that position, -1 to say nothing of it,
            done: and so many messages of the block there.

        Returns:
            The position behind it.

        Raises:
            ValueError: more than fits into one block.
            LogFull: of a file that may not grow.
        """
        if len(body) > self.block_max:
            raise ValueError(f"a block has at most {self.block_max} bytes, got {len(body)}; enlarge the bus")
        size = BLOCK + len(body)
        waited = 0.0
        while True:
            with self.lock:
                state = self.settled()
                begin = self._fitting(state.tail, size)
                end = begin + size
                head = self.make_room(state, end, waited)
                if head >= 0:
                    if head != state.head:
                        state = self._say(state, state.tail, state.total, head)
                    if begin != state.tail:
                        self._pad(state, begin)
                    row = reader.row + 1 if reader is not None and cursor >= 0 else 0
                    self._write(begin, body, state.total, count, row, max(cursor, 0), done)
                    self._say(state, end, state.total + count, head)
                    self.bell.touch(end >> 3)
                    break
            waited = self.wait_for_room(end, reader, waited)
        self.wake()
        return end

    def wake(self) -> None:
        """Wakes the readers that sleep."""
        at = blocks.ASLEEP_AT
        if self.map[at : at + blocks.READERS_MAX] != blocks.AWAKE:
            self.bell.ring()

    def make_room(self, state: State, end: int, waited: float) -> int:
        """With the lock: the head that leaves room up to `end`; -1 to wait for room without the lock."""
        raise NotImplementedError

    def wait_for_room(self, end: int, reader: Reader | None, waited: float) -> float:
        """Without the lock: waits. Returns for how many seconds it did, with those before."""
        raise NotImplementedError

    def _fitting(self, tail: int, size: int) -> int:
        """The first position at which so many bytes lie next to each other."""
        left = self.lap - tail % self.lap
        return tail if size <= left else tail + left

    def _pad(self, state: State, end: int) -> None:
        """A block without messages up to `end`; where not even its header has room, readers know."""
        if end - state.tail >= BLOCK:
            self._write(state.tail, b"", state.total, blocks.PAD, 0, 0, end - state.tail - BLOCK)

    def _write(
        self, begin: int, body: bytes, first: int, count: int, row: int, cursor: int, done: int
    ) -> None:
        mapped, at = self.place(begin)
        stamp = begin ^ self.key
        header = blocks.header_of(stamp, first, cursor, body, count, row, done, summed=self.summed)
        blocks.WORD.pack_into(mapped, at, 0)
        mapped[at + 8 : at + BLOCK] = header[8:]
        mapped[at + BLOCK : at + BLOCK + len(body)] = body
        blocks.WORD.pack_into(mapped, at, stamp)

    def _say(self, state: State, tail: int, total: int, head: int) -> State:
        """Writes how far the bus is, over the older copy."""
        slot = 1 - state.slot
        blocks.pack_state(self.map, blocks.STATES_AT + 32 * slot, tail, total, head)
        return State(tail, total, head, slot)

    def settled(self) -> State:
        """With the lock: how far the bus is, with a block that a killed writer committed and did not tell."""
        state = self.state()
        while (found := self.read(state.tail, -1)) is not None:
            state = self._say(state, found.end, found.first + found.messages, state.head)
        return state

    # Reading

    def read(self, position: int, tail: int, *, as_view: bool = False) -> Block | None:
        """The block at a position; None if none is committed there. One without messages is a pad.

        Args:
            position: where.
            tail: what lies at or behind it is not looked at; -1 to look all the same.
            as_view: hands out the bus's own memory instead of a copy.
        """
        left = self.lap - position % self.lap
        if left < BLOCK:
            return Block(position, position + left, 0, 0, 0, 0, 0, b"") if position + left <= tail else None
        mapped, at = self.place(position) if tail >= 0 else self.place_or_none(position)
        if mapped is None:
            return None
        header = mapped[at : at + BLOCK]
        stamp, first, cursor, size, count, reader, done, _, _ = HEADER.unpack(header)
        if stamp != position ^ self.key or size > left - BLOCK:
            return None
        body: bytes | memoryview
        if as_view:
            whole, at = self.view(position)
            body = whole[at + BLOCK : at + BLOCK + size]
        else:
            body = mapped[at + BLOCK : at + BLOCK + size]
        if not self._is_whole(position, header, body, size):
            return None
        if count == blocks.PAD:
            return Block(position, position + BLOCK + done, first, 0, 0, 0, 0, b"")
        return Block(position, position + BLOCK + size, first, count, reader, cursor, done, body)

    def _is_whole(self, position: int, header: bytes, body: bytes | memoryview, size: int) -> bool:
        if self.summed:
            return len(body) == size and blocks.fits(header, body)
        words = blocks.STATES.unpack_from(self.map, blocks.STATES_AT)
        return bool(words[2] <= position >= words[6])

    def freed(self, position: int) -> None:
        """A reader needs nothing before a position any more."""

    def place_or_none(self, position: int) -> tuple[mmap.mmap | None, int]:
        """`place`, if there is such a place yet."""
        return self.place(position)

    def resync(self, position: int) -> tuple[int, int]:
        """Where a reader goes on whose place is gone, and the number of the message there."""
        raise NotImplementedError

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """All messages from a position on, up to the present end.

        Args:
            start: a position, as in `Entry.position`; 0 for the oldest there is.

        Raises:
            Missed: some were overwritten or are damaged; its `position` is where to start again.
        """
        end = self.state().tail
        reader = Reader(self, -1, start, None)
        while reader.position < end:
            for block in reader.take(end):
                yield from self._entries_of(block)

    def _entries_of(self, block: Block) -> Iterator[Entry]:
        at = 0
        for number in range(block.first, block.first + block.messages):
            size, key = MESSAGE.unpack_from(block.body, at)
            at += MESSAGE_SIZE
            data = bytes(block.body[at : at + size])
            at += size + -size % 8
            source, kind = self.sources[key >> 16], self.kinds[key & 0xFFFF][0]
            yield Entry(block.position, number, source, kind, data)

    # Readers

    def attach(self, name: str, start: int | None = None) -> Reader:
        """A reader of that name.

        Args:
            name: 1 to 64 UTF-8 bytes. A file knows by it where the reader was.
            start: the position to begin at; by default where it was, else at the oldest message of a file and
                behind the latest of a ring.

        Raises:
            ValueError: no such name, a position that is none, or a living process that reads by this name.
        """
        wanted = name.encode()
        if not 1 <= len(wanted) <= blocks.NAME_MAX:
            raise ValueError(f"a reader's name has 1 to {blocks.NAME_MAX} UTF-8 bytes, got {name!r}")
        with self.lock:
            state = self.settled()
            row = self._row_for(wanted)
            at = blocks.READERS_AT + blocks.READER_SIZE * row
            there = blocks.cursor_of(self.map, at)  # of a ring perhaps one of another name
            known = there if self._name_at(row) == wanted else None
            if start is not None and not 0 <= start <= state.tail:
                raise ValueError(f"a position is 0 to {state.tail} here, got {start}")
            if start is not None:
                begin = Cursor(max(start, state.head), 0, state.tail, 0)
            elif known is not None and self.resumes:
                begin = self.committed(row, known, state.tail)
            else:
                begin = Cursor(0 if self.resumes else state.tail, 0, state.tail, 0)
            self.map[at : at + blocks.NAME_MAX] = wanted.ljust(blocks.NAME_MAX, b"\0")
            turn = 0 if there is None else there.turn + 1
            blocks.pack_cursor(self.map, at, begin._replace(as_of=state.tail, turn=turn & 0xFFFFFFFF))
            blocks.PAIR.pack_into(
                self.map, at + blocks.FREED_AT, begin.position, begin.position ^ blocks.FLIPPED
            )
            self.map[blocks.ASLEEP_AT + row] = 0
            self.occupy(row, os.getpid())
        number = self.number_at(begin.position, state)
        return Reader(self, row, begin.position, number, done=begin.done, turn=turn)

    def committed(self, row: int, known: Cursor, tail: int) -> Cursor:
        """With the lock: the place of a reader that is not at work, with all that it committed since."""
        return known

    def number_at(self, position: int, state: State) -> int | None:
        """The number of the first message of the block at a position; None if that is not known."""
        if position == state.tail:
            return state.total
        block = self.read(position, state.tail)
        return block.first if block is not None and block.messages else None

    def rows(self) -> Iterator[tuple[int, bytes, int]]:
        """Row, name and living process (0: none) of each reader that there was."""
        for row in range(blocks.READERS_MAX):
            if name := self._name_at(row):
                at = blocks.READERS_AT + blocks.READER_SIZE * row
                pid = self.process_at(row)
                (began,) = blocks.WORD.unpack_from(self.map, at + blocks.BEGAN_AT)
                yield row, name, pid if pid and alive(pid, began) else 0

    def process_at(self, row: int) -> int:
        """The process that a row says it is of; 0: none."""
        (pid,) = blocks.WORD.unpack_from(
            self.map, blocks.READERS_AT + blocks.READER_SIZE * row + blocks.PID_AT
        )
        return int(pid)

    def occupy(self, row: int, pid: int) -> None:
        """With the lock, but for 0: says which process reads by the name of a row; 0: none.

        A row that is handed over is never without a living process, though who does it is killed: writers
        would not wait for it. So what says when the process began is cleared first and written last.
        """
        at = blocks.READERS_AT + blocks.READER_SIZE * row
        began = beginning_of(pid) if pid else 0
        blocks.WORD.pack_into(self.map, at + blocks.BEGAN_AT, 0)
        blocks.WORD.pack_into(self.map, at + blocks.PID_AT, pid)
        if pid:
            blocks.WORD.pack_into(self.map, at + blocks.BEGAN_AT, began)

    def _name_at(self, row: int) -> bytes:
        at = blocks.READERS_AT + blocks.READER_SIZE * row
        return self.map[at : at + blocks.NAME_MAX].rstrip(b"\0")

    def _row_for(self, name: bytes) -> int:
        free = set(range(blocks.READERS_MAX))
        for row, other, pid in self.rows():
            if other == name:
                if pid:
                    raise ValueError(f"the process {pid} reads as {name.decode()!r} already")
                return row
            if self.resumes or pid:
                free.discard(row)
        if not free:
            raise ValueError(f"a bus has at most {blocks.READERS_MAX} readers")
        return min(free)

    # What is written on it

    def declare(
        self, kinds: Sequence[tuple[str, str]], sources: Sequence[str]
    ) -> tuple[list[int], list[int]]:
        """Numbers for types of messages, each with what says its layout, and for sources.

        Raises:
            SchemaMismatch: one of a file has another layout there.
        """
        places = {name: number for number, (name, _) in enumerate(self.kinds)}
        for name, text in kinds:
            if name not in places:
                places[name] = len(self.kinds)
                self.kinds.append((name, text))
            elif (there := self.kinds[places[name]][1]) != text:
                raise SchemaMismatch(
                    f"this bus has messages {name} as {there!r}; here they are {text!r}. Use a new file"
                    ", or another name for the new layout"
                )
        self.sources += [name for name in sources if name not in self.sources]
        return [places[name] for name, _ in kinds], [self.sources.index(name) for name in sources]

    def share(self) -> None:
        """From now on several processes use it: called before they are started."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of the memory; what a file has stays. Twice is once."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def beginning_of(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0 where that is not known. A number of a process is used
    again sooner or later, this pair is not.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def alive(pid: int, began: int) -> bool:
    """Whether there is that process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not began or beginning_of(pid) in (0, began)


def packed(messages: Sequence[tuple[int, bytes]]) -> tuple[bytes, int]:
    """Body and count of a block, of (key, bytes) each. A key is 65536 times the source plus the type."""
    pieces: list[bytes] = []
    for key, data in messages:
        pieces += (MESSAGE.pack(len(data), key), data, blocks.FILL[len(data) & 7])
    return b"".join(pieces), len(messages)
