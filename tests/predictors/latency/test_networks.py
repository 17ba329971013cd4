from dataclasses import replace

import numpy as np
import pytest

from predictors.latency.lookup import cost_from_table
from predictors.latency.networks import LatencyPredictor, Source
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.predictors.synthetic import make_table


@pytest.fixture(scope="module")
def table():
    return make_table(n_networks=30, noise=0.01)


def test_one_network_at_a_time_equals_the_tabulated_cost(table):
    predictor, cost, space = LatencyPredictor(table), cost_from_table(table), table.search_space
    tokens = space.sample(30, np.random.default_rng(0))
    one_by_one = [predictor.predict(space.ops(space.decode(row))) for row in tokens]
    assert [p.latency_ms for p in one_by_one] == pytest.approx(cost(tokens).tolist(), rel=1e-12)
    half = cost.relative_interval(0.95)
    for prediction in one_by_one:
        assert prediction.interval_ms is not None
        low, high = prediction.interval_ms
        assert low == pytest.approx(prediction.latency_ms * (1 - half))
        assert high == pytest.approx(prediction.latency_ms * (1 + half))
        assert prediction.sources == {"table": len(prediction.ops)}


def test_ops_that_were_not_measured_are_predicted_and_take_the_interval_away(table):
    space = MobileNetV3Space(resolution_px=192)
    ops = space.ops(space.decode(space.sample(1, np.random.default_rng(0))[0]))
    prediction = LatencyPredictor(table).predict(ops)
    assert prediction.interval_ms is None
    by_source = {part.source for part in prediction.ops}
    assert by_source == {Source.TABLE, Source.REGRESSION}  # Conv_2 and Logits have no pixels
    truth = make_table(space).ops
    for part in prediction.ops:
        assert part.latency_ms == pytest.approx(truth[part.op.key].latency_ms, rel=0.03)


def test_a_table_of_another_width_is_used_by_lookup_in_the_regression_only(table):
    space = MobileNetV3Space(width_mult=1.2)
    wide = make_table(space)
    predictor = LatencyPredictor(table, wide)
    op = space.block_op(9, 6, 5)
    (part,) = predictor.predict([op]).ops
    assert part.source is Source.REGRESSION
    assert part.latency_ms == pytest.approx(wide.ops[op.key].latency_ms, rel=0.01)


def test_ops_that_cannot_be_predicted_are_named(table):
    space = table.search_space
    ops = space.ops(space.decode(space.sample(1, np.random.default_rng(0))[0]))
    ops[2], ops[4] = replace(ops[2], kernel=9), replace(ops[4], kernel=11)
    with pytest.raises(InvalidInputError, match=r"kernel:9.*kernel 9 is outside.*and 1 more"):
        LatencyPredictor(table).predict(ops)


def test_no_interval_beyond_what_the_networks_support(table):
    space = table.search_space
    ops = space.ops(space.decode(space.sample(1, np.random.default_rng(0))[0]))
    predictor = LatencyPredictor(table)
    assert predictor.predict(ops, confidence=0.95).interval_ms is not None
    assert predictor.predict(ops, confidence=0.97).interval_ms is None  # 30 / 31 < 0.97
    bare = LatencyPredictor(table.model_copy(update={"networks": ()})).predict(ops)
    assert bare.interval_ms is None
    assert bare.latency_ms == pytest.approx(sum(table.ops[op.key].latency_ms for op in ops))


def test_a_small_classifier_is_predicted_where_it_hardly_matters(table):
    """All but the last layer of a network fine-tuned on ten classes was measured."""
    space = table.search_space
    ops = space.ops(space.decode(space.sample(1, np.random.default_rng(0))[0]))
    whole = LatencyPredictor(table).predict(ops)
    ops[-1] = replace(ops[-1], out_channels=10)
    prediction = LatencyPredictor(table).predict(ops)
    assert prediction.sources == {"table": len(ops) - 1, "regression": 1}
    assert prediction.interval_ms is None
    last = prediction.ops[-1].latency_ms
    assert 0 < last < 0.01 * prediction.latency_ms
    saved = whole.ops[-1].latency_ms - last
    assert prediction.latency_ms == pytest.approx(whole.latency_ms - saved, rel=0.1)


def test_a_network_of_small_ops_alone_is_refused(table):
    ops = [replace(table.search_space.ops(table.search_space.extremes()[0])[-1], out_channels=10)]
    with pytest.raises(InvalidInputError, match="multiply-adds 12800 is outside"):
        LatencyPredictor(table).predict(ops)
