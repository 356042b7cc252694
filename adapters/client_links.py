"""The link of a client of a server: let in as that says, read no faster than it may send, counted and heard.

Imported by programs that have a server of named clients.
"""

from __future__ import annotations

from typing import Any, cast

from busway.adapters.client_records import ClientMessage, Counts
from busway.adapters.clients import Seat, Server
from busway.adapters.guarded import GuardedRunner
from busway.adapters.links import Host, Owner
from busway.adapters.making import Terms
from busway.adapters.protecting import Protection, proved_of
from busway.protocol import Connection, Link, codes
from busway.protocol.errors import Refusal
from busway.protocol.packet.admitted import AdmittedConnection, admitted
from busway.protocol.wire.address import uuid_of
from busway.protocol.wire.hello import Hello
from busway.protocol.wire.messages import Frame


class ClientRunner(GuardedRunner):
    """As GuardedRunner, with a server that lets in who comes."""

    def __init__(self, host: Host, channel: Any, terms: Terms, owner: Owner | None) -> None:
        assert terms.server is not None
        self.server: Server = terms.server
        self.token = terms.token
        self._seat: Seat | None = None
        self._verdict: Refusal | bool | None = None  # what `admit` said; None: not yet
        super().__init__(host, channel, terms, owner)

    def _make(self, host: Host, link: Link) -> Connection:
        connection = cast(AdmittedConnection, host.node.connection(link, host.now_ms(), admitted))
        connection.accept = self._accept
        connection.door.greet = self._greet
        if self.server.rules.on_message is not None:
            connection.listen(self._hear)
        return connection

    @property
    def _admitted(self) -> AdmittedConnection:
        return cast(AdmittedConnection, self.connection)

    @property
    def client(self) -> Any:
        """The client; None before it was let in."""
        return self._seat.client if self._seat is not None and self._verdict is True else None

    @property
    def is_stranger(self) -> bool:
        """One whom the program is asked about has said who it is."""
        return self._seat is None and super().is_stranger

    @property
    def protection_now(self) -> Protection:
        """The proof of the other side, though the link is not open."""
        trusted = "" if self.admission is None else self.admission.name
        return proved_of(self.connection, self.token is not None, trusted, self._host.identity.board_names)

    # Who comes

    def _greet(self, theirs: Hello) -> bool:
        """Whether it is let in now. Raises Refusal."""
        if self._seat is None:
            self._seat = self.server.came(self, theirs)
            if self.server.rules.admit is None:
                self._verdict = True
            else:
                self.server.ask(self._seat, self._answered)
                self._stop_reading()
        if self._verdict is None:
            return False
        if isinstance(self._verdict, Refusal):
            self.server.turn_away(self._verdict)
        self.server.seat(self._seat)
        self._seat.client._attach(self._counted_now, self._end)
        theirs.label = self._seat.client.name
        return True

    def _answered(self, seat: Seat | None, refusal: Refusal | None) -> None:
        """The program has said whether it may come."""
        if seat is not None:
            self._seat = seat
        self._verdict = True if refusal is None else refusal
        if self._closed or self._failing:
            return
        self._host.dispatch(self._admitted.go_on(self._host.now_ms()))
        self.settle()
        if not self._closed:
            self._read_on()

    def make_way(self, node: bytes, text: str) -> None:
        """Give way to one who has proved to be the same. Two links of one node are the core's affair: of two
        over one address it reads the former to its end.
        """
        connection = self.connection
        if connection.state == codes.OPEN and connection.peer is not None and connection.peer.node_id != node:
            connection.fail(codes.REPLACED, text, self._host.now_ms())

    def ended(self) -> None:
        super().ended()
        self.server.left(self)

    def _end(self, text: str) -> None:
        self.connection.close(self._host.now_ms(), codes.NOT_ADMITTED, text, drain=True)

    # What passes

    def _most(self, quota: str) -> int:
        """The smaller of what the policy and the server say."""
        rate = self.server.rules.rate[0 if quota == "messages" else 1]
        most = super()._most(quota)
        return rate if most < 0 else most if rate < 0 else min(most, rate)

    def _remark_rest(self, behind: str = "") -> None:
        """As of any link, but strangers may come again and again."""
        told = self.server.slowed.take(self._host.now_ms())
        if told is not None:
            super()._remark_rest(told)

    def _counted_now(self) -> Counts:
        connection = self._admitted
        came, went = connection.count(), connection.door.written
        return Counts(
            came.messages - came.signals,
            went.messages - went.signals,
            connection.bytes_in,
            connection.bytes_out,
            connection.backlog.lost + connection.dropped_answers,
        )

    def _hear(self, frame: Frame) -> None:
        client = self.client
        if frame.kind > codes.REQUEST or client is None or not isinstance(frame.payload, bytes):
            return
        uuid = uuid_of(frame.endpoint)
        name = "" if frame.options is None else frame.options.name
        message = ClientMessage(
            frame.kind, uuid, name or self._name_of(uuid), frame.payload, frame.format, frame.type_id
        )
        self.server.heard(self, client, message)
        if self.server.behind(self) and not self._resting:
            self._rest_for(0.0)

    def _name_of(self, uuid: bytes) -> str:
        node = self._host.node
        mine = node.receiving.endpoints.get(uuid)
        if mine is not None:
            return mine.name
        holders = node.directory.holders(uuid)
        return holders[0].name if holders else ""

    def _is_behind(self) -> bool:
        return self.server.behind(self)
