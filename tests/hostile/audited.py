"""Reads the hostile corpus under an audit hook; prints a JSON list of what must not happen.

    python tests/hostile/audited.py corpus      all of git-nn's readers over all of the corpus
    python tests/hostile/audited.py careless    what careless readers do, to prove the watch

A program of its own, since an audit hook cannot be removed. The HDF5 library opens files without
Python's knowledge. So a file of our own stands in the place of the one that the corpus names,
under a name of the same length, and the kernel tells whether it was opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import pickle
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)
sys.path.append(str(Path.cwd()))  # where a module named by a file could be found

from git_nn import smudge  # noqa: E402
from git_nn.clean import clean  # noqa: E402
from git_nn.formats import table  # noqa: E402
from git_nn.formats.base import BytesSource  # noqa: E402
from git_nn.formats.pickle_ops import scan  # noqa: E402
from git_nn.store.memory import MemoryStore  # noqa: E402
from tests.hostile.corpus import FILES, FORBIDDEN  # noqa: E402
from tests.hostile.hdf5s import SECRET  # noqa: E402
from tests.hostile.pickles import COMMAND, MARKER  # noqa: E402

LARGE = 600_000  # the larger files are about time and room, not about what is run
_HOMES = (str(ROOT), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.", "ctypes.dlopen")
_IN_OPEN = 0x20


class Watch:
    """What was seen while ``on``; one for the process."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and (found := self.found(event, args)):
            self.seen.append(found[:300])

    def found(self, event: str, args: tuple[Any, ...]) -> str | None:
        """One line for an event that no reader of weights may cause."""
        if event.startswith(_RUNS) and not self.is_own_library(event, args):
            return f"{event} {args!r}"
        if event.startswith("socket."):
            return event
        if event == "subprocess.Popen" and not any("hdf5_worker" in str(a) for a in args[1]):
            return f"subprocess {args[1]!r}"
        if event == "import" and str(args[0]).partition(".")[0] in FORBIDDEN:
            return f"import {args[0]}"
        if event == "open" and not self.is_ours(args[0]):
            return f"open {args[0]!s}"
        if event in ("exec", "compile"):
            name = args[0].co_filename if event == "exec" else args[1]
            if not self.is_code(name):
                return f"{event} {name!r}"
        return None

    def is_own_library(self, event: str, args: tuple[Any, ...]) -> bool:
        """An extension module of an installed package."""
        return event == "ctypes.dlopen" and (args[0] is None or self.is_ours(args[0]))

    def is_ours(self, path: Any) -> bool:
        if isinstance(path, int):
            return True
        text = os.fsdecode(path)
        return text == os.devnull or str(Path(text).absolute()).startswith(_HOMES)

    def is_code(self, name: Any) -> bool:
        """Code of the interpreter or of an installed module, dataclasses' and namedtuple's own."""
        text = str(name)
        return (text.startswith(("<frozen", "<string>")) and self.generated()) or self.is_ours(text)

    def generated(self) -> bool:
        """Whether the standard library asked, which makes classes in this way."""
        frame = sys._getframe(4)  # over this method, is_code, found and hook
        name = frame.f_code.co_filename
        return name.startswith("<frozen") or (self.is_ours(name) and not name.startswith(str(ROOT)))


def read_everything(data: bytes) -> None:
    """All that git-nn does with a file that somebody adds."""
    source, store = BytesSource(data), MemoryStore()
    pointer = clean(source, store).pointer
    table.structure(pointer.format, source)
    scan(source)
    frame = smudge.load_skeleton(pointer, store)
    sink = smudge.MemorySink(bytearray(frame.size))
    smudge.write_file(pointer, frame, store, sink)
    assert sink.data == data


def read_carelessly(data: bytes) -> None:
    """What readers do that believe what they are given."""
    import h5py

    with contextlib.suppress(Exception):
        pickle.loads(data)
    with contextlib.suppress(OSError), h5py.File(io.BytesIO(data)) as file:
        file["e"][()]


CARELESS = (
    "pickle: calls os.system by REDUCE",
    "pickle: calls builtins.exec",
    "pickle: calls open of a file",
    "pickle: calls an import of a module",
    "pickle: calls subprocess.Popen",
    "pickle: calls socket.create_connection",
    "hdf5: external data of /etc/passwd",
)


class Bait:
    """A file that nobody else knows, with a name as long as SECRET's."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.path = Path(f"/tmp/{os.urandom(3).hex()}")
        assert len(str(self.path)) == len(SECRET)
        with self.path.open("xb") as file:
            file.write(FILES["hdf5: a rank of 32"]())
        self.watch = int(libc.inotify_init1(os.O_NONBLOCK))
        assert libc.inotify_add_watch(self.watch, bytes(self.path), _IN_OPEN) >= 0

    def within(self, data: bytes) -> bytes:
        return data.replace(SECRET.encode(), bytes(self.path))

    def was_opened(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.watch, 4096))
        return False


def main() -> None:
    careless = sys.argv[1] == "careless"
    Path(f"{MARKER}.py").write_text(f"import os\nos.system({COMMAND!r})\nclass Evil: pass\n")
    sys.dont_write_bytecode = True
    files = [FILES[name]() for name in CARELESS] if careless else [row() for row in FILES.values()]
    read = read_carelessly if careless else read_everything
    watch, bait = Watch(), Bait()
    try:
        watch.on = True
        for data in files:
            if len(data) < LARGE:
                read(bait.within(data))
        watch.on = False
        if bait.was_opened():
            watch.seen.append("a watched file was opened")
    finally:
        bait.path.unlink()
    print(json.dumps(sorted(set(watch.seen))))


if __name__ == "__main__":
    main()
