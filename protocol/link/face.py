"""The faces between a link and the rooms above it: what a connection asks of its node, and what it knows of
the things that it carries for others.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.link.aside import Beside
from busway.protocol.link.link import Link
from busway.protocol.link.queue import OVERHEAD, SendQueue, TransitQueue
from busway.protocol.link.unfinished import Unfinished
from busway.protocol.timers import Timer, Timers
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasTable, AliasWriter, node_writer
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.hello import Hello, Limits
from busway.protocol.wire.messages import Frame, RoutingHeader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from busway.protocol.outcomes import Event

_NO_WAITERS: "list[Waiter]" = []  # never changed: there are many links, and few for whose room somebody waits


class Remote(Timer):
    """A node in one incarnation, as far as a link cares."""

    __slots__ = ("hop", "incarnation", "key", "label", "leaf", "node_id")

    def __init__(self, node_id: bytes, incarnation: bytes, label: str, leaf: bool) -> None:
        self.deadline = -1
        self.key = node_id + incarnation
        self.node_id = node_id
        self.incarnation = incarnation
        self.label = label
        self.leaf = leaf
        self.hop: "LinkFace | None" = None  # the next hop; None: this node itself, or no way now


class Outlet(Timer):
    """Where broadcasts of this node go: a link, or what stands for several."""

    __slots__ = ("broadcast_size_max", "broadcasts", "flush_wanted", "lagging")

    broadcasts: SendQueue
    broadcast_size_max: int  # bytes in that queue, from which on `has_broadcast_room` is asked
    flush_wanted: bool  # whoever writes knows that there is something
    lagging: bool  # a publish has waited for room in vain: none does until the queue is low

    def touch(self) -> None:
        """There is something to write: only told to those that take batches, or keep something else."""

    def has_broadcast_room(self) -> bool:
        """Whether a broadcast would be queued at once."""
        raise NotImplementedError

    def has_broadcast_room_for(self, frame: Frame) -> bool:
        """Whether that broadcast, of any priority, would be queued at once."""
        raise NotImplementedError

    def make_room(self, frame: Frame) -> bool:
        """Whether that broadcast, of any priority, is queued at once, now that what is lower gives way."""
        raise NotImplementedError

    def takes_batches(self) -> bool:
        """Whether a batch (batch.py) may be queued, whatever it will hold."""
        raise NotImplementedError

    def await_broadcast_room(self, waiter: "Waiter") -> None:
        """Call its `resume` when there is room for broadcasts."""
        raise NotImplementedError

    def lag(self) -> None:
        """A publish has waited for room in vain."""
        raise NotImplementedError

    def broadcast(self, frame: Frame) -> None:
        """A broadcast: written when its turn comes, or kept, or lost with a count."""
        raise NotImplementedError


class LinkFace(Outlet):
    """A connection, as the rooms above see it."""

    __slots__ = (
        "_broadcast_waiters",
        "_room_waiters",
        "addressing",
        "aliases",
        "aside_on",
        "asleep_until",
        "beside",
        "bytes_in",
        "bytes_out",
        "close_code",
        "close_text",
        "cost",
        "dropped_answers",
        "exceeded",
        "frame_max",
        "host",
        "intakes",
        "keepalive_ms",
        "last_read",
        "limits",
        "link",
        "lookups",
        "news",
        "nodes",
        "number",
        "opened_at",
        "peer",
        "queue",
        "realm",
        "rtt_ms",
        "runs",
        "skipped_frames",
        "state",
        "synced",
        "tag",
        "transit",
        "via",
        "waits_for",
        "waits_for_peer",
    )

    def __init__(self, host: "LinkHost", link: Link, limits: Limits, now: int) -> None:
        self.deadline = -1
        self.host = host
        self.link = link
        self.state = codes.GREETING
        self.realm = link.realm
        self.cost = link.cost
        self.via = link.via
        self.limits = limits
        self.frame_max = codes.HELLO_SIZE_MAX
        self.nodes = node_writer(b"", b"", codes.ROUTES_MAX)  # numbers for nodes, in our direction
        self.aliases = AliasTable(limits.aliases_max)  # the peer's numbers for endpoints
        self.queue = SendQueue()  # messages of ours
        self.broadcasts = SendQueue()
        self.broadcast_size_max = codes.BROADCAST_SIZE_MAX
        self.transit = TransitQueue()  # messages of others
        self._room_waiters = Fifo()
        self._broadcast_waiters = _NO_WAITERS
        self.flush_wanted = False  # whoever writes knows that there is something
        self.peer: "Remote | None" = None
        self.intakes: "Mapping[bytes, Intake]" = {}  # of the peer's own messages, by endpoint
        self.keepalive_ms = 0
        self.runs = False  # both sides take messages together in one frame (RUN)
        self.addressing = False  # both sides know labels, priorities and departures
        self.beside = None if link.aside is None else Beside(link.aside)
        self.aside_on = False  # both sides take things beside the bytes
        self.rtt_ms = -1  # of the last keepalive, -1 before the first
        self.opened_at = -1
        self.number = 0  # counts the links that this node has opened
        self.last_read = now
        self.bytes_in = 0
        self.bytes_out = 0
        self.skipped_frames = 0
        self.synced = False  # the peer's first directory exchange is over
        self.dropped_answers = 0  # signals and errors that there was no room for
        self.close_code = -1  # the error the link ended with, -1 while it lives
        self.close_text = ""
        self.lookups = False  # no directory is pushed here
        self.exceeded = 0  # quotas, as bits, that it was told of late to have exceeded
        self.asleep_until = -1  # the peer announced that it sleeps, ms
        self.lagging = False  # a publish has waited for room in vain: none does until the queue is low
        self.waits_for_peer = False  # a packet link on which nobody has answered yet
        self.waits_for: "LinkFace | None" = None  # a link that lost to this one: it is read to its end first
        self.tag: object = None  # the adapter's
        self.news = host.news_of(self)

    def distance(self) -> int:
        """For choosing among links: the realm first, then the cost (rule 1 of the design's routing)."""
        return self.realm << 14 | self.cost

    def touch(self) -> None:
        if not self.flush_wanted:
            self.flush_wanted = True
            self.host.note_flush(self)

    def close(self, now: int, code: int = codes.GOODBYE, text: str = "", drain: bool = True) -> None:
        """End the link in order: with `drain` everything queued is written first, else it is left to the
        node.
        """
        raise NotImplementedError

    def fail(self, code: int, text: str, now: int) -> None:
        """End the link now, telling the peer why."""
        raise NotImplementedError

    def catch_up(self, now: int) -> None:
        """The link that lost to this one has ended, or is not waited for any more."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """Whether `enqueue` may be called."""
        return self.queue.size < codes.QUEUE_SIZE_MAX

    def has_broadcast_room(self) -> bool:
        queue = self.broadcasts
        if queue.growing and queue.size >= self.broadcast_size_max:
            self.host.close_batches()
        return queue.size < self.broadcast_size_max

    def lag(self) -> None:
        self.lagging = True

    def queued_bytes(self) -> int:
        """Bytes that wait to be written."""
        return self.queue.size + self.broadcasts.size + self.transit.size

    def await_room(self, waiter: "Waiter") -> None:
        """Call its `resume` when there is room."""
        if waiter not in self._room_waiters.items:
            self._room_waiters.push(waiter)

    def await_broadcast_room(self, waiter: "Waiter") -> None:
        if waiter not in self._broadcast_waiters:
            self._broadcast_waiters = self._broadcast_waiters + [waiter]

    def resume_broadcasts(self, now: int) -> None:
        """Let those who wait for room for broadcasts go on: there is, or the link is gone."""
        waiters = self._broadcast_waiters
        self._broadcast_waiters = _NO_WAITERS
        for waiter in waiters:
            waiter.resume(now)

    def waiters(self) -> "list[Waiter]":
        """Of a link that has ended: who waited for room in its queue."""
        return self._room_waiters.drain()

    def has_named(self, uuid: bytes) -> bool:
        """Whether the peer has been told the name of an endpoint, since that has a number."""
        raise NotImplementedError

    def has_room_for(self, lane: int) -> bool:
        """Whether `enqueue` may be called for a message with that lane byte."""
        raise NotImplementedError

    def await_room_for(self, lane: int, waiter: "Waiter") -> None:
        """Call its `resume` when there is room for such a message."""
        raise NotImplementedError

    def queue_broadcast(self, frame: Frame) -> None:
        """A broadcast of any priority that has found room."""
        raise NotImplementedError

    def give_way(self, frame: Frame) -> "Frame | None":
        """Take out a broadcast of lower priority than this one, for which there is no room."""
        raise NotImplementedError

    def enqueue_marked(self, frame: Frame) -> None:
        """A message of ours of another priority than normal; the caller has seen that there is room."""
        raise NotImplementedError

    def enqueue(self, frame: Frame) -> None:
        """A message of ours; the caller has seen that there is room."""
        if frame.options is not None and frame.options.lane != codes.NORMAL:
            self.enqueue_marked(frame)
            return
        queue = self.queue
        queue.items.append(frame)
        queue.size += len(frame.payload) + OVERHEAD if frame.options is None else queue.weigh(frame)
        if not self.flush_wanted:
            self.flush_wanted = True
            self.host.note_flush(self)

    def enqueue_broadcast(self, frame: Frame) -> None:
        """A broadcast that has found room before, on another link."""
        self.queue_broadcast(frame)
        if not self.flush_wanted:
            self.touch()

    def answer(self, frame: Frame) -> None:
        """A small answer to something that came."""
        raise NotImplementedError

    def credit(self, intake: "Intake") -> None:
        """Write its limit as it stands then."""
        raise NotImplementedError

    def forward(self, frame: Frame) -> bool:
        """A message of another node on its way, or a signal, behind all of its lane. False if there is no
        room.
        """
        raise NotImplementedError

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        """The broadcasts along the tree of `root`, b"" for our own, that nothing has been written of."""
        raise NotImplementedError

    def leftovers(self) -> "list[Frame]":
        """Of a link that has ended: what it has not written, in order."""
        raise NotImplementedError

    def backlogged(self) -> "list[Frame]":
        """... and the broadcasts that there was no room for."""
        raise NotImplementedError

    def credits(self) -> "list[Intake]":
        """Of a link that has ended: whose limits it was to tell."""
        raise NotImplementedError

    def bound_unfinished(self, size_max: int) -> None:
        """So many bytes of unfinished large messages are kept of it at the most."""
        raise NotImplementedError

    def nodes_max(self) -> int:
        """Numbers of the table of nodes, in either direction (section 5.1)."""
        raise NotImplementedError


class Intake:
    """Where the plain messages of one origin to one of our endpoints go."""

    __slots__ = ("credit_due",)

    credit_due: bool  # the origin's new limit is to be written

    def credit(self) -> Frame:
        """CREDIT with the limit as it stands now."""
        raise NotImplementedError

    def short_credit(self, aliases: AliasWriter, direct: bytes) -> bytes:
        """The same as the bytes of a frame, its length included, if the endpoint is bound and the origin is
        `direct`, who reads them; else b"".
        """
        raise NotImplementedError

    def take_run(
        self, link: LinkFace, data: bytes, pos: int, at: int, stop: int, end: int, prefix: bytes, now: int
    ) -> int:
        """Take in the frame from `pos` to `stop`, with its number at `at` and `prefix` before that, and those
        behind that continue it, as far as nothing needs a decision. Returns where the first other one starts.
        """
        raise NotImplementedError

    def take_together(self, link: LinkFace, data: bytes, at: int, stop: int, prefix: bytes, now: int) -> bool:
        """Take in the messages of a RUN, the first one's number at `at`, if nothing needs a decision. False:
        nothing is done. Raises Refusal.
        """
        raise NotImplementedError


class Waiter(Timer):
    """Something that waits for room on a link."""

    __slots__ = ()

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        """There is room: go on, with `most` messages at the most."""
        raise NotImplementedError


class News:
    """The news of nodes and endpoints that one link has to tell, and that its peer tells."""

    __slots__ = ("due", "reader")

    due: bool  # there is something to write
    reader: AliasTable  # the peer's numbers for nodes

    def write(self, nodes: AliasWriter, parts: "list[bytes]", size: int, size_max: int) -> int:
        """Frames with what is new, until `size_max` is passed; the rest stays for the next call. Returns
        `size` with their bytes added.
        """
        raise NotImplementedError

    def read_routes(self, reader: Reader, now: int) -> None:
        """ROUTES came. Raises Refusal."""
        raise NotImplementedError

    def read_sync(self, reader: Reader, now: int) -> None:
        """SYNC came. Raises Refusal."""
        raise NotImplementedError

    def read_directory(self, reader: Reader, now: int) -> None:
        """DIRECTORY came. Raises Refusal."""
        raise NotImplementedError


class LinkHost:
    """The node, as a connection knows it."""

    identity: Remote

    def __init__(self, bus: str, wake: "Callable[[], None] | None") -> None:
        self.bus = bus  # its name
        self.timers = Timers()
        self.unfinished = Unfinished(self.timers)
        self._wake = wake
        self._events: "list[Event]" = []
        self._flush: "list[Any]" = []  # links

    def emit(self, event: "Event") -> None:
        """Tell the program that something happened."""
        if self._wake is not None and not self._events:
            self._wake()
        self._events.append(event)

    def take_events(self) -> "list[Event]":
        """All that happened since the last call. `receive_data`, `receive_eof` and `handle_timer` return the
        same list.
        """
        happened = self._events
        if happened:
            self._events = []
        return happened

    def note_flush(self, link: LinkFace) -> None:
        """There is something to write."""
        if self._wake is not None and not self._flush:
            self._wake()
        self._flush.append(link)

    def cut_off(self, link: LinkFace) -> None:
        """The peer asks and asks and never reads: end it, though not at once."""
        raise NotImplementedError

    def news_of(self, link: LinkFace) -> News:
        """The news that the link will have to tell, and hear, of nodes and endpoints."""
        raise NotImplementedError

    def link_state_changed(self, link: LinkFace) -> None:
        """The link is GREETING, behind its handshake, or CLOSING now."""
        raise NotImplementedError

    def link_opened(self, link: LinkFace, hello: Hello, now: int) -> None:
        """The handshake is over; `hello` is the peer's."""
        raise NotImplementedError

    def link_closed(self, link: LinkFace, opened: bool, by_peer: bool, now: int) -> None:
        """The link has ended; `opened`: after its handshake."""
        raise NotImplementedError

    def cost_changed(self, link: LinkFace, now: int) -> None:
        """The link costs something else now."""
        raise NotImplementedError

    def peer_answered(self, link: LinkFace, now: int) -> None:
        """On a packet link somebody has answered at last."""
        raise NotImplementedError

    def log_came(self, link: LinkFace, text: bytes) -> None:
        """Text for people, from the other end of a packet link."""
        raise NotImplementedError

    def frame_came(self, link: LinkFace, frame: Frame, now: int) -> None:
        """A message or signal, whole. Raises Refusal."""
        raise NotImplementedError

    def frame_given_up(self, link: LinkFace, frame: Frame, now: int) -> None:
        """A large message whose pieces were coming in is not kept: its first one, without a payload."""
        raise NotImplementedError

    def meaning_of(self, link: LinkFace, frame: Frame, route: "RoutingHeader | None") -> object:
        """Where plain messages with that header go, now that one has gone there: a Path, a Branch, an Intake,
        or None if each has to be looked at.
        """
        raise NotImplementedError

    def undeliverable(self, frame: Frame, reason: int) -> None:
        """A message of ours was not written."""
        raise NotImplementedError

    def published(self, endpoint: bytes) -> int:
        """The number of the last that this node has published there; -1 if that is not known."""
        raise NotImplementedError

    def close_batches(self) -> None:
        """The queues of broadcasts are to count what they hold."""
        raise NotImplementedError

    def count(self, name: str) -> None:
        """One more of those."""
        raise NotImplementedError
