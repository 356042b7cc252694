"""The part of a node's face that answers requests, and checks what a program gives as a payload."""

from busway.protocol.checks import check_id
from busway.protocol.errors import LocalError
from busway.protocol.messaging.requests import Request
from busway.protocol.retaining import Retaining
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Limits
from busway.protocol.wire.things import SHARED_MIN, beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence


class Answering(Retaining):
    """A node that serves requests."""

    limits: Limits

    def respond(
        self,
        request: Request,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> int:
        """Reply. Returns 0, or a token whose Outcome comes when the link has room. A request that is over is
        ignored. `payload`, `things` and `regions` as of `send`.
        """
        large = self._check_answer(request, payload, format, type_id)
        given = beside(payload, things, regions) if large or things or regions else None
        return self.receiving.respond(request, payload, format, type_id, now, given)

    def respond_part(
        self,
        request: Request,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> int:
        """One part of a streaming reply. Returns 0, or a token whose Outcome comes when the origin has room
        for it. `payload`, `things` and `regions` as of `send`.
        """
        large = self._check_answer(request, payload, format, type_id)
        given = beside(payload, things, regions) if large or things or regions else None
        return self.receiving.respond_part(request, payload, format, type_id, now, given)

    def respond_end(self, request: Request, now: int) -> int:
        """End a streaming reply. Returns as `respond` does."""
        return self.receiving.respond_end(request, now)

    def respond_error(self, request: Request, code: int, text: str, now: int) -> int:
        """Answer with an error: `code` 256 and up is the application's own, HANDLER_FAILED (64) an
        exception.
        """
        if not 0 < code <= 0xFFFFFFFF:
            raise LocalError("an error code must be 1 to 4294967295, not %r" % code)
        return self.receiving.respond_error(request, code, text, now)

    def _check_answer(self, request: Request, payload: object, format: int, type_id: bytes) -> bool:
        if format == codes.OBJECT and request.flow.endpoint.realm == codes.PROCESS:
            return False
        return self._check_payload(payload, format, type_id)

    def _check_payload(self, payload: object, format: int, type_id: bytes) -> bool:
        """Whether it may lie in shared memory: it is large, or a view. Raises LocalError."""
        if type(payload) is not bytes:
            if type(payload) is not memoryview:
                raise LocalError("a payload must be bytes (an object only for a PROCESS endpoint)")
            if not payload.c_contiguous or payload.ndim != 1 or payload.itemsize != 1:
                raise LocalError("a view as a payload must be of bytes, one behind the other: cast it")
        if not codes.RAW <= format <= codes.TYPED:
            raise LocalError("format must be RAW, CBOR, TYPED_AS_ENDPOINT or TYPED (0 to 3), not %r" % format)
        if format == codes.TYPED:
            check_id("type_id", type_id)
        size = len(payload)
        if size > self.limits.message_size_max:
            raise LocalError(
                "a payload of %d bytes exceeds message_size_max of %d: send it in parts"
                % (size, self.limits.message_size_max)
            )
        return size >= SHARED_MIN or type(payload) is memoryview
