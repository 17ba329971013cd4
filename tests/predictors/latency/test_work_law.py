import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.latency.features import WORK_TERMS, work
from predictors.latency.work_law import fit_work_law
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind
from tests.predictors.synthetic import law_ms


def test_work_of_a_block_by_hand():
    block = OpConfig(
        OpKind.MBCONV, 24, 40, 56, 56, 72, 5, 2, True, OpActivation.HARD_SWISH, batch_size=2
    )
    amounts = dict(zip(WORK_TERMS, work(block, 16), strict=True))
    # in blocks of 16 channels: 24 -> 32, 72 -> 80, 40 -> 48; per image
    per_image = {
        "pointwise_madds": 56**2 * 32 * 80 + 28**2 * 80 * 48,
        "depthwise_madds": 28**2 * 25 * 80,
        "depthwise_strided_outputs": 28**2 * 80,
        "excitation_madds": 2 * 72 * 24,
        "edge_elements": 56**2 * 32 + 28**2 * 48,
        "inner_elements": 56**2 * 80 + 28**2 * 80,
        "gated_elements": 28**2 * 80,
        "hard_swish_elements": 56**2 * 80 + 28**2 * 80,
        "dense_madds": 0,
        "large_depthwise_madds": 0,  # 5x5 is still unrolled
    }
    assert {t: amounts[t] for t in per_image} == {t: 2 * v for t, v in per_image.items()}
    assert (amounts["overhead"], amounts["parameters"]) == (1, block.graph.params)


@given(
    slot=st.integers(0, 19), expand=st.sampled_from([3, 4, 6]), kernel=st.sampled_from([3, 5, 7])
)
def test_without_blocks_of_channels_madds_are_those_of_the_op(slot, expand, kernel):
    op = MobileNetV3Space(width_mult=1.2).block_op(slot, expand, kernel)
    amounts = dict(zip(WORK_TERMS, work(op, 1), strict=True))
    madds = ("pointwise_madds", "depthwise_madds", "excitation_madds")
    assert sum(amounts[term] for term in madds) == op.graph.madds


@pytest.mark.parametrize("channel_block", [1, 16])
def test_a_law_is_recovered_with_the_block_of_channels_of_its_device(channel_block):
    ops = list(MobileNetV3Space().distinct_ops().values())
    latency = np.array([law_ms(op, channel_block=channel_block) for op in ops])
    law = fit_work_law(ops, np.ones(len(ops)), latency)
    assert law.channel_block == channel_block
    assert law.predict_ms(ops, np.ones(len(ops))) == pytest.approx(latency, rel=1e-6)
    assert (law.costs >= 0).all()
    # another width and resolution follow from the same costs
    others = list(MobileNetV3Space(width_mult=1.2, resolution_px=160).distinct_ops().values())
    expected = [law_ms(op, channel_block=channel_block) for op in others]
    assert law.predict_ms(others, np.ones(len(others))) == pytest.approx(expected, rel=0.02)
