"""What every remote must do, whatever it is made of. Subclassed in test_remotes.py.

A subclass gives ``connect``: each call another connection to the same place, which is empty when
a test begins, and ``published_bytes`` and ``plant_index``: what stands there by its name, read and
changed without git-nn.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.objects.oid import Oid
from git_nn.remote.base import Outgoing, Remote
from git_nn.remote.keys import KeyedRemote
from git_nn.store import index as indexes
from git_nn.store import sending
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.local import LocalStore
from git_nn.store.pack import PackFile
from git_nn.transfer.fetch import fetch, fetch_range
from git_nn.transfer.holdings import ask
from tests.support.models import normal

Connect = Callable[[], Remote]


def made(folder: Path, seed: int, size: int = 5000, small: int = 0) -> Outgoing:
    """A real pack of about ``size`` bytes, and ``small`` frames more, made by a store."""
    store = LocalStore(folder / f"store{seed}", pack_target=1 << 30)
    with store.batch() as batch:
        for number in range(small):
            batch.put([b"%d of %d" % (number, seed)])
        batch.put([random.Random(seed).randbytes(size)])
        batch.put([normal(seed, 16, 16)[1].tobytes()], dtype="f32")
    (path,) = (store.root / "packs").rglob("*.nnp")
    pack = PackFile(path.stem, path)
    return Outgoing(path.stem, path.stat().st_size, path, pack.index().data)


def whole(remote: Remote, pack: Outgoing) -> bytes:
    return b"".join(remote.read(pack.name, 0, pack.size))


def names(remote: Remote) -> set[str]:
    return {pack.name for pack in remote.packs()}


class Shop:
    """A store, and what push and fetch do with it."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.cache = root.with_name(f"{root.name}-indexes")

    def put(self, data: bytes, *, base: Oid | None = None) -> Oid:
        with self.store.batch() as batch:
            return batch.put([data], dtype="f32", base=base)[0]

    def get(self, oid: Oid) -> bytes:
        return read_bytes(self.store, oid)

    def frames(self) -> int:
        return sum(len(pack.frames) for pack in self.store.packs())

    def send(self, remote: Remote, oids: Sequence[Oid]) -> int:
        """Send what is missing there; how many frames that was."""
        parcel = self.store.parcel(oids, ask(remote, self.cache).header)
        assert not parcel.missing
        with self.store.scratch() as scratch:
            packs = sending.write(parcel, scratch / "sending", remote.max_pack)
            remote.publish(
                [Outgoing(p.name, p.index().pack_size, p.path, p.index().data) for p in packs]
            )
        return len(parcel.copies)

    def bring(self, remote: Remote, oids: Sequence[Oid]) -> None:
        fetch(self.store, ask(remote, self.cache), oids)


def flipped(index: bytes) -> bytes:
    """With one bit that is not what it was."""
    middle = len(index) // 2
    return index[:middle] + bytes([index[middle] ^ 1]) + index[middle + 1 :]


class RemoteContract:
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        raise NotImplementedError

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        """The bytes of a pack as they stand at the remote; read with other means than ours."""
        raise NotImplementedError

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        """Make ``data`` the index of a published pack, without git-nn."""
        raise NotImplementedError

    # -- nothing there

    def test_an_empty_remote_has_nothing(self, connect: Connect) -> None:
        with connect() as remote:
            assert remote.packs() == []
            assert list(remote.indexes([])) == []

    def test_looking_changes_nothing(self, connect: Connect) -> None:
        for _ in range(2):
            with connect() as remote:
                assert remote.packs() == []

    def test_publishing_nothing_is_no_work(self, connect: Connect) -> None:
        with connect() as remote:
            remote.publish([])
            assert remote.packs() == []

    def test_reading_what_is_not_there_is_an_error(self, connect: Connect) -> None:
        with connect() as remote, pytest.raises(RemoteError):
            list(remote.read("0" * 64, 0, 10))

    def test_an_index_that_is_not_there_is_left_out(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
            found = dict(remote.indexes([pack.name, "0" * 64]))
            assert found == {pack.name: pack.index}

    # -- there and back

    def test_a_pack_comes_back_to_another_connection(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
        with connect() as other:
            (found,) = other.packs()
            assert found.name == pack.name
            assert found.size in (pack.size, None)
            assert whole(other, pack) == pack.path.read_bytes()
            ((name, data),) = other.indexes([pack.name])
            assert (name, data) == (pack.name, pack.index)
            assert indexes.parse(data, name).pack_size == pack.size

    def test_the_same_bytes_stand_there(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
        assert self.published_bytes(tmp_path, pack.name) == pack.path.read_bytes()

    def test_a_pack_whose_file_has_rotted_is_not_published(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        pack = made(tmp_path, 1)
        rotten = tmp_path / "rotten"
        rotten.write_bytes(pack.path.read_bytes()[:-1] + b"!")
        with connect() as remote:
            with pytest.raises(RemoteError, match="does not have the bytes of its pack"):
                remote.publish([replace(pack, path=rotten)])
            assert remote.packs() == []
            remote.publish([pack])
            assert whole(remote, pack) == pack.path.read_bytes()

    def test_many_packs_at_once(self, connect: Connect, tmp_path: Path) -> None:
        packs = [made(tmp_path, seed, 500 * seed) for seed in range(1, 21)]
        with connect() as remote:
            remote.publish(packs)
        with connect() as other:
            assert names(other) == {pack.name for pack in packs}
            assert dict(other.indexes([p.name for p in packs])) == {p.name: p.index for p in packs}
            assert all(whole(other, pack) == pack.path.read_bytes() for pack in packs)

    def test_a_pack_of_many_pieces(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1, 9_000_000)
        with connect() as remote:
            remote.publish([pack])
            assert whole(remote, pack) == pack.path.read_bytes()

    def test_a_pack_with_a_large_index(self, connect: Connect, tmp_path: Path) -> None:
        packs = [made(tmp_path, seed, small=1500) for seed in (1, 2)]
        assert all(len(pack.index) > 100_000 for pack in packs)
        with connect() as remote:
            remote.publish(packs)
        with connect() as other:
            found = dict(other.indexes(sorted(names(other))))
            assert found == {pack.name: pack.index for pack in packs}

    def test_packs_are_added_to_those_that_are_there(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        first, second = made(tmp_path, 1), made(tmp_path, 2)
        with connect() as remote:
            remote.publish([first])
        with connect() as remote:
            remote.publish([second])
            assert names(remote) == {first.name, second.name}
            assert whole(remote, first) == first.path.read_bytes()

    def test_what_was_published_is_seen_by_a_connection_that_was_open(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        pack = made(tmp_path, 1)
        with connect() as early, connect() as remote:
            assert early.packs() == []
            remote.publish([pack])
            assert names(early) == {pack.name}
            assert whole(early, pack) == pack.path.read_bytes()

    # -- ranges

    @pytest.mark.parametrize("cut", [(0, 1), (0, 16), (17, 4000), (-9, -1), (1, -1), (5, 5)])
    def test_a_range_is_just_these_bytes(
        self, connect: Connect, tmp_path: Path, cut: tuple[int, int]
    ) -> None:
        pack = made(tmp_path, 1)
        start, stop = (
            at + pack.size if at < 0 or (i and not at) else at for i, at in enumerate(cut)
        )
        with connect() as remote:
            remote.publish([pack])
            found = b"".join(remote.read(pack.name, start, stop))
        assert found == pack.path.read_bytes()[start:stop]

    def test_a_range_beyond_the_end_is_an_error(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
            with pytest.raises(RemoteError):
                list(remote.read(pack.name, 0, pack.size + 1))

    def test_a_reader_may_stop_early(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1, 3_000_000)
        with connect() as remote:
            remote.publish([pack])
            reader = remote.read(pack.name, 0, pack.size)
            first = next(reader)
            reader.close()  # type: ignore[attr-defined]
            assert pack.path.read_bytes().startswith(first)
            assert whole(remote, pack) == pack.path.read_bytes()

    # -- again, at once, and what is odd

    def test_a_second_time_sends_nothing(self, connect: Connect, tmp_path: Path) -> None:
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
            (tmp_path / "empty").touch()
            gone = replace(pack, path=tmp_path / "not there")
            remote.publish([gone])  # would fail if it were read
            assert names(remote) == {pack.name}
            assert whole(remote, pack) == pack.path.read_bytes()

    def test_the_meter_is_told_of_every_byte(self, connect: Connect, tmp_path: Path) -> None:
        packs = [made(tmp_path, 1), made(tmp_path, 2, 2_000_000)]
        told: list[int] = []
        with connect() as remote:
            remote.publish(packs, told.append)
        assert sum(told) == sum(pack.size for pack in packs)

    def test_a_failure_publishes_nothing_of_what_was_not_sent(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        good, bad = made(tmp_path, 1), made(tmp_path, 2)
        bad = replace(bad, path=tmp_path / "not there")
        with connect() as remote:
            with pytest.raises((RemoteError, OSError)):
                remote.publish([good, bad])
            assert bad.name not in names(remote)
            remote.publish([good])
            assert whole(remote, good) == good.path.read_bytes()

    def test_a_pack_that_is_shorter_than_it_says_is_not_published(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        pack = made(tmp_path, 1)
        short = tmp_path / "short"
        short.write_bytes(pack.path.read_bytes()[:-7])
        with connect() as remote:
            with pytest.raises(RemoteError):
                remote.publish([replace(pack, path=short)])
            assert pack.name not in names(remote)

    def test_two_publish_at_once(self, connect: Connect, tmp_path: Path) -> None:
        packs = [made(tmp_path, seed) for seed in range(1, 9)]

        def send(part: list[Outgoing]) -> None:
            with connect() as remote:
                remote.publish(part)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(send, (packs[:5], packs[3:])))
        with connect() as remote:
            assert names(remote) == {pack.name for pack in packs}
            assert all(whole(remote, pack) == pack.path.read_bytes() for pack in packs)

    def test_threads_read_at_once(self, connect: Connect, tmp_path: Path) -> None:
        packs = [made(tmp_path, seed, 300_000) for seed in range(1, 7)]
        with connect() as remote:
            remote.publish(packs)
            with ThreadPoolExecutor(6) as pool:
                found = list(pool.map(lambda pack: whole(remote, pack), packs))
        assert found == [pack.path.read_bytes() for pack in packs]

    def test_what_is_removed_is_gone_and_can_come_again(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        first, second = made(tmp_path, 1), made(tmp_path, 2)
        with connect() as remote:
            remote.publish([first, second])
            remote.remove([first.name])
            assert names(remote) == {second.name}
            remote.remove([first.name])
            remote.publish([first])
            assert whole(remote, first) == first.path.read_bytes()

    def test_the_label_tells_no_secret(self, connect: Connect) -> None:
        with connect() as remote:
            assert remote.label
            assert "s3cret" not in remote.label
            assert "s3cret" not in repr(remote)

    def test_the_identity_is_that_of_the_place(self, connect: Connect) -> None:
        with connect() as one, connect() as other:
            assert one.identity == other.identity
            assert len(one.identity) == 32
            assert set(one.identity) <= set("0123456789abcdef")

    def test_the_size_that_is_best_sent_is_within_the_limits(self, connect: Connect) -> None:
        with connect() as remote:
            assert 1 << 20 <= remote.max_pack <= 96 << 20

    # -- stores on both ends: what push and fetch do with a remote

    def test_objects_go_from_one_store_to_another(self, connect: Connect, tmp_path: Path) -> None:
        near = Shop(tmp_path / "near")
        oids = [near.put(normal(seed, 50, 20).tobytes()) for seed in range(4)]
        with connect() as remote:
            near.send(remote, oids)
            far = Shop(tmp_path / "far")
            far.bring(remote, oids)
        assert [far.get(oid) for oid in oids] == [near.get(oid) for oid in oids]

    def test_an_object_of_many_segments_arrives_whole(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oid = near.put(random.Random(5).randbytes(2 * SEGMENT + 77))
        with connect() as remote:
            near.send(remote, [oid])
            far.bring(remote, [oid])
        assert far.get(oid) == near.get(oid)

    def test_some_bytes_of_an_object_bring_just_their_segment(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oid = near.put(random.Random(6).randbytes(3 * SEGMENT))
        with connect() as remote:
            near.send(remote, [oid])
            fetch_range(far.store, ask(remote, far.cache), oid, SEGMENT + 5, SEGMENT + 9)
        found = far.store.read_range(oid, SEGMENT + 5, SEGMENT + 9)
        assert found == near.get(oid)[SEGMENT + 5 : SEGMENT + 9]
        assert far.frames() == 2  # the list, and one segment
        assert far.store.size(oid) is None

    def test_a_delta_arrives_with_its_base(self, connect: Connect, tmp_path: Path) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        base = normal(7, 300, 100)
        first = near.put(base.tobytes())
        second = near.put((base + normal(8, 300, 100) * 1e-4).tobytes(), base=first)
        with connect() as remote:
            near.send(remote, [second])
            far.bring(remote, [second])
        assert far.get(second) == near.get(second)
        assert far.frames() == 2

    def test_what_is_there_is_not_sent_again(self, connect: Connect, tmp_path: Path) -> None:
        near = Shop(tmp_path / "near")
        oids = [near.put(normal(seed, 50, 20).tobytes()) for seed in range(3)]
        with connect() as remote:
            assert near.send(remote, oids[:2]) == 2
            assert near.send(remote, oids) == 1
            assert near.send(remote, oids) == 0

    def test_what_another_store_has_sent_is_not_sent_again(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        data = normal(9, 50, 20).tobytes()
        one, two = Shop(tmp_path / "one"), Shop(tmp_path / "two")
        oid = one.put(data)
        assert two.put(data) == oid
        with connect() as remote:
            one.send(remote, [oid])
        with connect() as remote:
            assert two.send(remote, [oid]) == 0

    def test_what_is_here_is_not_fetched_again(self, connect: Connect, tmp_path: Path) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oids = [near.put(normal(seed, 90, 20).tobytes()) for seed in range(6)]
        far.put(near.get(oids[0]))
        told: list[int] = []
        with connect() as remote:
            near.send(remote, oids)
            fetch(far.store, ask(remote, far.cache), oids[:2], lambda total: told.append)
            come = sum(told)
            fetch(far.store, ask(remote, far.cache), oids[:2], lambda total: told.append)
        assert sum(told) == come
        assert 0 < come < 2 * 7200
        assert far.get(oids[1]) == near.get(oids[1])

    def test_what_no_one_asked_for_stays_behind(self, connect: Connect, tmp_path: Path) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        with near.store.batch() as batch:
            secret, _ = batch.put([b"secret" * 1000])
            public, _ = batch.put([b"public" * 1000])
        with connect() as remote:
            near.send(remote, [public])
            assert ask(remote, far.cache).find(secret) is None
            far.bring(remote, [public])
        assert far.get(public) == b"public" * 1000

    def test_an_index_is_read_once(self, connect: Connect, tmp_path: Path) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        near_oid = near.put(b"x" * 5000)
        with connect() as remote:
            near.send(remote, [near_oid])
            ask(remote, far.cache)
            (index,) = far.cache.glob("*.idx")
            before = index.stat().st_mtime_ns
            assert ask(remote, far.cache).find(near_oid) is not None
            assert index.stat().st_mtime_ns == before

    def test_an_index_of_the_cache_that_is_damaged_is_read_anew(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oid = near.put(b"y" * 5000)
        with connect() as remote:
            near.send(remote, [oid])
            ask(remote, far.cache)
            (index,) = far.cache.glob("*.idx")
            index.chmod(0o644)
            index.write_bytes(index.read_bytes()[:-1])
            assert ask(remote, far.cache).find(oid) is not None

    # -- an index that is damaged there

    @pytest.mark.parametrize("damage", [lambda it: it[:-9], flipped, lambda _: b""])
    def test_the_other_packs_come_though_an_index_is_damaged(
        self, connect: Connect, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oids = [near.put(normal(seed, 50, 20).tobytes()) for seed in range(3)]
        with connect() as remote:
            for oid in oids:
                near.send(remote, [oid])
            bad, _ = ask(remote, near.cache).find(oids[1]) or ("", None)
            ((_, index),) = remote.indexes([bad])
            self.plant_index(tmp_path, bad, damage(index))
        with connect() as remote:
            holdings = ask(remote, far.cache)
            assert holdings.damaged.keys() == {bad}
            assert bad[:12] in str(holdings.damage())
            assert holdings.find(oids[1]) is None
            fetch(far.store, holdings, oids)
        assert [far.get(oid) for oid in (oids[0], oids[2])] == [
            near.get(oids[0]),
            near.get(oids[2]),
        ]
        assert far.store.missing(oids) == [oids[1]]

    def test_a_damaged_index_is_replaced_by_who_sends_the_same_pack(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        near, far = Shop(tmp_path / "near"), Shop(tmp_path / "far")
        oid = near.put(normal(1, 50, 20).tobytes())
        with connect() as remote:
            near.send(remote, [oid])
            (name,) = names(remote)
            ((_, index),) = remote.indexes([name])
            self.plant_index(tmp_path, name, flipped(index))
        with connect() as remote:
            assert near.send(remote, [oid]) == 1
            assert near.send(remote, [oid]) == 0
            assert names(remote) == {name}
        with connect() as remote:
            far.bring(remote, [oid])
        assert far.get(oid) == near.get(oid)


class KeyedContract(RemoteContract):
    """Of folders and buckets, where we are the ones who take garbage away."""

    def test_the_trash_takes_packs_and_gives_them_back(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        one, two = made(tmp_path, 1), made(tmp_path, 2)
        before = time.time()
        with connect() as remote:
            assert isinstance(remote, KeyedRemote)
            assert remote.trash() == []
            remote.publish([one, two])
            kept = remote.kept()[one.name]
            assert kept.size == one.size + len(one.index)
            assert before - 60 < kept.modified < time.time() + 60  # a clock of one second
            for _ in range(2):  # the second finds nothing to move
                remote.retire([one.name], "20260102T030405Z")
            assert names(remote) == {two.name}
            assert {(item.name, item.suffix) for item in remote.trash()} == {
                (one.name, ".nnp"),
                (one.name, ".idx"),
            }
            index = next(item for item in remote.trash() if item.suffix == ".idx")
            assert remote.trashed_index(index) == one.index
            remote.restore(remote.trash())
            assert remote.trash() == []
            assert whole(remote, one) == one.path.read_bytes()
            remote.retire([two.name], "20260102T030405Z")
            remote.discard(remote.trash())
            assert remote.trash() == []
            assert remote.trashed_index(index) is None
            assert names(remote) == {one.name}
