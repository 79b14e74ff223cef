"""``check`` is the only gate: whatever a parser claims, the file stays whole."""

from __future__ import annotations

import pytest

from git_nn.errors import LayoutError
from git_nn.objects.layout import Chain, Checksum, Extent, Layout, Payload, View, check


def layout(*payloads: Payload, size: int = 100, **more: object) -> Layout:
    return Layout("test", 1, size, payloads, **more)  # type: ignore[arg-type]


def payload(offset: int, length: int, name: str = "w", **more: object) -> Payload:
    fields: dict[str, object] = {"dtype": "u8", "shape": (length,), **more}
    return Payload(name, extents=(Extent(offset, length),), **fields)  # type: ignore[arg-type]


def test_a_partition_passes() -> None:
    a = payload(0, 8, "a", dtype="f32", shape=(2,))
    check(
        layout(
            a,
            payload(8, 92, "b"),
            views=(View("t", "f32", (2, 1), "a", 0, (1, 1)),),
        )
    )
    check(layout(checksums=(Checksum(30, 10, 30),), chains=(Chain(10, ((34, 40), (0, 10))),)))
    check(layout())
    check(layout(payload(50, 0, shape=(0, 7))))


@pytest.mark.parametrize(
    "bad",
    [
        layout(payload(0, 60, "a"), payload(59, 41, "b")),
        layout(payload(0, 10, "a"), payload(0, 10, "b")),
        layout(payload(90, 11)),
        layout(payload(-1, 5)),
        layout(payload(0, 10, "a"), payload(10, 10, "a")),
        layout(payload(0, 10, shape=(11,))),
        layout(payload(0, 10, shape=(2**80,))),
        layout(payload(0, 10, shape=(-10,))),
        layout(payload(0, 10, dtype="q4_K")),
        layout(payload(0, 1, dtype="u4", shape=(3,))),
        layout(payload(0, 10, shape=(1,) * 65 + (10,))),
        layout(payload(0, 10, "\ud800")),
        layout(payload(0, 10, form="two words")),
        layout(payload(0, 10, form="x" * 201)),
        layout(payload(0, 8), views=(View("t", "u8", (9,), "w", 0, (1,)),)),
        layout(payload(0, 8), views=(View("t", "u8", (2,), "w", 7, (1,)),)),
        layout(payload(0, 8), views=(View("t", "u8", (2, 2), "w", 0, (7, 1)),)),
        layout(payload(0, 8), views=(View("t", "u8", (2,), "w", 0, (-1,)),)),
        layout(payload(0, 8), views=(View("t", "u8", (2,), "w", 0, (1, 1)),)),
        layout(payload(0, 8), views=(View("t", "u8", (2,), "nobody", 0, (1,)),)),
        layout(payload(0, 8, form="x"), views=(View("t", "u8", (2,), "w", 0, (1,)),)),
        layout(payload(0, 8), views=(View("w", "u8", (2,), "w", 0, (1,)),)),
        layout(payload(0, 8), checksums=(Checksum(6, 20, 30),)),
        layout(checksums=(Checksum(98, 0, 10),)),
        layout(checksums=(Checksum(0, 0, 101),)),
        layout(checksums=(Checksum(10, 20, 15),)),
        layout(checksums=(Checksum(10, 0, 20),)),
        layout(checksums=(Checksum(10, 20, 40), Checksum(39, 50, 60))),
        layout(chains=(Chain(81, ((0, 10),)),)),
        layout(chains=(Chain(-1, ((50, 60),)),)),
        layout(chains=(Chain(10, ()),)),
        layout(chains=(Chain(10, ((0, 5), (29, 40))),)),
        layout(chains=(Chain(10, ((0, 5), (90, 101))),)),
        layout(chains=(Chain(10, ((50, 49),)),)),
        layout(chains=(Chain(10, ((50, 60),)), Chain(40, ((0, 11),)))),
        layout(chains=(Chain(10, ((50, 60),)), Chain(29, ((60, 70),)))),
        layout(chains=(Chain(10, ((50, 60),)),), checksums=(Checksum(55, 0, 5),)),
        layout(payload(0, 11), chains=(Chain(10, ((50, 60),)),)),
    ],
    ids=str,
)
def test_what_is_no_partition_is_refused(bad: Layout) -> None:
    with pytest.raises(LayoutError):
        check(bad)


def test_a_million_names_are_refused_quickly() -> None:
    one = payload(0, 0, shape=(0,))
    with pytest.raises(LayoutError, match="more than"):
        check(layout(*[one] * 200_001))
