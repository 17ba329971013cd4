from dataclasses import replace

import numpy as np
import pytest

from profiler.measuring import stopping
from profiler.measuring.protocol import FULL, QUICK
from profiler.measuring.stopping import Decision, Estimator

RULE = replace(FULL.stopping, min_blocks=30, check_every=10, op_half_width=0.015)
ESTIMATOR = Estimator(quantile=0.1)


def steady(n_blocks, noise=0.001, seed=0):
    return 5 * np.exp(np.random.default_rng(seed).normal(0, noise, (n_blocks, 3)))


def decide(sweeps, spent_s=1.0, *, is_network=False, rule=RULE):
    width = None
    if rule.is_due(sum(map(len, sweeps))):
        width = rule.width(sweeps, ESTIMATOR, is_network=is_network, seed=0)
    return rule.decide(width, spent_s, is_network=is_network)


def test_stops_when_the_interval_is_narrow():
    assert decide([steady(30)]) is Decision.CONVERGED


@pytest.mark.parametrize("n_blocks", [10, 20, 29, 31, 39])
def test_looks_only_at_the_minimum_and_every_ten_blocks(n_blocks):
    assert decide([steady(n_blocks)]) is None


def test_goes_on_while_the_interval_is_wide_and_gives_up_at_the_cap():
    noisy = [steady(30, noise=0.2)]
    assert decide(noisy) is None
    assert decide(noisy, RULE.op_cap_s) is Decision.CAPPED
    assert decide(noisy, RULE.op_cap_s, is_network=True) is None
    assert decide(noisy, RULE.network_cap_s, is_network=True) is Decision.CAPPED


def test_a_look_at_many_blocks_is_at_stretches_of_them():
    """Of independent blocks the interval is as wide, and what lasts for a while is seen better."""
    rng = np.random.default_rng(0)
    sweeps = [np.exp(rng.normal(0, 0.05, (40, 3))) for _ in range(20)]
    low, high = RULE.interval(sweeps, ESTIMATOR, RULE.confidence, seed=0)
    of_all = (high - low) / (high + low) / RULE.op_half_width
    assert RULE.width(sweeps, ESTIMATOR, is_network=False, seed=0) == pytest.approx(
        of_all, rel=0.15
    )
    seen = [RULE.width([np.ones((n, 3))], ESTIMATOR, is_network=False, seed=0) for n in (60, 999)]
    assert seen == [0, 0]


def test_blocks_to_come_follow_the_root_of_their_number_up_to_the_cap():
    def to_come(width, spent_s):
        return RULE.blocks_to_come(width, 30, spent_s, is_network=False)

    assert to_come(0.9, 1.0) == 0
    assert to_come(2.0, 1.0) == 90  # four times 30 in all
    assert to_come(1.5, 1.0) == 40  # 37.5, at the next look
    assert to_come(100.0, RULE.op_cap_s / 2) == 30  # as much again as half of the time gave
    assert to_come(100.0, RULE.op_cap_s) == 1


def test_blocks_to_come_of_what_took_no_time_have_no_cap():
    assert RULE.blocks_to_come(2.0, 30, 0.0, is_network=False) == 90
    assert RULE.blocks_to_come(1.0, 30, 1.0, is_network=False) == 0
    assert RULE.blocks_to_come(100.0, 30, RULE.network_cap_s / 4, is_network=True) == 90


def test_a_width_of_one_is_narrow_enough():
    assert RULE.decide(1.0, 0.0, is_network=False) is Decision.CONVERGED
    assert RULE.decide(1.001, 0.0, is_network=False) is None
    unbounded = replace(RULE, op_half_width=0.0)
    assert unbounded.width([np.ones((30, 3))], ESTIMATOR, is_network=False, seed=0) == np.inf


def test_the_width_is_half_the_interval_relative_to_its_middle_over_the_target():
    sweeps = [steady(40, noise=0.05), steady(30, noise=0.05, seed=1)]
    low, high = RULE.interval(sweeps, ESTIMATOR, 0.99, seed=3)
    half_width = (high - low) / 2 / ((high + low) / 2)
    for is_network, target in ((False, RULE.op_half_width), (True, RULE.network_half_width)):
        found = RULE.width(sweeps, ESTIMATOR, is_network=is_network, seed=3)
        assert found == pytest.approx(half_width / target)


@pytest.mark.parametrize(
    ("n_blocks", "shapes"),
    [
        ((240, 10), [(120, 6), (10, 3)]),
        ((240,), [(240, 3)]),
        ((241,), [(120, 6)]),
        ((2,) * 241, [(1, 6)] * 241),
    ],
)
def test_at_most_240_stretches_are_looked_at(n_blocks, shapes, monkeypatch):
    seen: list[tuple[int, ...]] = []

    def interval(sweeps, **_):
        seen.extend(sweep.shape for sweep in sweeps)
        return 1.0, 1.0

    monkeypatch.setattr(stopping, "bootstrap_quantile_ci", interval)
    sweeps = [np.ones((n, 3)) for n in n_blocks]
    assert RULE.width(sweeps, ESTIMATOR, is_network=False, seed=0) == 0
    assert seen == shapes


def test_a_configuration_may_pause_with_its_share_of_blocks_or_of_time():
    def may_pause(n_blocks, spent_s, *, is_network=False):
        return RULE.may_pause(n_blocks, spent_s, 0.5, is_network=is_network)

    assert (may_pause(15, 0.0), may_pause(14, 0.0)) == (True, False)
    assert may_pause(0, RULE.op_cap_s / 2)
    assert not may_pause(0, RULE.op_cap_s / 2.001)
    assert not may_pause(0, RULE.op_cap_s / 2, is_network=True)
    assert may_pause(0, RULE.network_cap_s / 2, is_network=True)


def test_networks_are_measured_more_narrowly_than_ops():
    samples = [steady(30, noise=0.015)]
    rule = replace(RULE, op_half_width=0.02, network_half_width=0.002)
    assert decide(samples, rule=rule) is Decision.CONVERGED
    assert decide(samples, rule=rule, is_network=True) is None


def test_blocks_of_all_sweeps_count():
    assert decide([steady(20), steady(10, seed=1)]) is Decision.CONVERGED


def test_the_estimate_is_the_low_quantile():
    assert ESTIMATOR(np.arange(1.0, 102.0)) == pytest.approx(11.0)


def test_warm_up_needs_time_and_agreement():
    rule = replace(FULL.warm_up, window=2, windows=3, tolerance=0.02, min_s=0.5)
    steady_ms = [1.0, 1.0, 1.01, 1.0, 1.0, 1.01]
    assert rule.ended(steady_ms, 0.5)
    assert not rule.ended(steady_ms, 0.4)
    assert not rule.ended([1.2, 1.2, *steady_ms[2:]], 0.5)


def test_quick_only_widens_limits():
    assert QUICK.estimator == FULL.estimator
    assert QUICK.sampling == FULL.sampling
    assert QUICK.outliers == FULL.outliers
    assert QUICK.stopping.op_half_width > FULL.stopping.op_half_width
    assert QUICK.stopping.network_cap_s < FULL.stopping.network_cap_s
    assert QUICK.digest != FULL.digest
