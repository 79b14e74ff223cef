"""What every remote must do, whatever it is made of. Subclassed in test_remotes.py.

A subclass gives ``connect``: each call another connection to the same place, which is empty when
a test begins, and ``published_bytes``: what stands there by its name, read without git-nn.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.remote.base import Outgoing, Remote
from git_nn.remote.keys import KeyedRemote
from git_nn.store import index as indexes
from git_nn.store.local import LocalStore
from git_nn.store.pack import PackFile
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


class RemoteContract:
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        raise NotImplementedError

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        """The bytes of a pack as they stand at the remote; read with other means than ours."""
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
