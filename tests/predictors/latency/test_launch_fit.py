"""Calibrations of a queued device against networks that are the longer of two known sums."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from predictors.cost import AdditiveCost, LongestCost
from predictors.latency.launch_terms import launch_terms
from predictors.latency.launches import Law
from predictors.latency.lookup import calibrated, cost_from_table
from predictors.latency.networks import LatencyPredictor
from profiler.spaces.networks import network_ops
from profiler.tables.table import Calibration, LatencyTable, Launches, load_table
from tests.predictors.synthetic import make_table, measured

pytestmark = pytest.mark.slow

LAUNCH = Law(0.7, {"block": 0.4, "excitation": 0.17, "hard_swish": 0.1})  # ms


def launch_ms(ops):
    return LAUNCH.fixed_ms + sum(LAUNCH.op_ms(launch_terms(op)) for op in ops)


def queued(n_networks, **options):
    """Some of its networks are bound by launches, some by work."""
    return make_table(n_networks=n_networks, launch_ms=launch_ms, platform="cuda", **options)


def mape_pct(cost, table):
    tokens, latency_ms = measured(table)
    return 100 * np.mean(np.abs(cost(tokens) / latency_ms - 1))


def additive(table):
    """The calibration of the same numbers from a device without a queue."""
    return calibrated(table.model_copy(update={"device": make_table().device}))


def calibration(table: LatencyTable) -> Calibration:
    assert table.calibration is not None
    return table.calibration


@pytest.fixture(scope="module")
def table():
    return calibrated(queued(30))


def test_both_ends_are_recovered_and_selected(table):
    unseen, cost = queued(300, seed=1), cost_from_table(table)
    assert isinstance(cost, LongestCost)
    tokens, _ = measured(unseen)
    launched, computed = (part(tokens) for part in cost.parts)
    assert 0.3 < (launched > computed).mean() < 0.8
    fitted = calibration(table)
    assert fitted.launch is not None
    assert fitted.launch.kernels_ms == pytest.approx(LAUNCH.costs, rel=0.01)
    assert fitted.launch.fixed_ms == pytest.approx(LAUNCH.fixed_ms, rel=0.01)
    assert mape_pct(cost, unseen) < 0.05
    assert mape_pct(cost_from_table(additive(queued(30))), unseen) > 2
    assert fitted.residual_mape_pct < 0.2
    assert fitted.n_networks == 30


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.02])
def test_where_work_is_always_longer_the_calibration_stays_additive_to_the_bit(noise):
    options = {"n_networks": 30, "noise": noise, "seed": 4}
    gpu, cpu = make_table(platform="cuda", **options), make_table(**options)
    assert isinstance(cost_from_table(gpu), AdditiveCost)
    assert calibrated(gpu).calibration == calibrated(cpu).calibration


def test_a_device_without_a_queue_has_no_launches():
    assert calibration(additive(queued(30))).launch is None


def test_networks_that_are_all_bound_by_launches_are_predicted_from_them():
    def long_ms(ops):
        return 3 * launch_ms(ops)

    table = make_table(n_networks=30, noise=0.01, launch_ms=long_ms, platform="cuda")
    unseen = make_table(n_networks=200, seed=1, launch_ms=long_ms)
    assert mape_pct(cost_from_table(table), unseen) < 0.5


def test_too_few_networks_at_one_end_leave_the_table_additive():
    assert calibration(calibrated(queued(7))).launch is None


def test_left_out_errors_are_those_of_fits_without_the_network():
    table = queued(20, noise=0.01, seed=2)
    tokens, latency_ms = measured(table)
    errors = []
    for i in range(20):
        others = tuple(n for j, n in enumerate(table.networks) if j != i)
        cost = cost_from_table(table.model_copy(update={"networks": others}))
        assert isinstance(cost, LongestCost)
        errors.append(abs(cost(tokens[i : i + 1])[0] / latency_ms[i] - 1))
    fitted = calibration(calibrated(table))
    assert fitted.residual_mape_pct == pytest.approx(100 * np.mean(errors), rel=0.02)


def test_the_interval_covers_unseen_networks():
    covered = []
    for seed in range(4):
        cost = cost_from_table(queued(30, noise=0.01, seed=seed))
        tokens, latency_ms = measured(queued(200, noise=0.01, seed=50 + seed))
        predicted = cost(tokens)
        half = cost.relative_interval(0.9)
        covered.append(np.mean(np.abs(latency_ms - predicted) <= half * predicted))
    assert 0.82 < np.mean(covered) < 0.98


def test_the_file_holds_the_launches_and_only_where_there_are_any(table, tmp_path):
    path = tmp_path / "gpu.json"
    table.save(path)
    loaded = load_table(path)
    assert loaded == table and loaded.to_json() == path.read_text()
    written = json.loads(path.read_text())["calibration"]["launch"]
    assert set(written["kernels_ms"]) == {"block", "excitation", "hard_swish"}
    tokens = table.search_space.sample(50, np.random.default_rng(0))
    bare = loaded.model_copy(update={"networks": ()})
    assert (cost_from_table(bare)(tokens) == cost_from_table(table)(tokens)).all()
    assert "launch" not in json.loads(additive(queued(30)).to_json())["calibration"]
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Launches(fixed_ms=0.1, kernels_ms={"block": -1.0})


def test_the_predictor_takes_the_longer_end_too(table):
    predictor, cost, space = LatencyPredictor(table), cost_from_table(table), table.search_space
    for tokens in space.sample(30, np.random.default_rng(7)):
        prediction = predictor.predict(network_ops(space, tokens), confidence=0.9)
        expected = cost(tokens[None])[0]
        assert prediction.latency_ms == pytest.approx(expected, rel=1e-12)
        half = cost.relative_interval(0.9) * expected
        assert prediction.interval_ms == pytest.approx((expected - half, expected + half))


def test_a_calibration_without_launches_reads_as_before():
    old = {"intercept_ms": 0.1, "factors": {"all": 0.9}, "n_networks": 3, "residual_mape_pct": 1.0}
    assert Calibration.model_validate(old).launch is None
