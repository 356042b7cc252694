"""A program of a later protocol version, as far as others can tell: it greets as they do, one version up."""

import os
import select
import sys

from busway.adapters.making import ANY_TERMS, make_link
from busway.drivers import unix
from busway.protocol import Node, codes


def hello(channel: unix.UnixChannel, bus: str, node_id: bytes) -> bytes:
    """Our own HELLO, but for the version."""
    node = Node(node_id, bus=bus, entropy=os.urandom, label="later")
    connection = node.connection(make_link(channel, ANY_TERMS), 0)
    said = bytearray(connection.data_to_send(codes.HELLO_SIZE_MAX, 0))
    said[said.index(codes.MAGIC) + len(codes.MAGIC)] += 1
    return bytes(said)


def main(bus: str) -> None:
    node_id = os.urandom(16)
    listener = unix.UnixListener.open(bus, node_id)
    channels = [unix.dial(peer.path) for peer in unix.peers(bus) if peer.node_id != node_id]
    for channel in channels:
        channel.write(hello(channel, bus, node_id))
    print("ready", node_id.hex(), flush=True)
    while True:
        waited_for = [listener.fileno(), *(each.fileno() for each in channels)]
        readable = select.select(waited_for, [], [])[0]
        if listener.fileno() in readable and (client := listener.accept()) is not None:
            client.write(hello(client, bus, node_id))
            channels.append(client)
        for channel in [each for each in channels if each.fileno() in readable]:
            if not channel.read():
                channels.remove(channel)
                channel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
