"""Arrays of numbers in payloads, with the name of their elements, their shape and the numbers, row by row.

May not import busway. "shape" is null where the payload says none: then the array has one dimension.
"written" is true where a sender of ours would write the very same bytes for numbers in that order of bytes.
"""

from tests.vectors.pieces import Vector, hexed


def _array(pieces: str, dtype: str, shape: list[int] | None, numbers: list[object], **more: object) -> Vector:
    return {"hex": hexed(pieces), "dtype": dtype, "shape": shape, "numbers": numbers, "written": True, **more}


ARRAYS: Vector = {
    "about": "docs/protocol.md section 5.7: CBOR of arrays of numbers",
    "arrays": [
        _array("d840 43 010203", "u1", None, [1, 2, 3], written=False),
        _array("d84e 48 01000000 ffffffff", "<i4", None, [1, -1], written=False),
        _array("d828 82 81 03 d840 43 010203", "u1", [3], [1, 2, 3]),
        _array("d828 82 82 02 03 d84d 4c 0100 0200 0300 0400 0500 ffff", "<i2", [2, 3], [1, 2, 3, 4, 5, -1]),
        _array("d828 82 82 02 01 d841 44 0102 0304", ">u2", [2, 1], [258, 772]),
        _array(
            "d828 82 83 01 02 01 d856 50 000000000000f83f 00000000000000c0", "<f8", [1, 2, 1], [1.5, -2.0]
        ),
        _array("d828 82 81 02 d851 48 3fc00000 c0000000", ">f4", [2], [1.5, -2.0]),
        _array("d828 82 81 02 d854 44 003e 00c0", "<f2", [2], [1.5, -2.0]),
        _array("d828 82 80 d84f 48 0900000000000000", "<i8", [], [9]),
        _array("d828 82 82 00 03 d856 40", "<f8", [0, 3], []),
        _array("d828 82 82 02 02 d9b5b0 d840 44 01000001", "?", [2, 2], [True, False, False, True]),
        _array("d828 82 81 01 d9b5b1 d855 48 0000c03f 000000c0", "<c8", [1], [[1.5, -2.0]]),
        # Wider heads than need be, as they are written to align the elements of a large array.
        _array(
            "d828 9a00000002 82 02 1802 d847 5b0000000000000020" + "0100000000000000" * 4,
            "<u8",
            [2, 2],
            [1] * 4,
            written=False,
        ),
    ],
    "refused": [
        {"hex": hexed("d828 82 82 02 03 d840 45 0102030405"), "why": "six elements in five bytes"},
        {"hex": hexed("d828 82 81 02 d845 43 010203"), "why": "half an element"},
        {"hex": hexed("d828 82 80 d840 40"), "why": "one element in no bytes"},
        {"hex": hexed("d828 82 81 02 d9b5b0 d840 42 0102"), "why": "2 is no truth value"},
        {"hex": hexed("d828 82 81 02 d9b5b1 d855 48 0000c03f 000000c0"), "why": "one complex number for two"},
    ],
    "left": [
        {"hex": hexed("d828 81 81 02"), "why": "no elements"},
        {"hex": hexed("d828 82 82 02 01 82 01 02"), "why": "the elements are no typed array"},
        {"hex": hexed("d828 82 9f 02 ff d840 42 0102"), "why": "a shape without a length"},
        {"hex": hexed("d828 82 81 20 d840 40"), "why": "a negative length"},
        {"hex": hexed("d828 82 81 02 d84c 42 0102"), "why": "the reserved tag"},
        {"hex": hexed("d828 82 81 02 d9b5b0 d841 44 00010001"), "why": "truth values of two bytes"},
        {"hex": hexed("d828 82 81 02 d840 5f 42 0102 ff"), "why": "elements in pieces"},
        {"hex": hexed("d828 82 98 21" + "01" * 33 + "d840 41 07"), "why": "33 dimensions"},
        {"hex": hexed("d90410 82 81 02 d840 42 0102"), "why": "column by column"},
    ],
}
