"""The table: content decides, and nothing that a parser does gets past it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from git_nn.formats import opaque, table
from git_nn.formats.base import BytesSource, Source
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload, check

DATA = b"\x00fake" + bytes(95)


def module(**names: Any) -> ModuleType:
    fake = ModuleType("fake")
    given = {
        "NAME": "fake", "VERSION": 2, "SUFFIXES": (".fake",), "ABOUT": "of this test",
        "sniff": lambda head: head.startswith(b"\x00fake"),
        "layout": lambda source: Layout("fake", 2, source.size),
        **names,
    }  # fmt: skip
    for name, value in given.items():
        setattr(fake, name, value)
    return fake


class Folder:
    """See formats.base.Beside."""

    def __init__(self, name: str, **files: bytes) -> None:
        self.name = name
        self.files = files

    def read(self, name: str) -> BytesSource | None:
        return BytesSource(self.files[name]) if name in self.files else None


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A format of which every file ``w`` is told by the file ``d`` beside it."""

    def layout(source: Source, name: str, description: Source) -> Layout:
        length = int(description.read(0, description.size))
        return Layout("told", 2, source.size, (payload(name, 0, length),))

    fake = module(NAME="told", descriptions=lambda n: ("d",) if n == "w" else (), layout=layout)
    monkeypatch.setitem(sys.modules, "git_nn.formats.told", fake)
    monkeypatch.setitem(table._DESCRIBED, "told", "told")
    monkeypatch.setattr(table, "DESCRIBED", ("told", *table.DESCRIBED))
    return fake


def test_a_file_beside_it_tells_what_a_described_file_holds(described: ModuleType) -> None:
    source = BytesSource(b"abcdef")
    layout = table.detect(source, Folder("w", d=b"4"))
    assert layout == Layout("told", 2, 6, (payload("w"),))
    for folder in (Folder("w"), Folder("w", d=b"7"), Folder("w", d=b"?")):
        found = table.detect(source, folder)
        assert found == Layout("opaque", 1, 6)
        assert len(found.notes) == 1
        assert "told" in found.notes[0]
    for beside in (Folder("x", d=b"4"), None):
        assert table.detect(source, beside).notes == ()


class Plugin:
    """An entry point; loading it a second time would be a second module."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name = name
        self.load = lambda: loaded


def test_a_format_of_another_package_is_asked_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = [
        Plugin("fake", module()),
        Plugin("safetensors", module()),  # no package takes a name of ours
        Plugin("../evil", module()),
        Plugin("broken", None),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: plugins)
    table.installed.cache_clear()
    try:
        assert sorted(table.installed()) == ["broken", "fake"]
        assert detected() == Layout("fake", 2, len(DATA))
        assert table.by_name("safetensors").NAME == "safetensors"
        assert table.has_structure("fake") is False
        assert detected(b"something else").format == "opaque"
    finally:
        table.installed.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a format of this test at the head of the table."""

    def put(**names: Any) -> ModuleType:
        fake = module(**names)
        monkeypatch.setitem(sys.modules, "git_nn.formats.fake", fake)
        monkeypatch.setitem(table._MODULES, "fake", "fake")
        monkeypatch.setattr(table, "FORMATS", ("fake", *table.FORMATS))
        return fake

    return put


def detected(data: bytes = DATA) -> Layout:
    layout = table.detect(BytesSource(data))
    check(layout)
    return layout


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 100_000, b"{}", b"git-nn pointer 1\n"])
def test_a_file_of_no_format_is_opaque_without_a_note(data: bytes) -> None:
    assert detected(data) == Layout("opaque", 1, len(data))
    assert detected(data).notes == ()


def test_a_format_that_recognises_the_content_gives_the_layout(install: Any) -> None:
    install()
    assert detected() == Layout("fake", 2, len(DATA))


def test_content_decides_and_not_the_order_alone(install: Any) -> None:
    install()
    assert detected(b"something else").format == "opaque"


def endless(source: Source) -> Layout:
    return endless(source)


def out_of_memory(source: Source) -> Layout:
    raise MemoryError


def leaves_the_loop(source: Source) -> Layout:
    raise StopIteration


def strange_message(source: Source) -> Layout:
    raise ValueError("evil \x1b[31m\n\u202e name" + "x" * 10_000)


def payload(name: str = "w", start: int = 0, length: int = 4, **more: Any) -> Payload:
    return Payload(name, "u8", (length,), (Extent(start, length),), **more)


def proposing(*payloads: Payload, **changes: Any) -> Any:
    def layout(source: Source) -> Layout:
        return replace(Layout("fake", 2, source.size, payloads), **changes)

    return layout


NONSENSE = {
    "endless recursion": endless,
    "out of memory": out_of_memory,
    "stop iteration": leaves_the_loop,
    "a strange message": strange_message,
    "no layout at all": lambda source: None,
    "overlapping extents": proposing(payload("a"), payload("b", 3)),
    "beyond the file": proposing(payload("a", 98)),
    "a negative offset": proposing(payload("a", -1)),
    "the same name twice": proposing(payload("a"), payload("a", 10)),
    "a size that is not the file's": proposing(size=5),
    "another format's name": proposing(format="safetensors"),
    "another version": proposing(version=1),
    "a bad name": proposing(payload("\ud800")),
    "too many tensors": proposing(*[payload("a", 0, 0)] * (MAX_TENSORS + 1)),
    "names too long for a pointer": proposing(
        *(payload("\x01" * 4000 + str(i), 0, 0) for i in range(6000))
    ),
}


@pytest.mark.parametrize("label", NONSENSE)
def test_whatever_a_parser_does_the_file_is_opaque_and_the_note_says_why(
    install: Any, label: str
) -> None:
    install(layout=NONSENSE[label])
    layout = detected()
    assert layout == Layout("opaque", 1, len(DATA))
    (note,) = layout.notes
    assert note.startswith("looks like fake, but ")
    assert note.isprintable()
    assert len(note) < 300


def test_a_module_that_cannot_be_imported_is_no_obstacle(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setitem(sys.modules, "git_nn.formats.fake", None)
    assert detected().format == "opaque"


def test_an_unknown_format_has_no_layout_and_no_structure() -> None:
    source = BytesSource(DATA)
    assert not table.has_structure("nothing")
    assert table.structure("nothing", source) == {}
    with pytest.raises(KeyError):
        table.by_name("nothing")


def test_opaque_is_a_format_by_name_and_says_why() -> None:
    assert table.by_name("opaque") is opaque
    assert table.opaque(BytesSource(DATA), "why").notes == ("why",)


def test_a_structure_that_fails_is_empty(install: Any) -> None:
    install(structure=endless)
    assert table.has_structure("fake")
    assert table.structure("fake", BytesSource(DATA)) == {}


def test_the_table_knows_its_formats() -> None:
    assert table.FORMATS[:2] == ("safetensors", "hdf5")  # the commonest, told by their first bytes
    assert {".safetensors", ".h5", ".pt", ".pth", ".bin", ".ckpt"} <= set(table.suffixes())
    for name in table.FORMATS:
        assert name == table.by_name(name).NAME
        assert table.latest(name) >= 1


def test_a_safetensors_file_loads_no_other_format_and_no_large_library() -> None:
    program = """
import sys
from git_nn.formats import table
from git_nn.formats.base import BytesSource
data = (2).to_bytes(8, "little") + b"{}"
assert table.detect(BytesSource(data)).format == "safetensors"
heavy = {"numpy", "h5py", "torch", "pickle", "git_nn.formats.hdf5", "git_nn.formats.torch_zip"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
