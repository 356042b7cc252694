"""Last words: what an endpoint's holder left for the case that it is lost, given to those here who have
subscribed to its name.
"""

from busway.protocol.messaging.correspondent import talk
from busway.protocol.messaging.endpoints import Endpoint, InFlow
from busway.protocol.messaging.marked import MarkedMessage
from busway.protocol.messaging.receiving import Receiving
from busway.protocol.routing.peers import Entry
from busway.protocol.wire import codes
from busway.protocol.wire.patterns import matches
from busway.protocol.wire.traits import gone_of


def give_last_word(receiving: Receiving, entry: Entry, now: int) -> None:
    """Queue the last word of an endpoint whose node is lost at the receivers that would get what is published
    to its name: those within whose realm that node was.
    """
    word = gone_of(entry.traits)
    if not word:
        return
    for endpoint in _subscribed(receiving, entry):
        if endpoint.realm >= max(codes.USERSPACE, entry.peer.metric >> 14):
            _give(receiving, entry, endpoint, word, now)


def _subscribed(receiving: Receiving, entry: Entry) -> "list[Endpoint]":
    own = receiving.endpoints.get(entry.uuid)
    found = [] if own is None or own.kind != codes.BROADCAST else [own]
    if entry.name and "*" not in entry.name:
        for uuid, pattern in receiving.patterns.items():
            if matches(pattern, entry.name):
                found.append(receiving.endpoints[uuid])
    return found


def _give(receiving: Receiving, entry: Entry, endpoint: Endpoint, word: bytes, now: int) -> None:
    """Behind all that came of the node. One that nothing had come of keeps no numbers by this."""
    peer = talk(entry.peer)
    flow = peer.in_flows.get(endpoint.uuid)
    if flow is None:
        flow = InFlow(peer, endpoint, 0, now)
    format, type_id = word[0], b""
    at = 1
    if format == codes.TYPED:
        at += codes.ID_SIZE
        type_id = word[1:at]
    elif format == codes.TYPED_AS_ENDPOINT and endpoint.uuid != entry.uuid:
        format, type_id = codes.TYPED, entry.uuid
    message = MarkedMessage(flow, flow.received, word[at:], format, type_id, 0, now)
    message.mark("" if endpoint.uuid == entry.uuid else entry.name, last_word=True)
    receiving.deliver(message)
