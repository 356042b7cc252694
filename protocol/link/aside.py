"""Abilities of a link between programs on one machine beside its bytes: it hands over things (open files,
memory) in order, and puts large payloads into memory that both sides see.

Injected by who opens the link; the core never looks into a thing. One that is dropped is freed by its last
reference going: its class sees to that. The adapter calls `Connection.receive_things` with what came beside
some bytes, before `receive_data` with these; and `things_to_send` right behind `buffers_to_send` or
`data_to_send`: what that returns goes with their first byte. It reads so, and no other way, as long as
`takes_things` is true, which it is from the first byte on.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Aside:
    """Abilities of one link beside its bytes: the argument `aside` of Link. Both are called while the core
    writes and reads, and must not block.
    """

    def give(self, payload: "Any") -> "tuple[bytes, Any] | None":
        """Put a payload where the other side can see it, as its frame is about to be written.

        Args: `payload` bytes, or a memoryview of bytes that nobody changes, of at least SHARED_MIN (65536)
        bytes. Returns a description of it, 1 to 64 bytes that only `take` of the other side understands, and
        the thing to be handed over with it; the same pair may go over several links. None: the payload goes
        as bytes.
        """
        raise NotImplementedError

    def take(self, description: bytes, thing: "Any") -> "Any":
        """Look at what the other side has given.

        Args: `description` as the other side's `give` returned it, and the thing that came with it; neither
        is to be trusted. Returns the payload, a memoryview of bytes that cannot be written to, whose memory
        stays as long as there is a view of it; a thing that is not needed for that is dropped. Raises
        LocalError with a sentence if it is not what it says: the link ends.
        """
        raise NotImplementedError
