"""The worker process: crashes, time-outs, floods and forks cost a layout, never a file."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from git_nn.errors import LayoutError
from git_nn.formats import hdf5, hdf5_process, table
from git_nn.formats.base import BytesSource
from git_nn.formats.hdf5_process import Limits
from git_nn.objects.layout import Layout

LIMITS = Limits(cpu=10, wall=30, memory=2 * 1024**3)


def small(seed: int = 0) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["w"] = np.random.default_rng(seed).standard_normal((4, 4)).astype("f4")
    return out.getvalue()


def worker() -> hdf5_process.Worker:
    """The worker that serves now."""
    found = hdf5_process._Shared.worker
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    hdf5_process.stop()
    yield
    hdf5_process.stop()


@dataclass
class Deadly:
    """Content whose first read kills the worker that asked for it."""

    data: bytes
    size: int
    times: int = 1_000_000

    def read(self, offset: int, length: int) -> bytes:
        if offset == 0 and length < table.SNIFFED and self.times:
            self.times -= 1
            os.kill(worker().pid, signal.SIGKILL)
        return self.data[offset : offset + length]


def deadly(times: int = 1_000_000) -> Deadly:
    data = small()
    return Deadly(data, len(data), times)


def layout_of(source: BytesSource | Deadly) -> Layout:
    return hdf5.layout(source)


def test_one_worker_serves_many_files() -> None:
    layout_of(BytesSource(small()))
    first = worker().pid
    for seed in range(20):
        assert len(layout_of(BytesSource(small(seed))).payloads) == 1
    assert worker().pid == first


def test_a_file_that_is_no_good_does_not_cost_the_worker() -> None:
    layout_of(BytesSource(small()))
    first = worker().pid
    for length in (8, 50, 90, 95):
        with pytest.raises(LayoutError):
            layout_of(BytesSource(small()[:length]))
    layout_of(BytesSource(small()))
    assert worker().pid == first


def test_a_crash_of_the_worker_is_a_layout_error() -> None:
    with pytest.raises(LayoutError, match="crashed"):
        layout_of(deadly())
    assert len(layout_of(BytesSource(small())).payloads) == 1


def test_a_crash_makes_the_file_opaque_with_a_note() -> None:
    source = deadly()
    source.times = 0
    assert table.detect(source).format == "hdf5"

    class Both(Deadly):
        def read(self, offset: int, length: int) -> bytes:
            if hdf5_process._Shared.worker is not None:
                os.kill(worker().pid, signal.SIGKILL)
            return self.data[offset : offset + length]

    found = table.detect(Both(source.data, source.size))
    assert found.format == "opaque"
    assert "crashed" in found.notes[0]


def test_a_crash_of_a_used_worker_is_tried_again_in_a_fresh_one() -> None:
    layout_of(BytesSource(small()))
    first = worker().pid
    assert len(layout_of(deadly(times=1)).payloads) == 1
    assert worker().pid != first


def test_a_worker_that_was_killed_between_two_files_is_replaced() -> None:
    layout_of(BytesSource(small()))
    os.kill(worker().pid, signal.SIGKILL)
    assert len(layout_of(BytesSource(small())).payloads) == 1


def test_a_worker_that_takes_too_long_is_stopped() -> None:
    data = small()
    limits = Limits(cpu=10, wall=0.001, memory=LIMITS.memory)
    with pytest.raises(LayoutError, match="too long"):
        hdf5_process.call("layout", [len(data)], [BytesSource(data)], limits)
    assert hdf5_process._Shared.worker is None


def boot(monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    """Workers from now on do this when they should read a layout."""
    replaced = f"""
from git_nn.formats import hdf5_read
def layout(content):
    {instead}
hdf5_read.layout = layout
main()
"""
    monkeypatch.setattr(hdf5_process, "_BOOT", hdf5_process._BOOT.replace("main()", replaced))


@pytest.mark.timeout(60)
def test_a_worker_that_uses_too_much_processor_time_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot(monkeypatch, "while True: pass")
    data = small()
    limits = Limits(cpu=1, wall=50, memory=LIMITS.memory)
    with pytest.raises(LayoutError, match="crashed"):
        hdf5_process.call("layout", [len(data)], [BytesSource(data)], limits)


@pytest.mark.timeout(60)
def test_a_worker_that_waits_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    boot(monkeypatch, "import threading; threading.Event().wait()")
    data = small()
    limits = Limits(cpu=50, wall=0.5, memory=LIMITS.memory)
    with pytest.raises(LayoutError, match="too long"):
        hdf5_process.call("layout", [len(data)], [BytesSource(data)], limits)
    assert hdf5_process._Shared.worker is None


def test_a_worker_gets_no_more_memory_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    boot(monkeypatch, "return [[], [str(len(bytearray(content.size)))]]")
    size = 1 << 30
    source = BytesSource(small())
    wide = Limits(cpu=10, wall=30, memory=4 * size)
    assert hdf5_process.call("layout", [size], [source], wide) == [[], [str(size)]]
    with pytest.raises(LayoutError, match="Memory"):
        hdf5_process.call("layout", [size], [source], Limits(cpu=10, wall=30, memory=size))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_library_that_crashes_makes_the_file_opaque(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot(monkeypatch, f"import os; os.kill(os.getpid(), {int(number)})")
    found = table.detect(BytesSource(small()))
    assert found.format == "opaque"
    assert found.notes == ("looks like hdf5, but the HDF5 library crashed on it",)


def test_a_worker_without_memory_is_a_layout_error() -> None:
    data = small()
    limits = Limits(cpu=10, wall=30, memory=1024 * 1024)
    with pytest.raises(LayoutError):
        hdf5_process.call("layout", [len(data)], [BytesSource(data)], limits)
    assert len(layout_of(BytesSource(data)).payloads) == 1


def test_an_error_while_reading_the_source_is_an_error_here() -> None:
    data = small()

    class Shrunk(BytesSource):
        def read(self, offset: int, length: int) -> bytes:
            raise LayoutError("the file became shorter while it was read")

    with pytest.raises(LayoutError, match="shorter"):
        layout_of(Shrunk(data))
    assert len(layout_of(BytesSource(data)).payloads) == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x01",
        b"\xff" * 8,
        (2**40).to_bytes(8, "little"),
        b"\x03\0\0\0\0\0\0\0\x93\x01\xc0",
        b"\x04\0\0\0\0\0\0\0\x93\x09\xc0\xc3",
        b"\x05\0\0\0\0\0\0\0\x94\0\x07\0\x01",
        b"\x05\0\0\0\0\0\0\0\x94\0\0\xff\x01",
        b"hello",
    ],
)
def test_nonsense_from_the_worker_is_a_layout_error(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = f"import os\nos.read(0, 9999)\nos.write(1, {reply!r})"
    monkeypatch.setattr(hdf5_process, "_BOOT", boot)
    with pytest.raises(LayoutError):
        layout_of(BytesSource(small()))


@pytest.mark.parametrize(
    "rows",
    [
        [["w", "f32", [4, 4], [0, 64.0], ""]],
        [["w", "f32", [4, True], [0, 16], ""]],
        [[b"w", "f32", [4, 4], [0, 64], ""]],
        [["w", "f32", [4, 4], [0, 64]]],
        [["w", "f32", [4, 4], [0], ""]],
        [["w", "f32", [4, 4], [0, 10_000_000], ""]],
        [["w", "f32", [4, 4], [0, 64], ""], ["v", "f32", [4, 4], [60, 64], ""]],
        "nonsense",
    ],
)
def test_a_worker_that_was_taken_over_cannot_give_a_wrong_layout(
    rows: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_process, "call", lambda *_: [rows, []])
    found = table.detect(BytesSource(small()))
    assert found.format == "opaque"


def test_threads_share_the_worker_safely() -> None:
    files = [small(seed) for seed in range(8)]
    found: dict[int, Layout] = {}

    def read(i: int) -> None:
        for _ in range(5):
            found[i] = layout_of(BytesSource(files[i]))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: layout_of(BytesSource(data)) for i, data in enumerate(files)}


SCRIPT = """
import os, sys
from git_nn.formats import hdf5, hdf5_process
from git_nn.formats.base import BytesSource
with open(sys.argv[1], "rb") as file:
    data = file.read()
layout = hdf5.layout(BytesSource(data))
assert "h5py" not in sys.modules and "numpy" not in sys.modules
"""


def run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    root = Path(hdf5.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=root,
    )


def test_the_worker_is_silent_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(small())
    done = run(SCRIPT + "print(hdf5_process._Shared.worker.pid)", path)
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


@pytest.mark.timeout(30)
def test_the_worker_ends_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(small())
    script = SCRIPT + (
        "print(hdf5_process._Shared.worker.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = run(script, path)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    while is_running(pid):  # the time limit ends this where the worker lives on
        pass


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie, which nobody may collect in a container."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_forked_process_has_its_own_worker(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(small())
    script = SCRIPT + (
        "first = hdf5_process._Shared.worker.pid\n"
        "if os.fork() == 0:\n"
        "    assert hdf5.layout(BytesSource(data)) == layout\n"
        "    assert hdf5_process._Shared.worker.pid != first\n"
        "    hdf5_process.stop()\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == 7\n"
        "assert hdf5.layout(BytesSource(data)) == layout\n"
        "assert hdf5_process._Shared.worker.pid == first\n"
    )
    done = run(script, path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_worker_takes_nothing_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise SystemExit('wrong h5py')")
    (tmp_path / "git_nn.py").write_text("raise SystemExit('wrong git_nn')")
    (tmp_path / "msgpack.py").write_text("raise SystemExit('wrong msgpack')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HDF5_DRIVER", "core_nonsense")
    monkeypatch.setenv("HDF5_VOL_CONNECTOR", "nonsense")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    assert len(layout_of(BytesSource(small())).payloads) == 1
