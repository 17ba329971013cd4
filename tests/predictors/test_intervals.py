import numpy as np
import pytest

from predictors.base import Margin
from predictors.intervals import (
    Drift,
    above,
    conformal_quantiles,
    half_width,
    interval_ms,
    margins_over,
    missing,
    networks_needed,
    not_covered,
    quantiles_of_picks,
)
from profiler.errors import InvalidInputError
from profiler.tables.sessions import SessionLevel


def test_the_kth_smallest_residual_covers_k_of_n_plus_1():
    quantiles = conformal_quantiles(np.array([0.04, -0.01, 0.03, 0.02]))
    assert quantiles == {0.6: 0.03, 0.8: 0.04}


def test_coverage_on_exchangeable_residuals_is_exact_on_average():
    rng = np.random.default_rng(0)
    covered: dict[float, list[bool]] = {0.9: [], 0.95: []}
    for _ in range(4000):
        quantiles = conformal_quantiles(rng.standard_t(3, 30))
        fresh = abs(rng.standard_t(3))
        for confidence, hits in covered.items():
            hits.append(fresh <= quantiles[min(c for c in quantiles if c >= confidence)])
    # ceil(31 · 0.9) = 28 and ceil(31 · 0.95) = 30 of 31
    assert np.mean(covered[0.9]) == pytest.approx(28 / 31, abs=0.015)
    assert np.mean(covered[0.95]) == pytest.approx(30 / 31, abs=0.012)


def test_a_bound_is_of_one_side_and_never_below_the_cost():
    assert conformal_quantiles(above(np.array([0.04, -0.01, 0.03, 0.02]))) == {0.6: 0.03, 0.8: 0.04}
    assert conformal_quantiles(above(np.array([-0.04, -0.01, -0.03, -0.02]))) == {
        0.6: 0.0,
        0.8: 0.0,
    }
    assert conformal_quantiles(above(np.array([]))) == {}


def test_bounds_cover_errors_that_lie_to_one_side():
    rng = np.random.default_rng(0)
    covered, of_interval = [], []
    for _ in range(4000):
        errors, fresh = rng.exponential(size=30), rng.exponential()
        covered.append(fresh <= half_width(conformal_quantiles(above(errors)), 0.9))
        of_interval.append(fresh <= half_width(conformal_quantiles(errors - 1), 0.9) + 1)
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.015)  # ceil(31 · 0.9) of 31
    assert np.mean(of_interval) == pytest.approx(28 / 31, abs=0.015)  # none lies below


def test_a_bound_is_nearer_than_the_end_of_the_interval_with_the_same_confidence():
    errors = np.random.default_rng(0).normal(size=99_999)
    assert half_width(conformal_quantiles(above(errors)), 0.95) == pytest.approx(1.645, abs=0.02)
    assert half_width(conformal_quantiles(errors), 0.95) == pytest.approx(1.960, abs=0.02)


def test_no_coverage_is_claimed_beyond_what_n_supports():
    assert max(conformal_quantiles(np.ones(30))) == 30 / 31
    assert conformal_quantiles(np.array([])) == {}


@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.75, 0.9, 0.95, 0.97, 0.99, 0.999])
def test_no_more_networks_are_asked_for_than_an_interval_takes(confidence):
    needed = networks_needed(confidence)
    assert half_width(conformal_quantiles(np.ones(needed)), confidence) == 1.0
    if needed > 3:  # which a calibration takes anyway
        with pytest.raises(InvalidInputError, match=f"--networks {needed} is(, or a run|$)"):
            half_width(conformal_quantiles(np.ones(needed - 1)), confidence)


def test_no_command_is_advised_that_would_be_refused():
    assert missing(1 - 2**-20).endswith("the 1048575 measured networks that it takes")


def test_picks_are_a_group_of_their_own():
    drawn, picks = np.full(30, 0.01), np.arange(1, 21) / 1000 + 0.02
    picked = np.repeat([False, True], [30, 20])
    quantiles = quantiles_of_picks(np.concatenate([drawn, picks]), picked)
    assert half_width(quantiles, 0.9) == pytest.approx(0.039)  # the 19th of 20
    assert half_width(quantiles, 0.95) == pytest.approx(0.040)
    assert half_width(quantiles, 0.98) == pytest.approx(0.040)  # of all 50, which hold it too
    assert quantiles_of_picks(drawn, np.zeros(30, np.bool_)) == conformal_quantiles(drawn)


def test_bounds_of_picks_are_those_of_their_group():
    drawn, picks = np.full(30, -0.05), np.arange(-9, 11) / 1000
    picked = np.repeat([False, True], [30, 20])
    bounds = quantiles_of_picks(above(np.concatenate([drawn, picks])), picked)
    assert half_width(bounds, 0.9) == pytest.approx(0.009)  # the 19th of 20
    assert half_width(bounds, 0.95) == half_width(bounds, 0.98) == pytest.approx(0.010)


def test_too_few_picks_widen_what_all_networks_say():
    residuals = np.concatenate([np.arange(1, 31) / 1000, [0.05, 0.001]])
    quantiles = quantiles_of_picks(residuals, np.repeat([False, True], [30, 2]))
    assert half_width(quantiles, 0.6) == pytest.approx(0.05)
    assert half_width(quantiles, 0.95) == pytest.approx(0.05)
    widths = [quantiles[coverage] for coverage in sorted(quantiles)]
    assert widths == sorted(widths)


def sessions_at(*hours, scatter=0.0):
    """Launches by the levels that they have, a list for each hour."""
    return [
        SessionLevel(
            started=f"2026-01-01T{2 * hour:02}:{at:02}:00+00:00", epoch="boot", n_networks=30,
            level=level, scatter=scatter,
        )
        for hour, levels in enumerate(hours)
        for at, level in enumerate(levels)
    ]  # fmt: skip


def drift_at(*hours, scatter=0.0):
    found = Drift.of(sessions_at(*hours, scatter=scatter))
    assert found is not None
    return found


def test_one_launch_says_nothing_about_another():
    assert Drift.of([]) is Drift.of(sessions_at([1.0])) is None


def test_two_launches_of_an_hour_give_the_interval_of_students_t():
    drift = drift_at(np.exp([0.01, -0.01]))
    assert (drift.n_sessions, drift.n_hours, drift.between) == (2, 1, 0.0)
    # deviation √2 · 1 %, √(1 + 1/1), and the 97.5 % point of one degree of freedom
    expected = np.expm1(12.7062 * np.sqrt(2) * 0.01 * np.sqrt(2))
    assert drift.widened({0.95: 0.0})[0.95] == pytest.approx(expected, rel=1e-4)
    assert drift.widened({0.95: expected})[0.95] == pytest.approx(np.sqrt(2) * expected, rel=1e-4)
    one_sided = np.expm1(6.31375 * np.sqrt(2) * 0.01 * np.sqrt(2))  # the 95 % point
    assert drift.widened({0.95: 0.0}, one_sided=True)[0.95] == pytest.approx(one_sided, rel=1e-4)


def test_hours_differ_by_more_than_their_launches():
    drift = drift_at(np.exp([0.001, -0.001]), np.exp([0.011, 0.009]))
    assert (drift.n_sessions, drift.n_hours) == (4, 2)
    assert drift.between == pytest.approx(0.01 / np.sqrt(2))
    assert drift.within == pytest.approx(np.sqrt(4e-6 / 2))
    deviation = np.sqrt((0.5e-4 + 2e-6) * 1.5)
    expected = np.expm1(4.30265 * deviation) + np.expm1(0.005)  # and the mean is that much slower
    assert drift.widened({0.95: 0.0})[0.95] == pytest.approx(expected, rel=1e-4)


def test_an_hour_counts_as_one_however_many_its_launches():
    drift = drift_at(np.exp([0.03]), np.exp([0.011, 0.009, 0.01]))
    assert drift.mean == pytest.approx(0.02)


def test_another_boot_is_another_hour():
    first, second = sessions_at([1.0, 1.01])
    rebooted = second.model_copy(update={"epoch": "another"})
    found = Drift.of([first, rebooted])
    assert found is not None and found.n_hours == 2


def test_networks_scatter_and_a_slower_mean_widen_and_a_faster_one_narrows_nothing():
    still = drift_at([1.0, 1.0], scatter=0.005)
    assert still.widened({0.95: 0.0})[0.95] == pytest.approx(np.expm1(1.95996 * 0.005), rel=1e-4)
    assert drift_at([1.02, 1.02]).widened({0.95: 0.01})[0.95] == pytest.approx(0.03)
    assert drift_at([0.98, 0.98]).widened({0.95: 0.01})[0.95] == 0.01


def test_sessions_are_asked_for_no_more_than_is_asked():
    quantiles, drift = {0.5: 0.01, 0.97: 0.02}, drift_at([1.0, 1.01, 0.99])
    widened = drift.widened(quantiles)
    assert set(widened) == {0.5, 0.8, 0.9, 0.95, 0.97}
    assert half_width(widened, 0.95) == drift.widened({0.95: 0.02})[0.95] < widened[0.97]


@pytest.mark.parametrize(
    ("n_hours", "between", "within"), [(1, 0.0, 0.006), (2, 0.006, 0.002), (2, 0.003, 0.003)]
)
def test_a_later_session_is_slower_than_said_at_most_as_often_as_said(n_hours, between, within):
    """Three launches an hour; the table's scale is the mean of the first hour's."""
    rng, held, one_sided = np.random.default_rng(1), [], []
    for _ in range(1500):
        levels = rng.normal(0, between, (n_hours, 1)) + rng.normal(0, within, (n_hours, 3))
        scale = levels[0].mean()
        drift = drift_at(*np.exp(levels - scale))
        later = rng.normal(0, between) + rng.normal(0, within) - scale
        held.append(np.expm1(later) <= drift.widened({0.95: 0.0})[0.95])
        one_sided.append(np.expm1(later) <= drift.widened({0.95: 0.0}, one_sided=True)[0.95])
    assert np.mean(held) >= 0.935
    assert np.mean(one_sided) >= (0.9 if between > within else 0.95)


TABLE_MS = np.linspace(3.0, 12.0, 12)


def sessions_of(*lines):
    """Launches an hour or more apart that read offset + slope · table."""
    return [
        SessionLevel.of(
            f"2026-01-01T{2 * at:02}:00:00+00:00",
            "boot",
            (offset + slope * TABLE_MS).tolist(),
            TABLE_MS.tolist(),
        )
        for at, (offset, slope) in enumerate(lines)
    ]


def test_a_session_is_known_as_a_line():
    (session,) = sessions_of((0.3, 1.01))
    assert session.level_at(3.0) == pytest.approx(1.11)
    assert session.level_at(12.0) == pytest.approx(1.035)
    assert session.scatter_at == 0.0 < session.scatter
    older = session.model_copy(update={"line": None})
    assert older.level_at(3.0) == older.level_at(12.0) == session.level
    assert older.scatter_at == session.scatter


@pytest.mark.parametrize(
    ("read_ms", "table_ms"),
    [
        ([1.0, 2.1, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]),
        ([2.0, 2.1, 2.0, 2.2, 2.0], [2.0] * 5),
        ([9.86, 9.84, 10.07, 10.04, 10.27], [9.8, 9.9, 10.0, 10.1, 10.2]),  # off by 0.6 %
        ([1.0 + 4e-7 * at for at in range(1, 6)], [1.0, 2.0, 3.0, 4.0, 5.0]),  # slope 0.000000
    ],
)
def test_few_or_like_networks_tell_no_line(read_ms, table_ms):
    assert SessionLevel.of("2026-01-01", "boot", read_ms, table_ms).line is None


def test_sessions_that_add_a_time_bound_small_networks_by_the_same_time():
    ends, sessions = np.array([3.0, 12.0]), sessions_of((0.001, 1.0), (-0.001, 1.0))
    share, fixed_ms = margins_over(sessions, {0.95: 0.0}, ends)[0.95]
    # of one launch an hour each: one degree of freedom, √(1 + 1/2)
    bound_ms = 6.31375 * np.std([0.001, -0.001], ddof=1) * np.sqrt(1.5)
    assert fixed_ms + share * ends == pytest.approx([bound_ms, bound_ms], rel=0.01)


def test_sessions_that_add_a_share_bound_all_networks_by_the_same_share():
    sessions, bounds = sessions_of((0.0, 1.01), (0.0, 0.99)), {0.9: 0.01, 0.95: 0.02}
    margins = margins_over(sessions, bounds, np.array([3.0, 12.0]))
    drift = Drift.of(sessions)
    assert drift is not None
    for coverage, share in drift.widened(bounds, one_sided=True).items():
        assert margins[coverage] == pytest.approx((share, 0.0), abs=1e-6)


def test_without_sessions_bounds_stay_shares():
    ends = np.array([3.0, 12.0])
    assert margins_over([], {0.95: 0.02}, ends) == {0.95: pytest.approx((0.02, 0.0))}
    assert margins_over([], {0.95: 0.02}, ends[:1].repeat(2)) == {0.95: (0.02, 0.0)}


def test_margins_are_never_below_the_bounds_between_their_ends():
    rng, ends = np.random.default_rng(0), np.array([3.0, 12.0])
    for _ in range(50):
        lines = rng.normal([0.0, 1.0], [0.15, 0.01], (6, 2)).tolist()
        sessions = sessions_of(*lines)
        margins = margins_over(sessions, {0.95: 0.01}, ends)
        share, fixed_ms = margins[0.95]
        assert share >= 0 and fixed_ms >= 0
        for ms in np.linspace(3.0, 12.0, 10):
            drift = Drift.of(sessions, ms)
            assert drift is not None
            bound = drift.widened({0.95: 0.01}, one_sided=True)[0.95]
            assert fixed_ms + share * ms >= bound * ms * (1 - 2e-3)  # exp is not quite linear


def test_a_later_session_that_adds_a_time_keeps_to_the_margin_at_every_size():
    """One share for all networks holds small ones less often than large ones."""
    rng, ends = np.random.default_rng(2), np.array([3.0, 12.0])
    held = []
    for _ in range(400):
        offsets = rng.normal(0, 0.13, 6)
        sessions = sessions_of(*((offset, 1.0) for offset in offsets))
        share, fixed_ms = margins_over(sessions, {0.95: 0.0}, ends)[0.95]
        later = rng.normal(0, 0.13)
        held.append(later <= fixed_ms + share * ends)
    small, large = np.mean(held, axis=0)
    assert small == pytest.approx(large, abs=0.02)
    assert small >= 0.94


def test_a_margin_and_what_is_within_it_are_inverse():
    margin, costs = Margin(0.02, 0.1), np.array([1.0, 10.0])
    assert margin.added(costs).tolist() == pytest.approx([1.12, 10.3])
    assert margin.within(margin.added(costs)).tolist() == pytest.approx(costs.tolist())


def test_a_launch_without_its_time_zone_is_of_utc():
    told = sessions_at([1.0, 1.01, 0.99], [1.02, 1.03])
    zoneless = [
        session.model_copy(update={"started": session.started.removesuffix("+00:00")})
        for session in told[::2]
    ]
    assert Drift.of([*told[1::2], *zoneless]) == Drift.of([*told[1::2], *told[::2]])


def test_no_latency_is_below_0():
    assert interval_ms(10.0, 0.25) == (7.5, 12.5)
    assert interval_ms(10.0, 1.25) == (0.0, 22.5)


def test_what_an_interval_does_not_cover_is_said():
    assert not_covered(20, 3) is None
    assert not_covered(0, 3) == "the interval does not know networks that a search picks"
    assert str(not_covered(0, 0)).endswith("networks that a search picks and other sessions")
