"""Names of endpoints to their uuids, UUID version 5 (docs/protocol.md, section 1), on boards. Knows nothing
else."""

try:
    from hashlib import sha1
except ImportError:  # boards without TLS have no SHA-1
    from busway.adapters.micropython_sha1 import sha1  # type: ignore[assignment]

_NAMESPACE = b"\xf2\x06\x65\x00\x0b\xc6\x4e\xa2\x9d\x3a\x78\x01\xeb\x92\xbb\x6c"


def uuid_of(name: "str | bytes", _subscribes: bool = False) -> bytes:
    """The 16 bytes that a name stands for; bytes are taken as the uuid itself. A pattern is for who
    subscribes. Raises ValueError."""
    if isinstance(name, bytes):
        if len(name) != 16:
            raise ValueError("an endpoint is a name, or a uuid of 16 bytes")
        return name
    raw = name.encode()
    if not 1 <= len(raw) <= 64 or ("*" in name and not _subscribes):
        raise ValueError("a name has 1 to 64 bytes of UTF-8; * is for subscribe")
    digest = bytearray(sha1(_NAMESPACE + raw).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest[:16])
