"""What gc decides, as data: which packs go, which are rewritten, what is kept."""

from __future__ import annotations

from pathlib import Path

from git_nn.gc import MANY_SMALL, SMALL, Sweep, plan
from git_nn.objects.oid import Oid, oid_of
from git_nn.store.info import FrameInfo, PackInfo

NOTHING = Sweep(0, 0, 0, 0)
OLD, LIMIT, NEW = 100.0, 200.0, 300.0
HEADER = 112  # bytes of a frame before its body: docs/spec-store.md, section 3


def oid(name: str) -> Oid:
    return oid_of(name.encode())


def pack(name: str, frames: dict[str, int], mtime: float = OLD) -> PackInfo:
    """A pack called ``name`` with frames of so many stored bytes."""
    found = tuple(
        FrameInfo(oid(frame), 1, 0, 0, 0, None, 0, size - HEADER, size, ())
        for frame, size in frames.items()
    )
    return PackInfo(name, Path(name), Path(name), 16 + sum(frames.values()), mtime, found)


def live(*names: str) -> frozenset[Oid]:
    return frozenset(oid(name) for name in names)


def kept(sweep: Sweep) -> set[Oid]:
    return {copy.frame.id for copy in sweep.keep}


def test_a_pack_without_anything_live_is_retired() -> None:
    packs = [pack("dead", {"a": 1000, "b": 1000}), pack("live", {"c": 1000})]
    sweep = plan(NOTHING, packs, live("c"), LIMIT)
    assert (sweep.retire, sweep.drop, sweep.rewrite, sweep.keep) == (("dead",), (), (), ())
    assert sweep.freed == 2016
    assert sweep.waiting == 0


def test_a_young_pack_keeps_everything() -> None:
    packs = [pack("young", {"a": 1000}, NEW), pack("mixed", {"b": 1000, "c": 3000}, NEW)]
    sweep = plan(NOTHING, packs, live("b"), LIMIT)
    assert (sweep.retire, sweep.rewrite, sweep.freed) == ((), (), 0)
    assert sweep.waiting == 4000


def test_a_pack_of_exactly_the_limit_is_young() -> None:
    assert plan(NOTHING, [pack("a", {"a": 1000}, LIMIT)], live(), LIMIT).retire == ()


def test_a_pack_that_is_mostly_dead_is_rewritten_with_what_is_live() -> None:
    packs = [pack("p", {"a": 1000, "b": 1500})]
    sweep = plan(NOTHING, packs, live("a"), LIMIT)
    assert (sweep.retire, sweep.rewrite, kept(sweep)) == (("p",), ("p",), live("a"))
    assert sweep.freed == 1516


def test_a_pack_that_is_mostly_live_stays() -> None:
    sweep = plan(NOTHING, [pack("p", {"a": 1900, "b": 600})], live("a"), LIMIT)
    assert (sweep.retire, sweep.rewrite, sweep.freed) == ((), (), 0)


def test_a_pack_whose_frames_all_have_smaller_copies_is_dropped_once_these_are_checked() -> None:
    packs = [pack("p", {"a": 1000}, NEW), pack("q", {"a": 900, "b": 500}, NEW)]
    sweep = plan(NOTHING, packs, live("b"), LIMIT)
    assert (sweep.retire, sweep.drop, sweep.rewrite) == ((), ("p",), ())
    assert [(copy.pack, copy.frame.id) for copy in sweep.instead] == [("q", oid("a"))]
    assert sweep.freed == 1016


def test_a_pack_with_a_dead_frame_goes_to_the_trash_even_if_the_rest_has_copies() -> None:
    packs = [pack("p", {"a": 1000, "x": 100}), pack("q", {"a": 900})]
    sweep = plan(NOTHING, packs, live("a"), LIMIT)
    assert (sweep.retire, sweep.drop, sweep.rewrite) == (("p",), (), ())


def test_of_two_copies_one_is_kept_when_their_packs_are_rewritten() -> None:
    packs = [pack("p", {"a": 1000, "x": 1100}), pack("q", {"a": 1000, "y": 1100})]
    sweep = plan(NOTHING, packs, live("a"), LIMIT)
    assert (sweep.rewrite, set(sweep.retire)) == (("p",), {"p", "q"})
    assert kept(sweep) == live("a")
    assert sweep.freed == 2 * 2116 - 1000


def test_many_small_packs_become_few_and_young_ones_lose_nothing() -> None:
    old = [pack(f"o{i}", {f"a{i}": 800, f"b{i}": 100}) for i in range(MANY_SMALL)]
    young = [pack("young", {"c": 500, "d": 500}, NEW)]
    large = [pack("large", {"e": SMALL})]
    wanted = live("e", *(f"a{i}" for i in range(MANY_SMALL)))
    few = plan(NOTHING, [*old, *large], wanted, LIMIT)
    assert few.rewrite == ()
    sweep = plan(NOTHING, [*old, *young, *large], wanted, LIMIT)
    assert set(sweep.rewrite) == {p.name for p in (*old, *young)}
    assert kept(sweep) == live("c", "d", *(f"a{i}" for i in range(MANY_SMALL)))
    assert sweep.freed == MANY_SMALL * (16 + 100) + 16


def test_an_empty_store_needs_nothing() -> None:
    assert plan(NOTHING, [], live(), LIMIT) == NOTHING
