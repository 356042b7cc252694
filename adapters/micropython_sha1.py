"""SHA-1 for boards whose MicroPython was built without it. Knows nothing else."""


class sha1:  # noqa: N801 - as in hashlib
    """FIPS 180-4, section 6.1; slow, and needed once for each name."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def digest(self) -> bytes:
        """The 20 bytes."""
        data = self._data
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
            a, b, c, d, e = state
            for at in range(80):
                if at > 15:  # of the 80 words the last 16 are enough
                    word = words[at - 3 & 15] ^ words[at - 8 & 15] ^ words[at - 14 & 15] ^ words[at & 15]
                    words[at & 15] = _turn(word, 1)
                if at < 20:
                    mixed = (b & c | ~b & d) + 0x5A827999
                elif at < 40:
                    mixed = (b ^ c ^ d) + 0x6ED9EBA1
                elif at < 60:
                    mixed = (b & c | b & d | c & d) + 0x8F1BBCDC
                else:
                    mixed = (b ^ c ^ d) + 0xCA62C1D6
                a, b, c, d, e = (
                    (_turn(a, 5) + mixed + e + words[at & 15]) & 0xFFFFFFFF,
                    a,
                    _turn(b, 30),
                    c,
                    d,
                )
            state = [(old + new) & 0xFFFFFFFF for old, new in zip(state, (a, b, c, d, e))]  # noqa: B905
        out = bytearray()
        for word in state:
            out.extend(bytes([word >> 24, word >> 16 & 255, word >> 8 & 255, word & 255]))
        return bytes(out)


def _turn(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & 0xFFFFFFFF
