"""check searches joblib files to their end, as they stand in the store."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import normal
from tests.support.pickle_file import joblib_dumps


class Evil:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("touch pwned",)


def findings(repo: Repo, code: int) -> list[tuple[str, str]]:
    repo.git("add", "-A")
    found = json.loads(repo.nn("check", "--json", code=code).text)["findings"]
    return [(each["path"], each["message"]) for each in found]


@pytest.mark.parametrize("tracked", [True, False])
def test_code_behind_the_arrays_of_a_joblib_file_is_found(repo: Repo, tracked: bool) -> None:
    if tracked:
        repo.nn("track", "*.joblib")
    weights = {"w": normal(1, 50, 40), "names": np.array(["a", None], dtype=object)}
    repo.write("good.joblib", joblib_dumps(weights))
    repo.write("evil.joblib", joblib_dumps({**weights, "last": Evil(), "v": normal(2, 30)}))
    ((path, message),) = findings(repo, code=1)
    assert path == "evil.joblib"
    assert "is a pickle that calls posix.system when it is loaded" in message
    blob = repo.blob(":good.joblib")
    assert (b"layout pickle 1\n" in blob) == tracked
    assert not (repo.path / "pwned").exists()


def test_a_joblib_file_that_hides_its_pickle_is_told(repo: Repo) -> None:
    repo.nn("track", "*.joblib")
    repo.write("m.joblib", zlib.compress(joblib_dumps({"w": normal(1, 50)})))
    ((_, message),) = findings(repo, code=1)
    assert "could not be searched for code" in message
    assert "compressed with zlib" in message


def test_nan_in_a_pickled_array_is_named(repo: Repo) -> None:
    repo.nn("track", "*.joblib")
    bias = np.array([1.0, np.nan, 2.0])
    repo.write("m.joblib", joblib_dumps({"coef": np.asfortranarray(normal(1, 5, 4)), "b": bias}))
    ((_, message),) = findings(repo, code=1)
    assert message == "b[1] is NaN (1 of 3)"
