"""Names of endpoints to their uuids, on boards: UUID version 5 (docs/protocol.md, section 1). Knows
nothing else."""

try:
    from hashlib import sha1 as _sha1
except ImportError:  # boards without TLS have no SHA-1
    _sha1 = None  # type: ignore[assignment]

_NAMESPACE = b"\xf2\x06\x65\x00\x0b\xc6\x4e\xa2\x9d\x3a\x78\x01\xeb\x92\xbb\x6c"


def uuid_of(name: "str | bytes") -> bytes:
    """The 16 bytes that a name stands for; bytes are taken as the uuid itself. Raises ValueError."""
    if isinstance(name, bytes):
        if len(name) != 16:
            raise ValueError("an endpoint is a name, or a uuid of 16 bytes")
        return name
    raw = name.encode()
    if not 1 <= len(raw) <= 64:
        raise ValueError("a name has 1 to 64 bytes of UTF-8")
    digest = bytearray(plain_sha1(_NAMESPACE + raw) if _sha1 is None else _sha1(_NAMESPACE + raw).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest[:16])


def plain_sha1(data: bytes) -> bytes:
    """FIPS 180-4, section 6.1; slow, and needed once for each name."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
    size = len(data) * 8
    data += (
        b"\x80"
        + bytes((55 - len(data)) % 64 + 4)
        + bytes([size >> 24, size >> 16 & 255, size >> 8 & 255, size & 255])
    )
    for block in range(0, len(data), 64):
        words = []
        for at in range(block, block + 64, 4):
            words.append(data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3])
        for at in range(16, 80):
            words.append(_turn(words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16], 1))
        a, b, c, d, e = state
        for at in range(80):
            if at < 20:
                mixed = (b & c | ~b & d) + 0x5A827999
            elif at < 40:
                mixed = (b ^ c ^ d) + 0x6ED9EBA1
            elif at < 60:
                mixed = (b & c | b & d | c & d) + 0x8F1BBCDC
            else:
                mixed = (b ^ c ^ d) + 0xCA62C1D6
            a, b, c, d, e = (_turn(a, 5) + mixed + e + words[at]) & 0xFFFFFFFF, a, _turn(b, 30), c, d
        state = [(old + new) & 0xFFFFFFFF for old, new in zip(state, (a, b, c, d, e))]  # noqa: B905
    out = bytearray()
    for word in state:
        out.extend(bytes([word >> 24, word >> 16 & 255, word >> 8 & 255, word & 255]))
    return bytes(out)


def _turn(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & 0xFFFFFFFF
