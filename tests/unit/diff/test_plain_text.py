"""plain_text: files beside a model as texts by key."""

from __future__ import annotations

import time

import pytest

from git_nn.differences.plain_text import MOST, texts

YAML = b"""\
# how it was trained
lr: 0.1   # the rate
train:
  epochs: 3
  sizes: [1, 2]
  lists:
  - a
  - name: x
    value: 2
  nested:
    - 1
    - - 2
      - 3
stages:
  prepare:
    cmd: python prepare.py --seed 3
    deps:
      - data.csv
      - prepare.py:
          md5: 0abc
      - last
"quoted": http://example.org:80/y
text: |
  some words
"""


def test_yaml_by_the_path_of_indentation() -> None:
    assert texts("params.yaml", YAML) == {
        "lr": "0.1",
        "train.epochs": "3",
        "train.sizes": "[1, 2]",
        "train.lists[0]": "a",
        "train.lists[1].name": "x",
        "train.lists[1].value": "2",
        "train.nested[0]": "1",
        "train.nested[1][0]": "2",
        "train.nested[1][1]": "3",
        "stages.prepare.cmd": "python prepare.py --seed 3",
        "stages.prepare.deps[0]": "data.csv",
        "stages.prepare.deps[1].prepare.py.md5": "0abc",
        "stages.prepare.deps[2]": "last",
        "quoted": "http://example.org:80/y",
        "text": "|",
        "text[0]": "some words",
    }


def test_json_by_key_path() -> None:
    data = b'\xef\xbb\xbf{"a": {"b": 1.50, "c": NaN}, "l": [1, 2], "m": [{"x": null}]}'
    assert texts("config.json", data) == {
        "a.b": "1.5",
        "a.c": "NaN",
        "l": "[1, 2]",
        "m[0].x": "null",
    }


@pytest.mark.parametrize(
    "data", [b"{", b"", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * MOST + b"}", b"1e5x"]
)
def test_what_is_no_json_or_too_long_is_none(data: bytes) -> None:
    assert texts("config.json", data) is None


@pytest.mark.parametrize(
    "data", [b"", b"- - - -", b":", b"a:\n\t- b", b"- " * 50_000, b"!!python/object:os.system x"]
)
def test_odd_yaml_is_text(data: bytes) -> None:
    found = texts("dvc.yaml", data)
    assert found is not None
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.yaml", b"a" + b" " * (MOST - 2) + b"b"),
        ("a.yaml", b"- " * (MOST // 2)),
        ("a.yaml", b"k" * (MOST // 2) + b":\n" + b"  a: 1\n" * (MOST // 15)),
        ("a.yaml", b"\n".join(b" " * i + b"k:" for i in range(1400))),
        ("a.yaml", b"#" * MOST),
        ("a.yaml", b": " * (MOST // 2)),
        ("a.json", b'{"' + b"k" * (MOST // 2) + b'": [' + b'{"a":1},' * (MOST // 20) + b"1]}"),
        ("a.json", b'{"a":' * 900 + b"1" + b"}" * 900),
    ],
)
def test_hostile_files_cost_little_time_and_memory(name: str, data: bytes) -> None:
    assert len(data) <= MOST
    begun = time.monotonic()
    found = texts(name, data) or {}
    assert time.monotonic() - begun < 5
    assert sum(len(key) + len(value) for key, value in found.items()) < 50 * MOST


def test_long_keys_are_still_told_apart() -> None:
    first, second = (f'{{"{"k" * 500}{end}": 1}}'.encode() for end in "ab")
    assert texts("a.json", first) != texts("a.json", second)
