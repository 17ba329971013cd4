"""Work and shape of ops that are no blocks of MobileNetV3."""

import numpy as np
import pytest

from predictors.latency.features import SHAPE_FEATURES, WORK_TERMS, shape_matrix, work
from predictors.latency.launch_terms import compute_terms, launch_terms
from profiler.graph.op import Block
from tests.profiler.graph.test_op_shape import bottleneck, head

BOTTLENECK = Block("bottleneck", "bottleneck 64 256", bottleneck())
IN_PX, OUT_PX, BATCH = 28 * 28, 14 * 14, 3


def test_work_of_a_residual_block_by_hand():
    amounts = dict(zip(WORK_TERMS, work(BOTTLENECK, channel_block=1), strict=True))
    expected = {
        "dense_madds": OUT_PX * 9 * 32 * 32,
        "pointwise_madds": IN_PX * 64 * 32 + OUT_PX * 32 * 256 + OUT_PX * 64 * 256,
        "depthwise_madds": OUT_PX * 4 * 64,  # the pooling of the shortcut
        "depthwise_strided_outputs": OUT_PX * 64,
        "edge_elements": IN_PX * 64 + OUT_PX * 256,
        "inner_elements": IN_PX * 32 + OUT_PX * 32,
        "hard_swish_elements": 0,
        "excitation_madds": 0,
    }
    assert {term: amounts[term] for term in expected} == {t: BATCH * v for t, v in expected.items()}
    assert amounts["overhead"] == 1
    # the poolings' taps are no multiply-adds
    madds = ("dense_madds", "pointwise_madds")
    assert sum(amounts[term] for term in madds) == BOTTLENECK.graph.madds


def test_a_head_in_one_op_is_counted_layer_by_layer():
    amounts = dict(zip(WORK_TERMS, work(Block("head", "head", head()), 16), strict=True))
    assert amounts["pointwise_madds"] == 49 * 96 * 128 + 64 * 16  # 10 classes fill a vector of 16
    assert amounts["excitation_madds"] == 128 * 64


def test_every_shape_feature_of_a_block_is_finite():
    row = dict(zip(SHAPE_FEATURES, shape_matrix([BOTTLENECK], np.array([2.0]), 16)[0], strict=True))
    assert row["stride"] == 2
    assert row["se"] == row["ragged_channels"] == 0
    assert row["log_kernel"] == pytest.approx(1.0986, abs=1e-4)


def test_launches_of_a_residual_block():
    assert launch_terms(BOTTLENECK) == {"block": 1, "excitation": 0, "hard_swish": 0}
    terms = compute_terms(BOTTLENECK, per_site=False)
    assert terms["expanded"] == BATCH * IN_PX * 32
    assert terms["filtered"] == BATCH * OUT_PX * 32
    assert terms["project madds"] == BATCH * OUT_PX * (32 + 64) * 256
    assert terms["dense k3 madds"] == BATCH * OUT_PX * 9 * 32 * 32
