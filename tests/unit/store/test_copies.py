"""Which copies of a frame are kept: the smallest that can still be decoded upon each other."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

from git_nn.objects.oid import Oid, oid_of
from git_nn.store.copies import MAX_DEPTH, choose
from git_nn.store.info import FrameInfo, PackInfo


def oid(name: str) -> Oid:
    return oid_of(name.encode())


def frame(name: str, size: int, depth: int = 0, base: str | None = None) -> FrameInfo:
    return FrameInfo(oid(name), 1, 0, 0, depth, oid(base) if base else None, 0, size, size, ())


def pack(name: str, *frames: FrameInfo) -> PackInfo:
    return PackInfo(name, Path(name), Path(name), 0, 0.0, frames)


def chosen(*packs: PackInfo) -> dict[str, tuple[str, int]]:
    every = {frame.id for pack in packs for frame in pack.frames}
    names = {oid(letter): letter for letter in "abcdefghijklmnopqrstuvwxyz"}
    return {names[o]: (copy.pack, copy.depth) for o, copy in choose(packs, every).items()}


def test_the_smallest_copy_is_kept() -> None:
    packs = pack("p", frame("a", 90)), pack("q", frame("a", 80)), pack("r", frame("a", 85))
    assert chosen(*packs) == {"a": ("q", 0)}


def test_only_what_is_wanted_is_chosen() -> None:
    assert set(choose([pack("p", frame("a", 1), frame("b", 1))], {oid("b")})) == {oid("b")}


def test_two_frames_are_never_kept_as_deltas_of_each_other() -> None:
    first = pack("p", frame("a", 90), frame("b", 10, 1, "a"))
    second = pack("q", frame("b", 90), frame("a", 10, 1, "b"))
    kept = chosen(first, second)
    assert sorted(depth for _, depth in kept.values()) == [0, 1]


def test_a_delta_gets_deeper_when_its_base_becomes_a_delta() -> None:
    old = pack("p", frame("a", 90), frame("b", 90), frame("c", 10, 1, "b"))
    new = pack("q", frame("b", 20, 1, "a"))
    assert chosen(old, new) == {"a": ("p", 0), "b": ("q", 1), "c": ("p", 2)}
    every = [oid(name) for name in "abc"]
    kept = choose([old, new], every)
    assert [kept[o].can_stand for o in every] == [True, True, False]


def test_a_base_that_is_not_here_is_no_obstacle() -> None:
    assert chosen(pack("p", frame("b", 10, 3, "a"))) == {"b": ("p", 3)}


def test_chains_stay_short_where_there_is_another_copy() -> None:
    names = "abcdefghijklm"
    small = pack("p", *(frame(n, 5, 1, m) for m, n in pairwise(names)))
    full = pack("q", *(frame(n, 90) for n in names))
    assert max(depth for _, depth in chosen(small, full).values()) == MAX_DEPTH


def test_whatever_copies_there_are_all_is_kept_and_ends() -> None:
    """Random stores that keep the rule of docs/spec-store.md, section 3."""
    draw = random.Random(5)
    for _ in range(200):
        names = "abcdefghij"
        depths: dict[str, list[int]] = {name: [] for name in names}
        packs = []
        for number in range(6):
            frames = []
            for name in draw.sample(names, 6):
                bases = [(o, d) for o in names for d in depths[o] if o != name and d < 7]
                if bases and draw.random() < 0.7:
                    base, depth = draw.choice(bases)
                    frames.append(frame(name, draw.randrange(1, 50), depth + 1, base))
                else:
                    frames.append(frame(name, draw.randrange(50, 90)))
                depths[name].append(frames[-1].depth)
            packs.append(pack(str(number), *frames))
        every = {frame.id for pack in packs for frame in pack.frames}
        kept = choose(packs, every)
        assert kept.keys() == every
        for copy in kept.values():
            assert copy.frame.base is None or kept[copy.frame.base].depth < copy.depth
