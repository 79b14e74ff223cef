"""The views are those that somebody read and found good (tests/golden/views.py)."""

from __future__ import annotations

import pytest

from tests.golden.views import FOLDER, views

VIEWS = views()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_the_golden_one(name: str) -> None:
    assert VIEWS[name] == (FOLDER / name).read_text("utf-8")


def test_every_golden_view_is_held() -> None:
    assert {path.name for path in FOLDER.glob("diff*")} == set(VIEWS)
