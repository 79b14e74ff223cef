"""The diff driver's arguments, header and quoting; no git is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_nn.drivers import textconv
from git_nn.drivers.diff import Side, header, main, parse
from git_nn.drivers.terminal import quoted
from git_nn.formats.base import BytesSource
from git_nn.model import open_source
from git_nn.objects.pointer import parse as parse_pointer
from git_nn.objects.pointer import render
from tests.support.models import normal, safetensors_file

OLD, NEW, NONE = "1" * 40, "2" * 40, "0" * 40


def test_seven_arguments_are_two_sides() -> None:
    request = parse(["dir/m h5", "/tmp/a", OLD, "100644", "dir/m h5", NONE, "100755"])
    assert request.path == b"dir/m h5"
    assert request.old == Side("/tmp/a", OLD, "100644")
    assert (request.old.in_git, request.new.in_git) == (True, False)
    assert header(request) == (
        "diff --git a/dir/m h5 b/dir/m h5\n"
        "old mode 100644\nnew mode 100755\nindex 111111111..000000000\n"
    )


def test_added_and_deleted_files_have_one_side() -> None:
    added = parse(["m", "/dev/null", ".", ".", "m", NEW, "100644"])
    assert added.old.is_absent
    assert header(added) == (
        "diff --git a/m b/m\nnew file mode 100644\nindex 000000000..222222222\n"
    )
    deleted = parse(["m", "m", OLD, "100644", "/dev/null", ".", "."])
    assert "deleted file mode 100644\n" in header(deleted)


def test_nine_arguments_are_a_rename() -> None:
    text = "similarity index 90%\nrename from a\nrename to b\nindex 1..2 100644\n"
    request = parse(["a", "a", OLD, "100644", "b", NEW, "100644", "b", text])
    assert request.other == b"b"
    assert header(request) == f"diff --git a/a b/b\n{text}"


@pytest.mark.parametrize("count", [0, 2, 3, 6, 8])
def test_other_counts_of_arguments_never_fail(
    count: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["x"] * count) == 0
    assert b"git nn diff" in capfdbinary.readouterr().out


def test_one_argument_is_an_unmerged_path(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["a\nb"]) == 0
    out = capfdbinary.readouterr().out
    assert out == b'* Unmerged path "a\\nb" (to settle it: git nn resolve)\n'


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"plain/file.h5", "plain/file.h5"),
        (b"with space", "with space"),
        ("ü/模型.h5".encode(), "ü/模型.h5"),
        (b'q"b\\', r'"q\"b\\"'),
        (b"\x1b[31m", r'"\033[31m"'),
        (b"a\xff\n", r'"a\377\n"'),
        ("bidi\u202e".encode(), r'"bidi\342\200\256"'),
        (b"", '""'),
    ],
)
def test_paths_are_quoted_as_git_does(path: bytes, shown: str) -> None:
    assert quoted(path) == shown


def test_textconv_of_a_file_is_that_of_its_pointer() -> None:
    data = safetensors_file({"a": normal(1, 3, 4), "b c": normal(2, 5)}, {"format": "pt"})
    model = open_source(BytesSource(data))
    pointer = parse_pointer(render(model.pointer))
    oids = {name: entry.oid.hex()[:12] for name, entry in pointer.stored.items()}
    assert textconv.lines(model) == [
        "format safetensors",
        f"container {pointer.skeleton.hex()[:12]}",
        "metadata.format: pt",
        f"a f32 3x4 {oids['a']}",
        f"b c f32 5 {oids['b c']}",
    ]


def test_textconv_of_what_is_no_model(tmp_path: Path) -> None:
    model = open_source(BytesSource(b"hello"))
    (line,) = textconv.lines(model)
    assert line == f"no known format: 5 bytes, content {model.pointer.skeleton.hex()[:12]}"
