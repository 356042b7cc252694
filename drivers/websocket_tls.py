"""TLS, sans-IO: ciphertext in, plaintext out, and back (ssl.MemoryBIO). Knows no socket."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Final

HANDSHAKE: Final = 0x16  # the first byte of who comes with TLS
_READ_SIZE: Final = 65536
# Of OpenSSL's verify codes.
_WRONG_NAME: Final = (62, 64)  # host name, address
_WRONG_TIME: Final = (9, 10)  # not yet, no longer
# What certainly is the same at another try; OpenSSL's words begin with which side complains.
_LASTING: Final = ("UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "NO_PROTOCOLS_AVAILABLE", "HANDSHAKE_FAILURE")
_NO_CERTIFICATE: Final = ("NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")  # as OpenSSL changed


class Untrusted(ssl.SSLCertVerificationError):
    """The other side's certificate does not do."""

    hopeless = True


class Unable(ssl.SSLError):
    """TLS will not come about at another try, either."""

    hopeless = True


class Tls:
    """One side of a TLS connection.

    begun: something has been taken in. open: the handshake is over. ended: the other side said that nothing
    more comes.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._in, self._out, server_side=server_side, server_hostname=hostname
        )
        self.begun = False
        self.open = False
        self.ended = False

    def receive_data(self, data: bytes) -> bytes:
        """Takes ciphertext, b"" to begin; returns the plaintext of all records that are complete.

        Raises ssl.SSLError (an OSError): `data_to_send` may then have an alert for the other side.
        """
        self.begun = True
        self._in.write(data)
        parts: list[bytes] = []
        try:
            if not self.open:
                self._object.do_handshake()
                self.open = True
            while part := self._object.read(_READ_SIZE):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypts; `data_to_send` has it then. Only once `open`. Raises ssl.SSLError."""
        rest = memoryview(data)
        while rest:  # one record, 16 KiB, at each call
            rest = rest[self._object.write(rest) :]

    def close(self) -> None:
        """Says that nothing more comes."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # the other side has not said so yet, or the handshake was not over

    def data_to_send(self) -> bytes:
        return self._out.read()


def client_context(cafile: str | None) -> ssl.SSLContext:
    """Checks the server's certificate and name, against the system's authorities or those in `cafile` (PEM).

    Raises OSError if `cafile` cannot be read or has no certificate.
    """
    try:
        changed_ns = os.stat(cafile).st_mtime_ns if cafile else 0  # a new one counts at once
    except OSError as error:
        raise OSError(error.errno, f"cannot read cafile={cafile!r}: {error.strerror}") from None
    return _client_context(cafile, changed_ns)


@functools.lru_cache(maxsize=8)
def _client_context(cafile: str | None, changed_ns: int) -> ssl.SSLContext:
    # Reading the system's authorities takes 20 ms, too long for every try of a link that reconnects.
    try:
        return ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise OSError(error.errno, f"no certificate in PEM format in {cafile}: {error.strerror}") from error


def server_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """With the certificate chain in `certificate` and its private key in `key`, or in the same file (PEM).

    Raises OSError if they cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        where = f"{certificate} and {key}" if key else certificate
        raise OSError(error.errno, f"no certificate with its key in {where}: {error.strerror}") from error
    return context


def shows_a_certificate(context: ssl.SSLContext) -> bool:
    """Whether a server with this context has one to show: said hello to in memory, it tells."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    client = Tls(asking, server_side=False)
    client.receive_data(b"")
    try:
        Tls(context, server_side=True).receive_data(client.data_to_send())
    except ssl.SSLError as error:
        return error.reason not in _NO_CERTIFICATE
    return True


def fault_of(error: ssl.SSLError, address: str, *, dialled: bool) -> ssl.SSLError:
    """The same as people understand it, and whether it would be so at another try."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(error.errno, f"{address}: {certificate_fault(error, dialled=dialled)}")
    lasting = any(word in (error.reason or "") for word in (*_NO_TLS, *_LASTING))
    sort = Unable if lasting else ssl.SSLError
    return sort(error.errno, f"{address}: {tls_fault(error)}")


def certificate_fault(error: ssl.SSLCertVerificationError, *, dialled: bool) -> str:
    """The fault of the other side's certificate, and what to do about it."""
    if not dialled:
        advice = (
            "the listener's own context asks clients for certificates, and does not know this one's authority"
        )
    elif error.verify_code in _WRONG_NAME:
        advice = "connect to a name that is in it, or let its owner have one made for this name"
    elif error.verify_code in _WRONG_TIME:
        advice = "its owner has to renew it, or a clock is wrong"
    else:
        advice = "give cafile= with the authority that signed it"
    return f"its certificate is not trusted ({error.verify_message.rstrip('.')}): {advice}"


def tls_fault(error: ssl.SSLError) -> str:
    """The reason why TLS failed, and where it can be told, what was meant."""
    if error.reason in _NO_TLS:
        return "what answers there does not speak TLS: connect to ws:// or tcp:// instead, if that is meant"
    if error.reason == "HTTP_REQUEST":
        return "somebody came without TLS: this listener is wss://, not ws://"
    return f"TLS failed: {error.strerror}"
