"""The launch model against networks whose law is known in closed form."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load, save

from predictors.base import CostFunction
from predictors.latency.launch_terms import compute_terms, launch_terms
from predictors.latency.launches import SCHEMA, LaunchModel, Law
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

SPACE = MobileNetV3Space(resolution_px=160)
# ms per amount, in the order of magnitude of the published 2080 Ti latencies at batch 1 and 32
LAUNCH = Law(0.5, {"block": 0.45, "excitation": 0.35, "hard_swish": 0.1})
WORK = Law(
    1.0,
    {
        "block": 0.006,
        "expanded": 6e-8,
        "filtered excitation": 9e-8,
        "expand madds": 2.4e-10,
        "project warps": 3e-10,
        "depthwise k3 s1": 1.2e-7,
        "depthwise k5 s1": 1.8e-7,
        "depthwise k7 s1": 3e-7,
        "Conv pixels": 1.5e-7,
    },
)


def true_launch_ms(ops):
    return LAUNCH.fixed_ms + sum(
        LAUNCH.costs[name] * amount for op in ops for name, amount in launch_terms(op).items()
    )


def true_work_ms(ops):
    return WORK.fixed_ms + sum(
        WORK.costs.get(name, 0.0) * amount
        for op in ops
        for name, amount in compute_terms(op, per_site=False).items()
    )


def networks(n, *, batch_size=32, seed=0, space=SPACE):
    tokens = space.sample(n, np.random.default_rng(seed))
    return [tuple(space.ops(space.decode(row), batch_size=batch_size)) for row in tokens]


def true_ms(nets):
    return np.array([max(true_launch_ms(ops), true_work_ms(ops)) for ops in nets])


TRAIN = networks(150)
TRAIN_MS = true_ms(TRAIN)


@cache
def trained() -> LaunchModel:
    return LaunchModel.fit(TRAIN, TRAIN_MS)


def test_both_ends_of_the_queue_are_recovered():
    unseen = networks(300, seed=1)
    launch = np.array([true_launch_ms(ops) for ops in unseen])
    work = np.array([true_work_ms(ops) for ops in unseen])
    assert 0.2 < (launch > work).mean() < 0.8  # the law is tested at both ends
    np.testing.assert_allclose(trained().predict_ms(unseen), np.maximum(launch, work), rtol=0.01)
    clear = launch > 1.02 * work
    np.testing.assert_allclose(trained().launch_ms(unseen)[clear], launch[clear], rtol=0.003)
    clear = work > 1.02 * launch
    np.testing.assert_allclose(trained().compute_ms(unseen)[clear], work[clear], rtol=0.005)
    assert trained().launch.costs == pytest.approx(LAUNCH.costs, rel=0.02)
    assert trained().cross_validated_mape_pct < 0.3


def test_contended_measurements_do_not_pull_the_fit_away():
    rng = np.random.default_rng(3)
    slow = np.where(rng.random(len(TRAIN)) < 0.2, rng.uniform(1.1, 2.0, len(TRAIN)), 1.0)
    model = LaunchModel.fit(TRAIN, TRAIN_MS * slow)
    unseen = networks(300, seed=1)
    error = np.abs(model.predict_ms(unseen) / true_ms(unseen) - 1)
    assert error.mean() < 0.005


def test_a_site_of_its_own_law_gets_its_own_terms():
    def site_ms(ops):
        return sum(
            2e-7 * op.batch_size * op.out_height_px * op.out_width_px * op.mid_channels
            for op in ops
            if op.kind is OpKind.MBCONV and op.in_channels == op.out_channels == 40
        )

    nets, unseen = networks(300, batch_size=64), networks(200, batch_size=64, seed=1)

    def slow_ms(nets):
        return np.array([true_work_ms(ops) + site_ms(ops) for ops in nets])

    model = LaunchModel.fit(nets, slow_ms(nets))
    assert model.per_site
    np.testing.assert_allclose(model.predict_ms(unseen), slow_ms(unseen), rtol=0.01)


def test_the_same_data_and_seed_give_the_same_model():
    assert LaunchModel.fit(TRAIN, TRAIN_MS) == trained()


def test_depths_decide_launches_and_expands_only_work():
    ops = TRAIN[0]
    wider = [
        replace(op, mid_channels=2 * op.mid_channels) if op.has_expansion else op for op in ops
    ]
    assert trained().launch_ms([wider]) == pytest.approx(trained().launch_ms([ops]), rel=1e-12)
    assert trained().compute_ms([wider]) > trained().compute_ms([ops])


def test_a_kernel_pays_for_whole_warps_of_32_pixels():
    op = OpConfig(OpKind.MBCONV, 16, 24, 5, 5, 96, 3, 1, False, OpActivation.RELU, 2)
    terms = compute_terms(op, per_site=False)
    assert terms["expand madds"] == 2 * 25 * 16 * 96
    assert terms["expand warps"] == 2 * 32 * 16 * 96
    assert terms["depthwise k3 s1"] == 2 * 25 * 96
    assert launch_terms(op) == {"block": 1, "excitation": 0, "hard_swish": 0}


def test_as_a_cost_function_it_is_the_same_prediction():
    cost = trained().cost(SPACE)
    tokens = SPACE.sample(200, np.random.default_rng(5))
    assert isinstance(cost, CostFunction)
    assert cost.unit == "ms"
    np.testing.assert_allclose(
        cost(tokens), trained().predict_ms(networks(200, seed=5)), rtol=1e-12
    )
    launched, computed = (part(tokens) for part in cost.parts)
    np.testing.assert_array_equal(cost(tokens), np.maximum(launched, computed))


def test_the_interval_covers_new_networks_as_often_as_it_says():
    rng = np.random.default_rng(6)
    train, unseen = networks(200, seed=6), networks(1000, seed=7)
    model = LaunchModel.fit(train, true_ms(train) * np.exp(rng.normal(0, 0.05, 200)))
    cost = model.cost(SPACE)
    measured = true_ms(unseen) * np.exp(rng.normal(0, 0.05, 1000))
    error = np.abs(measured / model.predict_ms(unseen) - 1)
    for confidence in (0.5, 0.9, 0.95):
        assert (error <= cost.relative_interval(confidence)).mean() == pytest.approx(
            confidence, abs=0.06
        )
    with pytest.raises(InvalidInputError, match=r"no interval for confidence 0\.999"):
        cost.relative_interval(0.999)


def test_a_stored_model_is_the_same_and_needs_no_pickle(tmp_path):
    path, again = tmp_path / "gpu.safetensors", tmp_path / "again.safetensors"
    trained().save(path)
    assert LaunchModel.load(path) == trained()
    trained().save(again)
    assert path.read_bytes() == again.read_bytes()
    header = json.loads(path.read_bytes()[8:].split(b'"}', 1)[0] + b'"}}')  # length, then JSON
    assert json.loads(header["__metadata__"]["launch_model"])["schema"] == SCHEMA


def rewritten(path, *, schema=SCHEMA, drop=None, launch=None, **other_arrays):
    """The stored model with one thing changed."""
    trained().save(path)
    arrays = load(path.read_bytes()) | other_arrays
    if drop:
        del arrays[drop]
    description = {
        "schema": schema,
        "batch_size": 32,
        "per_site": trained().per_site,
        "cross_validated_mape_pct": 1.0,
        "launch": launch if launch is not None else list(trained().launch.costs),
        "work": list(trained().compute.costs),
    }
    path.write_bytes(save(arrays, {"launch_model": json.dumps(description)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "pnag.launch-model/9"}, "has schema 'pnag.launch-model/9', expected"),
        ({"drop": "work"}, "is damaged or no launch model"),
        ({"launch": ["block"]}, "is damaged or no launch model"),
        ({"launch": 3}, "is damaged or no launch model"),
        ({"work": np.array([-1.0])}, "costs below 0"),
        ({"coverages": np.array([1.5]), "half_widths": np.array([0.1])}, "that are none"),
        ({"coverages": np.array([0.5]), "half_widths": np.array([-0.1])}, "that are none"),
    ],
)
def test_a_file_that_is_not_this_model_is_refused(tmp_path, change, message):
    path = tmp_path / "gpu.safetensors"
    rewritten(path, **change)
    with pytest.raises(InvalidInputError, match=message):
        LaunchModel.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04K*.", "not a safetensors file"),
        (save({"launch": np.zeros(3)}), "has schema None"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        LaunchModel.load(path)
    with pytest.raises(InvalidInputError, match="cannot read"):
        LaunchModel.load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("latency_ms", "nets", "message"),
    [
        (TRAIN_MS[:20], TRAIN[:20], "at least 40 measured networks, not 20"),
        (TRAIN_MS[:-1], TRAIN, "150 networks with 149 latencies"),
        (TRAIN_MS * np.nan, TRAIN, "must be positive"),
        (TRAIN_MS - 100, TRAIN, "must be positive"),
        (TRAIN_MS, [*TRAIN[:-1], *networks(1, batch_size=1)], "batch sizes: 1, 32"),
    ],
)
def test_measurements_that_cannot_be_fitted_are_refused(latency_ms, nets, message):
    with pytest.raises(InvalidInputError, match=message):
        LaunchModel.fit(nets, latency_ms)


def test_what_was_not_fitted_is_not_predicted():
    with pytest.raises(InvalidInputError, match="of batch size 32 cannot predict batch size 1"):
        trained().predict_ms(networks(3, batch_size=1))
    op = next(op for op in TRAIN[0] if op.has_expansion)
    with pytest.raises(InvalidInputError, match="has not seen 'depthwise k9 s"):
        trained().predict_ms([[replace(op, kernel=9)]])
