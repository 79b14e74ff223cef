"""What is counted in a tensor, and a pointer's content read as a file."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_nn import smudge
from git_nn.check.findings import Limits, Severity
from git_nn.check.numbers import Seen, special
from git_nn.check.source import StoredSource
from git_nn.clean import clean
from git_nn.errors import LayoutError, UsageError
from git_nn.formats.base import BytesSource
from git_nn.gitio.config import Config
from git_nn.store.memory import MemoryStore
from tests.support.models import normal, safetensors_file

FLOATS = [np.float64, np.float32, np.float16, ">f4", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_inf_are_counted_and_the_first_is_named(dtype: object) -> None:
    values = np.zeros((3, 4, 5), dtype=dtype)
    values[1, 2, 3] = np.nan
    values[2, 0, 0] = np.nan
    values[0, 3, 1] = -np.inf
    assert special(values) == (Seen(2, (1, 2, 3)), Seen(1, (0, 3, 1)))


def test_a_type_without_infinity_has_only_nan() -> None:
    values = np.zeros(4, dtype=ml_dtypes.float8_e4m3fn)
    values.view(np.uint8)[2] = 0x7F
    assert special(values) == (Seen(1, (2,)), Seen())


def test_complex_numbers_count_once() -> None:
    values = np.array([1, complex(np.nan, np.inf), complex(0, -np.inf)], dtype=np.complex64)
    assert special(values) == (Seen(1, (1,)), Seen(1, (2,)))


def test_a_scalar_has_no_index() -> None:
    assert special(np.array(np.nan)) == (Seen(1, ()), Seen())
    assert special(np.zeros((0, 3))) == (Seen(), Seen())


def test_a_nan_far_into_a_large_tensor_is_found() -> None:
    values = np.zeros((1000, 1000), dtype=np.float32)
    values[999, 998] = np.nan
    assert special(values) == (Seen(1, (999, 998)), Seen())


@given(st.data())
def test_any_range_of_a_pointer_reads_as_the_file(data: st.DataObject) -> None:
    content = safetensors_file({"a": normal(1, 50), "b": normal(2, 3, 5)}, {"k": "v" * 100})
    store = MemoryStore()
    pointer = clean(BytesSource(content), store).pointer
    source = StoredSource.of(pointer, smudge.load_skeleton(pointer, store), store)
    assert source.size == len(content)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    assert source.read(start, stop - start) == content[start:stop]
    with pytest.raises(LayoutError):
        source.read(start, len(content) - start + 1)


def test_long_literals_read_as_the_file() -> None:
    content = np.random.default_rng(1).bytes(3_000_000)
    store = MemoryStore()
    pointer = clean(BytesSource(content), store).pointer
    source = StoredSource.of(pointer, smudge.load_skeleton(pointer, store), store)
    for start, stop in ((0, 10), (2_999_990, 3_000_000), (1_000_000, 2_500_000)):
        assert source.read(start, stop - start) == content[start:stop]


def test_settings_say_what_is_an_error() -> None:
    config = Config({"nn.check.nan": ("warn",), "nn.check.inf": ("Error",),
                     "nn.check.pickle": ("ignore",), "nn.check.maxsize": ("2k",)})  # fmt: skip
    assert Limits.of(config) == Limits(2048, Severity.WARNING, Severity.ERROR, None)
    assert Limits.of(Config({})) == Limits()
    with pytest.raises(UsageError, match=r"nn\.check\.nan is 'off'"):
        Limits.of(Config({"nn.check.nan": ("off",)}))
