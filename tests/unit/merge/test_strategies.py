"""Each strategy against its formula, written anew here on whole arrays of doubles.

Where a formula needs sums or a decomposition the comparison is to 1e-12, on doubles; the
others are held bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3

from git_nn.errors import UsageError
from git_nn.merge.arithmetic import Version, Versions, merge_tensor
from git_nn.merge.decide import Conflict, settle
from git_nn.merge.rules import parse
from git_nn.merge.strategies import table
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Stored

KINDS = {"<f2": "f16", "<f4": "f32", "<f8": "f64", ">f4": "f32be", "bfloat16": "bf16", "<c8": "c64"}
COMPUTED = [
    name
    for name in table.NAMES
    if table.by_name(name).merge is not None and not table.by_name(name).needs
]


def dtype_of(array: np.ndarray) -> str:
    return KINDS["bfloat16" if array.dtype == ml_dtypes.bfloat16 else array.dtype.str]


def version(array: np.ndarray) -> Version:
    data = array.tobytes()
    return Version(oid_of(data), lambda: [data])


def merged(
    choice: str, base: np.ndarray, ours: np.ndarray, theirs: np.ndarray, size: int = 0
) -> np.ndarray:
    """What ``choice`` makes of the three, in blocks of ``size`` bytes."""
    return merged_many(choice, base, [ours, theirs], size)


def merged_many(
    choice: str, base: np.ndarray, sides: Sequence[np.ndarray], size: int = 0
) -> np.ndarray:
    """The same of any number of sides."""
    made = parse(choice, "test")
    assert made is not None
    ours = sides[0]
    origin = version(base) if table.by_name(made.strategy).needs_base else None
    versions = Versions(dtype_of(ours), ours.shape, origin, tuple(map(version, sides)))
    data = b"".join(block for block, _ in merge_tensor(made, versions, size))
    return np.frombuffer(data, ours.dtype).reshape(ours.shape)


def sides(shape: tuple[int, ...], kind: object = "<f8", seed: int = 1) -> list[np.ndarray]:
    """A base and two fine-tunes of it that share a part of their change."""
    random = np.random.default_rng(seed)
    base, common, mine, other = (random.standard_normal(shape) for _ in range(4))
    changed = (base, base + 0.1 * (common + mine), base + 0.1 * (common + 0.5 * other))
    return [side.astype(kind) for side in changed]


def key_of(*arrays: np.ndarray) -> int:
    ids = b"".join(blake3(array.tobytes()).digest() for array in arrays)
    return int.from_bytes(blake3(ids).digest()[:16], "little")


def draws(key: int, count: int) -> np.ndarray:
    """A number from 0 to 1 for each element: the upper 53 bits of Philox's words."""
    return (np.random.Philox(key=key).random_raw(count) >> np.uint64(11)) / 2.0**53


def doubles(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """A mask of the ``count`` largest, the first of equal ones first."""
    order = sorted(range(values.size), key=lambda i: (-abs(values.flat[i]), i))
    mask = np.zeros(values.size, bool)
    mask[order[:count]] = True
    return mask.reshape(values.shape)


def elect(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The disjoint mean of TIES, element by element."""
    result = np.zeros(a.shape)
    for place in np.ndindex(a.shape):
        x, y = a[place], b[place]
        sign = 1 if x + y >= 0 else -1
        agree = [z for z in (x, y) if z * sign > 0]
        result[place] = sum(agree) / len(agree) if agree else 0
    return result


# --- elementwise ------------------------------------------------------------------------


def test_base_gives_the_base() -> None:
    base, ours, theirs = sides((5, 7), "<f4")
    assert merged("base", base, ours, theirs).tobytes() == base.tobytes()


def test_passthrough_scales_every_element_of_ours() -> None:
    base, ours, theirs = sides((5, 7), "<f4")
    theirs[0] = ours[0]
    expected = (ours.astype(np.float64) * 0.3).astype(np.float32)
    assert merged("passthrough:scale=0.3", base, ours, theirs).tobytes() == expected.tobytes()
    assert merged("passthrough", base, ours, theirs).tobytes() == ours.tobytes()
    assert not merged("passthrough:scale=0", base, ours, theirs).any()


def test_nearswap_takes_theirs_where_it_is_near() -> None:
    base, ours, theirs = sides((50, 7), "<f4")
    theirs[0] = ours[0] + np.float32(1e-3)
    a, b = doubles(ours, theirs)
    weight = np.clip(0.05 / np.abs(a - b), 0, 1)
    expected = (weight * b + (1 - weight) * a).astype(np.float32)
    found = merged("nearswap:t=0.05", base, ours, theirs)
    assert found.tobytes() == expected.tobytes()
    assert (found[0] == theirs[0]).all()
    assert merged("nearswap:t=0", base, ours, theirs).tobytes() == ours.tobytes()


# --- angles -----------------------------------------------------------------------------


def on_circle(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    cos = np.sum(a * b) / np.sqrt(np.sum(a * a)) / np.sqrt(np.sum(b * b))
    angle = np.arccos(cos)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(5,), (300, 217)])
def test_slerp_and_nuslerp_go_along_the_great_circle(shape: tuple[int, ...], t: float) -> None:
    base, ours, theirs = sides(shape)
    far = theirs - 2 * base  # an obtuse angle too
    for other in (theirs, far):
        found = merged(f"slerp:t={t}", base, ours, other)
        close = ours @ other / np.linalg.norm(ours) if shape == (5,) else 0
        assert np.abs(close) < 0.9995 * np.linalg.norm(other)
        np.testing.assert_allclose(found, on_circle(ours, other, t), rtol=1e-12, atol=1e-14)
        found = merged(f"nuslerp:t={t}", base, ours, other)
        expected = base + on_circle(ours - base, other - base, t)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_slerp_at_its_ends_is_a_side_bit_for_bit() -> None:
    base, ours, theirs = sides((40, 3), "<f4")
    assert merged("slerp:t=0", base, ours, theirs).tobytes() == ours.tobytes()
    assert merged("slerp:t=1", base, ours, theirs).tobytes() == theirs.tobytes()


@pytest.mark.parametrize("factor", [3.0, -3.0, 0.0])
def test_colinear_vectors_and_zeros_are_mixed_linearly(factor: float) -> None:
    base, ours, _ = sides((20, 3))
    theirs = factor * ours
    expected = (1 - 0.25) * ours + 0.25 * theirs
    assert merged("slerp:t=0.25", base, ours, theirs).tobytes() == expected.tobytes()
    zero = np.zeros_like(base)
    assert merged("nuslerp:t=0.25", zero, ours, theirs).tobytes() == expected.tobytes()


def test_nuslerp_of_nearly_colinear_changes_is_not_linear() -> None:
    base, ours, theirs = (
        np.zeros(2),
        np.array([1.0, 0.0]),
        np.array([math.cos(0.03), math.sin(0.03)]),
    )
    found = merged("nuslerp", base, ours, theirs)
    np.testing.assert_allclose(found, [math.cos(0.015), math.sin(0.015)], rtol=1e-14)
    assert np.linalg.norm((ours + theirs) / 2) < 1 - 1e-4


def test_slerp_keeps_the_length_where_the_mean_would_shrink_it() -> None:
    random = np.random.default_rng(3)
    ours, theirs = random.standard_normal((2, 4000))
    length = np.linalg.norm(merged("slerp", ours, ours, theirs))
    assert length == pytest.approx(np.linalg.norm(ours), rel=0.02)
    assert np.linalg.norm((ours + theirs) / 2) < 0.75 * length


def test_model_stock_goes_towards_the_mean_by_the_angle() -> None:
    base, ours, theirs = sides((60, 11))
    a, b = (ours - base).ravel(), (theirs - base).ravel()
    cos = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    part = 2 * cos / (1 + cos)
    assert 0.4 < part < 0.9
    expected = part * (ours + theirs) / 2 + (1 - part) * base
    np.testing.assert_allclose(merged("model-stock", base, ours, theirs), expected, rtol=1e-12)


def test_model_stock_of_orthogonal_or_opposed_changes_is_the_base() -> None:
    base = np.array([1.0, 2.0, 3.0, 4.0])
    step = np.array([1.0, 0, 0, 0])
    for other in (np.array([0, 1.0, 0, 0]), np.array([-1.0, 1, 1, 0]), -step, step * 0):
        found = merged("model-stock", base, base + step, base + other)
        assert found.tobytes() == base.tobytes()
    assert merged("model-stock", base, base + step, base + 3 * step)[0] == 3.0


# --- ranks ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["<f4", ml_dtypes.bfloat16, "<f2", ">f4"])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.2, 0.77, 1.0])
def test_ties_is_trim_elect_and_disjoint_mean(kind: object, density: float) -> None:
    base, ours, theirs = sides((31, 9), kind)
    o, a, b = doubles(base, ours, theirs)
    count = int(density * a.size)
    trimmed = [np.where(largest(d, count), d, 0) for d in (a - o, b - o)]
    expected = o + 0.7 * elect(*trimmed)
    found = merged(f"ties:density={density},lambda=0.7", base, ours, theirs)
    if kind is ml_dtypes.bfloat16:  # numpy's own cast of doubles rounds twice
        np.testing.assert_allclose(found.astype(np.float64), expected, rtol=2**-8)
    else:
        assert found.tobytes() == expected.astype(kind).tobytes()


def test_ties_keeps_the_larger_change_where_the_signs_differ() -> None:
    base = np.zeros(4)
    ours, theirs = np.array([3.0, -1.0, 2.0, 5.0]), np.array([-1.0, 4.0, 4.0, -5.0])
    assert [*merged("ties:density=1", base, ours, theirs)] == [3.0, 4.0, 3.0, 5.0]


def test_of_equal_changes_the_first_are_kept() -> None:
    base = np.zeros(10)
    ours, theirs = np.ones(10), np.full(10, 2.0)
    found = merged("ties:density=0.3", base, ours, theirs)
    assert [*found] == [1.5] * 3 + [0.0] * 7


@pytest.mark.parametrize(
    ("density", "gamma"), [(0.9, 0.01), (0.5, 0.1), (0.95, 0.2), (1, 0.3), (0, 0.1)]
)
def test_breadcrumbs_drops_outliers_and_small_changes(density: float, gamma: float) -> None:
    base, ours, theirs = sides((43, 11), "<f4")
    o, a, b = doubles(base, ours, theirs)
    kept, outliers = int(density * a.size), int(gamma * a.size)
    outliers = min(outliers, a.size - kept)
    masked = [
        np.where(largest(d, outliers + kept) & ~largest(d, outliers), d, 0) for d in (a - o, b - o)
    ]
    expected = (o + 0.5 * (masked[0] + masked[1])).astype(np.float32)
    found = merged(f"breadcrumbs:density={density},gamma={gamma},lambda=0.5", base, ours, theirs)
    assert found.tobytes() == expected.tobytes()


def test_breadcrumbs_keeps_the_changes_of_a_tensor_under_100_elements() -> None:
    """The nearest peer slices [n:-0] there, which is empty, and loses every change."""
    base, ours, theirs = np.zeros(20), np.arange(1.0, 21), np.arange(1.0, 21)[::-1]
    found = merged("breadcrumbs", base, ours, theirs)
    assert [*found] == [20.0, 19.0, *[21.0] * 16, 19.0, 20.0]


@pytest.mark.parametrize("select", [1.0, 0.4, 0.05, 0.0])
def test_sce_selects_calculates_and_erases(select: float) -> None:
    base, ours, theirs = sides((37, 9))
    theirs[5:9] = ours[5:9] = base[5:9] + 0.5  # no variance
    d = np.stack([ours - base, theirs - base])
    if select < 1:
        variance = (d[0] - d[1]) ** 2
        d = d * largest(variance, int(select * np.count_nonzero(variance)))
    energy = (d**2).mean(axis=(1, 2))
    energy = energy / energy.sum() if energy.sum() else np.full(2, 0.5)
    agree = np.sign(d) == np.where(d.sum(axis=0) >= 0, 1, -1)
    weight = energy[:, None, None] * agree
    total = weight.sum(axis=0)
    expected = base + (weight * d).sum(axis=0) / np.where(total > 0, total, 1)
    found = merged(f"sce:select={select}", base, ours, theirs)
    same = ours == theirs
    np.testing.assert_allclose(found[~same], expected[~same], rtol=1e-12)


@pytest.mark.parametrize("shape", [(64, 48), (7, 5, 33), (500,)])
def test_arcee_fusion_takes_what_is_important(shape: tuple[int, ...]) -> None:
    base, ours, theirs = sides(shape)

    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True) + 1e-8

    p, q = softmax(theirs), softmax(ours)
    score = np.abs(theirs - ours) * (p * np.log(p / q)).sum(axis=-1, keepdims=True)
    low, middle, high = (
        np.sort(score.ravel())[int(f * (score.size - 1))] for f in (0.25, 0.5, 0.75)
    )
    taken = score >= middle + 1.5 * (high - low)
    assert 0 < taken.sum() < 0.2 * taken.size
    found = merged("arcee-fusion", base, ours, theirs)
    assert found.tobytes() == np.where(taken, theirs, ours).tobytes()


# --- draws ------------------------------------------------------------------------------


def dare(base: np.ndarray, own: np.ndarray, other: np.ndarray, density: float) -> np.ndarray:
    o, a = doubles(base, own)
    drawn = draws(key_of(base, own, other), a.size).reshape(a.shape)
    return np.where(drawn < density, (a - o) / (density or 1), 0)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_dare_drops_by_philox_and_divides_by_the_density(density: float) -> None:
    base, ours, theirs = sides((29, 7), "<f4")
    a, b = dare(base, ours, theirs, density), dare(base, theirs, ours, density)
    o = base.astype(np.float64)
    options = f"density={density},lambda=0.9"
    found = merged(f"dare-linear:{options}", base, ours, theirs)
    assert found.tobytes() == (o + 0.9 * (a + b)).astype(np.float32).tobytes()
    found = merged(f"dare-ties:{options}", base, ours, theirs)
    assert found.tobytes() == (o + 0.9 * elect(a, b)).astype(np.float32).tobytes()


def test_dare_of_density_one_is_task_arithmetic_and_of_zero_the_base() -> None:
    base, ours, theirs = sides((29, 7), "<f4")
    whole = merged("dare-linear:density=1", base, ours, theirs)
    assert whole.tobytes() == merged("task-arithmetic", base, ours, theirs).tobytes()
    for name in ("dare-linear", "dare-ties", "della", "ties", "breadcrumbs"):
        assert merged(f"{name}:density=0", base, ours, theirs).tobytes() == base.tobytes()


def test_dare_keeps_the_expected_change() -> None:
    base = np.zeros(200_000)
    ours, theirs = np.ones(200_000), np.full(200_000, 1e-9)
    found = merged("dare-linear:density=0.2", base, ours, theirs)
    kept = found > 1
    assert kept.mean() == pytest.approx(0.2, abs=0.005)
    assert found.mean() == pytest.approx(1.0, abs=0.025)
    halves = kept.reshape(-1, 2)
    assert (halves[:, 0] & halves[:, 1]).mean() == pytest.approx(0.04, abs=0.004)


def test_other_content_gives_other_draws_and_swapped_sides_the_same() -> None:
    base, ours, theirs = sides((40, 5))
    once = merged("dare-linear", base, ours, theirs)
    assert once.tobytes() == merged("dare-linear", base, theirs, ours).tobytes()
    nudged = theirs.copy()
    nudged[-1, -1] += 1e-9
    assert (merged("dare-linear", base, ours, nudged)[:39] != once[:39]).any()


@pytest.mark.parametrize("shape", [(12, 31), (6, 5, 3), (50,), (9, 1)])
@pytest.mark.parametrize(
    "options", ["density=0.5,epsilon=0.15", "density=0.9,epsilon=0.3", "density=1"]
)
def test_della_drops_the_small_changes_of_a_row_likelier(
    shape: tuple[int, ...], options: str
) -> None:
    base, ours, theirs = sides(shape, "<f4")
    values = {"epsilon": 0.15} | {
        k: float(v) for k, v in (o.split("=") for o in options.split(","))
    }
    thinned = []
    for own, other in ((ours, theirs), (theirs, ours)):
        change = (own.astype(np.float64) - base.astype(np.float64)).reshape(
            (shape[0] if len(shape) > 1 else 1), -1
        )
        chance = np.empty(change.shape)
        for row, sizes in enumerate(np.abs(change)):
            order = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
            for rank, i in enumerate(order):
                part = rank / (len(order) - 1) if len(order) > 1 else 0.5
                chance[row, i] = values["density"] + values["epsilon"] * (2 * part - 1)
        chance = np.ones(change.shape) if values["density"] == 1 else np.clip(chance, 0, 1)
        drawn = draws(key_of(base, own, other), change.size).reshape(change.shape)
        thinned.append(np.where(drawn < chance, change / chance, 0).reshape(shape))
    expected = (base.astype(np.float64) + elect(*thinned)).astype(np.float32)
    assert merged(f"della:{options}", base, ours, theirs).tobytes() == expected.tobytes()


# --- matrices ---------------------------------------------------------------------------


def root(square: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(square)
    return (vectors * values**power) @ vectors.T


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (16, 16)])
def test_iso_c_is_the_polar_factor_times_the_mean_singular_value(shape: tuple[int, int]) -> None:
    base, ours, theirs = sides(shape)
    total = (ours - base) + (theirs - base)
    wide = total if shape[0] >= shape[1] else total.T
    polar = wide @ root(wide.T @ wide, -0.5)
    mean = np.trace(root(wide.T @ wide, 0.5)) / min(shape)
    merge = mean * (polar if wide is total else polar.T)
    found = merged("iso-c:lambda=0.8", base, ours, theirs)
    np.testing.assert_allclose(found, base + 0.8 * merge, atol=1e-10)
    strengths = np.linalg.svd(found - base, compute_uv=False)
    np.testing.assert_allclose(strengths, 0.8 * mean, rtol=1e-9)


def test_iso_c_invents_no_directions() -> None:
    base = np.zeros((6, 4))
    ours, theirs = np.outer(np.arange(1.0, 7), [1.0, 2, 3, 4]), np.zeros((6, 4))
    theirs[0, 0] = ours[0, 0] = 0
    ours[0] = 0
    found = merged("iso-c", base, ours, theirs)
    assert np.linalg.matrix_rank(found, tol=1e-9) == 1


@pytest.mark.parametrize("shape", [(30, 12), (11, 25), (15, 15)])
def test_tsv_keeps_half_of_each_side_and_orthogonalises(shape: tuple[int, int]) -> None:
    base, ours, theirs = sides(shape)
    lefts, rights, strengths = [], [], []
    for change in (ours - base, theirs - base):
        squares, vectors = np.linalg.eigh(change.T @ change)
        top = np.argsort(squares)[::-1][: min(shape) // 2]
        sigma, v = np.sqrt(squares[top]), vectors[:, top]
        lefts.append(change @ v / sigma)
        rights.append(v)
        strengths.append(sigma)
    u, v = np.concatenate(lefts, axis=1), np.concatenate(rights, axis=1)
    u, v = u @ root(u.T @ u, -0.5), v @ root(v.T @ v, -0.5)
    expected = base + 0.6 * (u * np.concatenate(strengths)) @ v.T
    found = merged("tsv:lambda=0.6", base, ours, theirs)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["tsv", "iso-c"])
@pytest.mark.parametrize("shape", [(12,), (3, 4, 5), (1, 9), (9, 1)])
def test_what_is_no_matrix_gets_the_mean_of_the_changes(name: str, shape: tuple[int, ...]) -> None:
    base, ours, theirs = sides(shape)
    expected = base + ((ours - base) + (theirs - base)) / 2
    assert merged(name, base, ours, theirs).tobytes() == expected.tobytes()


# --- what holds for all -----------------------------------------------------------------


@pytest.mark.parametrize("name", COMPUTED)
def test_codes_are_never_computed_with(name: str) -> None:
    for dtype in ("i64", "bool", "f8_e4m3fn", "u8"):
        base, ours, theirs = (Stored("w", dtype, (1,), oid_of(bytes([i])), 8) for i in range(3))
        decision = settle(Conflict("w", base, ours, theirs, "x"), parse(name, "test"))
        assert isinstance(decision, Conflict)
        assert "never computed" in decision.why


@pytest.mark.parametrize(
    ("choice", "hint"),
    [
        ("nearswap:t=-1", "use a number from 0"),
        ("ties:density=1.1", "use a number from 0 to 1"),
        ("della:epsilon=0.6", "use a number from 0 to 0.5"),
        ("iso-c:lambda=inf", "use a number"),
        ("ties:gamma=0.1", "known: density, lambda"),
    ],
)
def test_a_parameter_out_of_range_is_refused_with_the_range(choice: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(choice, "test")
    assert caught.value.hint == hint


@pytest.mark.parametrize("name", [n for n in COMPUTED if n not in ("base", "passthrough")])
def test_equal_bits_survive_whatever_stands_beside_them(name: str) -> None:
    random = np.random.default_rng(7)
    versions = [random.standard_normal((6, 8)).astype("<f4") for _ in range(3)]
    codes = np.array([0xFF800000, 0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800001], "<u4")
    for side in versions:
        side.view("<u4")[2, 1:6] = codes
    found = merged(name, *versions)
    assert [*found.view("<u4")[2, 1:6]] == [*codes]
    rest = np.delete(found.ravel(), range(17, 22))
    assert np.isfinite(rest).all()  # a mask of -inf does not spoil norms, ranks or matrices
    assert (found != versions[1]).any()


DROPPING = ["ties:density=0", "breadcrumbs:density=0", "dare-ties:density=0", "sce:select=0"]
WITH_BASE = [name for name in COMPUTED if table.by_name(name).needs_base and name != "base"]


@pytest.mark.parametrize("choice", WITH_BASE + DROPPING)
def test_a_nan_on_one_side_shows_in_the_result(choice: str) -> None:
    base, ours, theirs = sides((8, 6), "<f4")
    ours[3, 2] = np.nan
    found = merged(choice, base, ours, theirs)
    assert found.view("<u4")[3, 2] == 0x7FC00000
    assert np.isnan(found).sum() == 1


def test_arcee_fusion_takes_no_nan() -> None:
    base, ours, theirs = sides((8, 6), "<f4")
    theirs[3, 2] = np.nan
    found = merged("arcee-fusion", base, ours, theirs)
    assert found[3, 2] == ours[3, 2]
    assert (found != ours).any()


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 4), (4, 0), (1, 1), (2, 1, 3)])
@pytest.mark.parametrize("kind", ["<f4", "<c8"])
def test_tensors_of_any_shape_are_merged(name: str, shape: tuple[int, ...], kind: str) -> None:
    base, ours, theirs = (np.asarray(side, kind) for side in sides(shape))
    found = merged(name, base, ours, theirs)
    assert found.shape == shape
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", COMPUTED)
def test_tensors_of_zeros_and_sides_without_change_are_merged(name: str) -> None:
    zero, one = np.zeros((4, 5)), np.arange(20.0).reshape(4, 5)
    for versions in ([one, one, zero], [one, zero, one], [zero, one, zero], [zero, zero, one]):
        assert np.isfinite(merged(name, *versions)).all()
        assert not merged(name, zero, zero, zero).any()


UNCHANGED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "task-arithmetic": lambda base, side: side,
    "ties:density=1": lambda base, side: side,
    "dare-linear:density=1": lambda base, side: side,
    "sce": lambda base, side: side,
    "model-stock": lambda base, side: base,
    "nuslerp": lambda base, side: (base + side) / 2,
}


@pytest.mark.parametrize("choice", UNCHANGED)
def test_a_side_without_change_leaves_the_other_one(choice: str) -> None:
    """The ladder never asks for it; a tensor of zeros and minus zeros might."""
    random = np.random.default_rng(5)
    base, side = random.integers(-64, 64, (2, 9, 5)) / 8.0
    expected = UNCHANGED[choice](base, side)
    np.testing.assert_array_equal(merged(choice, base, side, base), expected)
    np.testing.assert_array_equal(merged(choice, base, base, side), expected)
