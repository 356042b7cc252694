"""Selectors at a small leaf (docs/protocol.md, section 4.4): it asks its router whom one means, and sends to
the cheapest of these, or a copy to each.

Loaded with the first message to a selector. Knows the leaf's queues and pairs; how an expression is written
is its caller's.
"""

from busway.protocol import outcomes
from busway.protocol.errors import FullError, LocalError, Refusal
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.state import Event, Flow
from busway.protocol.wire import codes
from busway.protocol.wire.entries import read_holder
from busway.protocol.wire.fields import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SELECTIONS_MAX: "Final" = 4  # selectors whose answers a leaf keeps, besides those that are waited for


class Match:
    """An endpoint that is meant, at one node."""

    def __init__(self, key: bytes, uuid: bytes, credit: int, realm: int, score: int) -> None:
        self.key = key
        self.uuid = uuid
        self.credit = credit
        self.realm = realm
        self.score = score


class Selection:
    """The meaning of a selector, as the router has told it."""

    id = 0  # of the question under way
    told = False  # it was answered, on the link with that number, at that time
    session = 0
    told_at = 0
    count = 0  # of all that are meant
    turn = 0

    def __init__(self, expression: bytes) -> None:
        self.expression = expression
        self.matches: "list[Match]" = []  # the cheapest of them, cheapest first
        self.coming: "list[Match]" = []  # of an answer of which not all has come

    def holds(self, leaf: "Any") -> bool:
        """Whether it was told on the present link."""
        return self.told and leaf.link is not None and self.session == leaf.link.number

    def is_fresh(self, leaf: "Any", now: int) -> bool:
        """Whether what was told still counts."""
        return self.holds(leaf) and now - self.told_at < codes.SELECT_MS

    def ask(self, leaf: "Any") -> None:
        """Ask the router, unless it is asked already."""
        link = leaf.link
        if not leaf.online() or not link.addressing or (self.id and self.session == link.number):
            return
        if len(self.expression) > link.frame_size_max - codes.HEADER_SIZE_MAX:
            return
        self.id = int.from_bytes(leaf._entropy(4), "big") & codes.ID_MAX | 1
        self.session = link.number
        self.told = False
        self.coming = []
        self.count = 0
        leaf._signal(codes.SELECT, b"", self.id).payload = self.expression

    def take_answer(
        self, leaf: "Any", link: LeafConnection, message: Message, reader: Reader, asked: bool, now: int
    ) -> None:
        """SELECTED, to whichever selection: all or a part of an answer; `asked`: from who was asked. Raises
        Refusal.
        """
        crossed = max(link.realm, message.realm)
        found: "Selection | None" = None
        for selection in leaf.selections:
            if asked and selection.id == message.id and selection.session == link.number:
                found = selection
        count = 0
        while reader.left():
            count += 1
            if count > codes.HOLDERS_MAX:
                raise Refusal(codes.MALFORMED, "more than 16 holders")
            key, uuid, kind, realm, metric, credit, cost, _, _ = read_holder(
                reader, link.nodes_in, link.aliases_in
            )
            counts = (
                kind and kind != codes.BROADCAST and key != leaf.key and realm >= max(metric >> 14, crossed)
            )
            if found is not None and counts:
                score = (metric & 0x3FFF) + cost + (metric >> 14 << 20)
                found.count += 1
                found.coming.append(Match(key, uuid, credit, realm, score))
                found.coming.sort(key=lambda match: match.score)
                if len(found.coming) > leaf.pending_max:
                    found.coming.pop()
        if found is None or message.code & codes.MORE_FOLLOW:
            return
        found.id = 0
        if message.code & codes.REFUSED:
            for item in leaf._items:  # asked for again, or ended, when patience is over
                if item.where is not None and item.where.selection is found:
                    item.patience = min(item.patience, now + codes.SYNC_MS)
            return
        found.matches = found.coming
        found.coming = []
        found.told = True
        found.told_at = now
        settle(leaf, found)

    def gone(self, leaf: "Any", key: bytes, uuid: bytes) -> None:
        """A node, or an endpoint at it, is gone: what has not been written to it goes to another, or ends."""
        waits = False
        for match in list(self.matches):
            if match.key == key and uuid in (b"", match.uuid):
                self.matches.remove(match)
                self.told_at -= codes.SELECT_MS  # who else there is may have changed, too
                for item in list(leaf._items):
                    if item.where is not None and item.where.match is match:
                        _lose(leaf, item)
        for item in leaf._items:
            waits = waits or (item.where is not None and item.where.selection is self)
        if waits and self.told and not self.matches:
            self.told = False
            self.ask(leaf)
        leaf.write_pending = True


class Where:
    """The destination of a message to a selector: one that is meant, or that `match` of a message to all."""

    def __init__(self, selection: Selection, until: int, call: "Call | None", match: "Match | None") -> None:
        self.selection = selection
        self.until = until  # ms: so long it waits for somebody
        self.call = call  # of one to all
        self.match = match

    def flow(self, leaf: "Any", item: Message) -> "Flow | None":
        """The pair that it may go by: of equally cheap ones each in turn, but for who takes nothing."""
        selection = self.selection
        matches = selection.matches
        if not selection.holds(leaf) or (self.call is not None and self.match is None):
            return None
        if self.match is not None:
            return _flow_of(leaf, item, self.match)
        count = 0
        while count < len(matches) and matches[count].score == matches[0].score:
            count += 1
        for step in range(count):
            match = matches[(selection.turn + step) % count]
            if _has_credit(leaf, item, match):
                selection.turn = (selection.turn + step + 1) % count
                return _flow_of(leaf, item, match)
        return _flow_of(leaf, item, matches[0]) if count else None

    def overdue(self, leaf: "Any", item: Message, now: int) -> None:
        """Ask again, or end: nobody that is meant was found in time."""
        selection = self.selection
        if selection.holds(leaf) and selection.matches:
            return  # it waits for credit
        if now < self.until:
            item.patience = min(self.until, now + codes.SYNC_MS)
            selection.id = 0
            selection.ask(leaf)
            return
        if self.match is not None:
            _lose(leaf, item)
        else:
            known = selection.holds(leaf)
            leaf._finish(item, outcomes.UNDELIVERED, codes.NO_ENDPOINT if known else codes.NO_ROUTE)

    def finished(self, item: Message, event: Event) -> None:
        """Tell more of what became of it."""
        event.node = item.key
        event.endpoint = item.endpoint
        if self.call is not None:
            event.token = self.call.token
            self.call.left -= 1
            event.left = self.call.left


class Call:
    """A message to all that a selector means: so many verdicts are to come."""

    left = 1
    token = 0


def submit_selected(
    leaf: "Any",
    kind: int,
    expression: bytes,
    payload: bytes,
    now: int,
    format: "int | bytes",
    ttl_ms: int,
    timeout_ms: int,
    priority: "int | str",
    to: str,
) -> int:
    """As `Leaf.submit`, to one of those that an expression means, or `to` "all" a copy to each: then an
    Outcome comes for each of them, with `left` of the same token to come. Endpoints of this leaf are not
    meant. Nobody meant is one Outcome, NO_ENDPOINT; more than `pending_max` has places for is one as well,
    QUEUE_FULL, and nothing is sent. Raises FullError, LocalError.
    """
    leaf._check_message(leaf.node_id, payload, format)
    lane: int = leaf.lane_of(priority)
    if to not in ("any", "all") or not 0 <= ttl_ms <= 0x7FFFFFFF or not 0 <= timeout_ms <= 0x7FFFFFFF:
        raise LocalError('a selector is for "any" or "all"; ttl_ms and timeout_ms are 0 to 2147483647')
    if not 1 <= len(expression) <= leaf.limits[0] - codes.HEADER_SIZE_MAX:
        raise LocalError("a selector that is empty, or that no frame takes: limits")
    if len(leaf._pending) >= leaf.pending_max:
        raise FullError("wait for an outcome: pending_max")
    selection = _selection(leaf, expression)
    item = Message(kind, b"", payload, format)
    item.lane = lane
    item.has_ttl = ttl_ms > 0
    item.patience = now + codes.SYNC_MS
    call = Call() if to == "all" else None
    item.where = Where(selection, now + max(ttl_ms, codes.SYNC_MS), call, None)
    token: int = leaf.launch(item, -1 if kind == codes.SEND else now + timeout_ms)
    if call is not None:
        call.token = token
    if selection.is_fresh(leaf, now):
        settle(leaf, selection)
    else:
        selection.ask(leaf)
    return token


def _selection(leaf: "Any", expression: bytes) -> Selection:
    """All that is known of a selector; of too many the one longest in use is forgotten."""
    selections: "list[Selection]" = list(leaf.selections)
    for selection in selections:
        if selection.expression == expression:
            return selection
    used: "list[Selection]" = []
    for item in leaf._pending:
        if item.where is not None:
            used.append(item.where.selection)
    idle = len(selections) - SELECTIONS_MAX + 1
    for selection in list(selections):
        if idle > 0 and selection not in used:
            selections.remove(selection)
            idle -= 1
    selections.append(Selection(expression))
    leaf.selections = selections
    return selections[-1]


def settle(leaf: "Any", selection: Selection) -> None:
    """Let what waits for that selector go on, or end."""
    leaf.write_pending = True
    for item in list(leaf._items):
        where = item.where
        if where is None or where.selection is not selection:
            continue
        if where.match is not None:
            _find_again(leaf, item, where)
        elif not selection.matches:
            if not item.has_ttl:
                leaf._finish(item, outcomes.UNDELIVERED, codes.NO_ENDPOINT)
        elif where.call is not None:
            _copy(leaf, item, where)


def _find_again(leaf: "Any", item: Message, where: Where) -> None:
    """A copy is for one of them only: it ends if that is meant no more."""
    assert where.match is not None
    for match in where.selection.matches:
        if match.key == where.match.key and match.uuid == where.match.uuid:
            where.match = match
            return
    _lose(leaf, item)


def _lose(leaf: "Any", item: Message) -> None:
    """The one that a copy is for is gone."""
    item.key = item.where.match.key
    item.endpoint = item.where.match.uuid
    leaf._finish(item, outcomes.UNDELIVERED, codes.NO_ROUTE)


def _copy(leaf: "Any", item: Message, where: Where) -> None:
    """A copy for each, in the place of the message."""
    selection = where.selection
    call = where.call
    assert call is not None
    if selection.count > leaf.pending_max - len(leaf._pending) + 1:
        leaf._finish(item, outcomes.UNDELIVERED, codes.QUEUE_FULL, "more are meant than pending_max")
        return
    at = leaf._items.index(item)
    copies: "list[Message]" = []
    try:
        for match in selection.matches:
            copy = Message(item.kind, b"", item.payload, item.type_id or item.format)
            copy.lane = item.lane
            copy.where = Where(selection, 0, call, match)
            copies.append(copy)
            leaf.launch(copy, item.expires)
            leaf._items.remove(copy)
        leaf._items[at : at + 1] = copies
    except MemoryError:  # none of it, then
        for copy in copies:
            if copy in leaf._pending:
                leaf._pending.remove(copy)
        raise
    call.left = len(copies)
    leaf._pending.remove(item)


def _address(item: Message, match: Match) -> bytes:
    return match.uuid if item.lane == codes.NORMAL else match.uuid + bytes((item.lane,))


def _has_credit(leaf: "Any", item: Message, match: Match) -> bool:
    address = _address(item, match)
    for flow in leaf._out:
        if flow.key == match.key and flow.endpoint == address:
            credit: bool = flow.last < flow.limit
            return credit
    return match.credit > 0


def _flow_of(leaf: "Any", item: Message, match: Match) -> Flow:
    """The pair, made if it is new."""
    address = _address(item, match)
    flow: "Flow | None" = leaf._flow(leaf._out, match.key, address)
    if flow is None:
        flow = leaf._new_flow(leaf._out, match.key, address, leaf._past_number(match.key, address))
        flow.limit = flow.last + match.credit
        flow.realm = match.realm
        flow.in_doubt = True
    return flow
