"""Bodies made by hand from docs/spec-codecs.md: every codec and every mode, readable for ever."""

from __future__ import annotations

import pytest

from git_nn.codec import table

NO = "02 01000000 00"  # a record of equal zeros
ONES = "80 3f" * 16

# (what, codec, body, base, raw), all in hexadecimal
BODIES = [
    ("raw", 0, "61 62", "", "61 62"),
    ("zstd: a frame of one uncompressed block", 1, "28b52ffd 20 03 190000 616263", "", "616263"),
    ("planes16", 2, "02 01000000 7f  00 02000000 00 01", "", "803f 80bf"),
    ("planes32", 3, "00 01000000 7f  00 01000000 00  00 02000000 0100", "", "0100803f"),
    (
        "planes64", 4,
        "00 01000000 7f  00 01000000 e0  00 02000000 0000  00 04000000 02000000",
        "", "02 00 00 00 00 00 f0 3f",
    ),
    ("words, with a tail", 5, "02  02 01000000 7f  00 02000000 00 81  21", "", "803f 81bf 21"),
    (
        "words, bytewise", 5,
        f"04  02 01000000 7f  {NO}  03 0d000000 02 01000000 12 00 02000000 34 35",
        "", "3412803f 3512803f",
    ),
    (
        "words, packed two bits to a symbol, with an escape", 5,
        f"02  04 0f000000 02 7d  00 02000000 26 03  00 01000000 40  {NO}",
        "", "803f 003f 803f 803e 0020",
    ),
    (
        "words, packed one bit to a symbol", 5,
        f"02  04 0f000000 01 7f  00 01000000 0a  00 02000000 80 80  {NO}",
        "", "803f 0040 803f 0040",
    ),
    (
        "words, packed four bits to a symbol", 5,
        f"02  04 0e000000 04 7e  00 02000000 21 00  00 00000000  {NO}",
        "", "803f 0040 003f",
    ),
    (
        "words, sparse", 5,
        f"02  05 12000000 7f 02000000  00 02000000 ff 05  00 01000000 80  {NO}",
        "", "803f" * 260 + "0040" + "803f" * 39,
    ),
    (
        "words, through zstd", 5,
        f"02  01 0b000000 28b52ffd 20 02 110000 7f 80  {NO}",
        "", "803f 0040",
    ),
    ("delta of floats", 6, f"12  {NO}  00 02000000 02 01", "803f 80bf", "813f 81bf"),
    ("delta of floats across zero", 6, f"12  {NO}  00 01000000 02", "0080", "0000"),
    ("delta of integers", 6, f"02  {NO}  00 02000000 02 01", "ffff 0000", "0000 ffff"),
    ("delta of bytes", 6, "01  00 02000000 03 04", "05 05", "03 07"),
    ("narrowed bf16", 7, "01 00 803f 20c0", "", "0000803f 000020c0"),
    (
        "narrowed f16: a normal number, a denormal, a NaN", 7, "02 00 013c 0100 017e",
        "", "0020803f 00008033 0020c07f",
    ),
    ("narrowed delta", 8, f"01 06 12  {NO}  00 01000000 02", "0000803f", "0000813f"),
    (
        "partitioned delta", 9, f"12 08 00 0100  {NO}  00 03000000 04 02 06",
        "0040 803f 0040", "0140 823f 0340",
    ),
    (
        "partitioned delta in two groups", 9,
        f"12 08 00 0200 8000  00 01000000 00  00 01000000 04  {NO}  00 02000000 02 06",
        "0040 803f 0040", "0140 823f 0340",
    ),
    (
        "partitioned delta with a map", 9,
        "12 08 01 0100  00 01000000 04  00 01000000 00  00 01000000 06",
        "0040 803f 0040", "0040 803f 0340",
    ),
    (
        # 1 + (1, 2, 0, -1) x (1, 0, 2, 4) / 8
        "low-rank delta", 10,
        ("01 01 03 04000000 00000000"
        f"{NO} {NO} {NO} 00 04000000 02 04 00 01"
        f"{NO} {NO} {NO} 00 04000000 02 00 04 08"
        f"06  12 {NO} {NO}"),
        ONES,
        "903f 803f a03f c03f  a03f 803f c03f 0040  803f 803f 803f 803f  603f 803f 403f 003f",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "body", "base", "raw"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES]
)
def test_a_body_of_the_specification_is_read(codec: int, body: str, base: str, raw: str) -> None:
    expected = bytes.fromhex(raw)
    old = bytes.fromhex(base) if table.needs_base(codec) else None
    assert bytes(table.decode(codec, bytes.fromhex(body), len(expected), old)) == expected


def test_every_codec_has_a_body_here() -> None:
    known = {body[1] for body in BODIES}
    assert known == set(range(11))
    for codec in range(11, 256):
        with pytest.raises(table.UnknownCodecError):
            table.decode(codec, b"", 0)


@pytest.mark.parametrize(
    "body",
    [
        f"02  04 0f000000 03 7d  00 02000000 26 03  00 01000000 40  {NO}",  # three bits
        f"02  04 0f000000 02 7d  00 02000000 26 02  00 01000000 40  {NO}",  # an escape too many
        f"02  04 0e000000 02 7d  00 02000000 26 03  00 00000000  {NO}",  # one too few
        f"02  05 12000000 7f 02000000  00 02000000 ff 05  00 01000000 80  {NO}",  # beyond the end
        f"02  05 11000000 7f 02000000  00 02000000 00 00  00 01000000 80  {NO}",  # cut off
        f"02  01 0c000000 28b52ffd 20 05 290000 7f 80 7f 80 7f 00  {NO}",  # behind the frame
        "03  02 01000000 7f",  # three bytes to a word
    ],
)
def test_a_record_that_is_not_as_specified_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        table.decode(5, bytes.fromhex(body), 10)
