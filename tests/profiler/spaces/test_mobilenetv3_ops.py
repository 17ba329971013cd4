import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import InvalidInputError
from profiler.graph.to_torch import GraphModule
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from profiler.spaces.mobilenetv3_ops import (
    OpActivation,
    OpConfig,
    OpKind,
    make_divisible,
    op_graph,
    parse_key,
)


@given(st.integers(1, 5000))
def test_make_divisible_is_a_multiple_of_8_and_never_loses_more_than_10_percent(value):
    rounded = make_divisible(value)
    assert rounded % 8 == 0
    assert rounded >= max(8, 0.9 * value)
    assert rounded <= max(8, value + 12)


def test_madds_and_params_of_one_block_by_hand():
    # 56x56x24 -> 28x28x40, 72 mid channels, 5x5, stride 2, SE with 24 inner channels
    op = OpConfig(OpKind.MBCONV, 24, 40, 56, 56, 72, 5, 2, True, OpActivation.RELU)
    assert op.graph.madds == 56 * 56 * 24 * 72 + 28 * 28 * 25 * 72 + 2 * 72 * 24 + 28 * 28 * 72 * 40
    assert op.graph.params == (24 * 72 + 144) + (25 * 72 + 144) + (72 * 24 + 24 + 24 * 72 + 72) + (
        72 * 40 + 80
    )
    assert op.key == (
        "expanded_conv-input:56x56x24-output:28x28x40"
        "-expand:72-kernel:5-stride:2-idskip:0-se:1-hs:0"
    )


@pytest.mark.parametrize("width_mult", [1.0, 1.2])
@pytest.mark.parametrize("resolution_px", [224, 161, 128])
def test_every_key_parses_back_to_its_op(width_mult, resolution_px):
    for key, op in MobileNetV3Space("mbv3", width_mult, resolution_px).distinct_ops().items():
        parsed = parse_key(key)
        assert parsed.key == key
        assert parsed == op


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Pool-input:1x1x1-output:1x1x1",
        "Conv-input:224x224x3",
        "Conv-input:224x224x3-output:112x112x16-expand:3-kernel:3-stride:1-idskip:0-se:0-hs:0",
        # a shortcut that changes the number of channels
        "expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:1-se:1-hs:0",
    ],
)
def test_malformed_and_contradicting_keys_are_refused(key):
    with pytest.raises(InvalidInputError):
        parse_key(key)


def closed_form_madds(op):
    """As Once-for-All counts them, per image."""
    area_in, area_out = op.height_px * op.width_px, op.out_height_px * op.out_width_px
    if op.kind is OpKind.AVG_POOL:
        return 0
    if op.kind is not OpKind.MBCONV:
        return area_out * op.kernel**2 * op.in_channels * op.out_channels
    expansion = area_in * op.in_channels * op.mid_channels * op.has_expansion
    depthwise = area_out * op.kernel**2 * op.mid_channels
    excitation = 2 * op.mid_channels * op.se_channels
    return expansion + depthwise + excitation + area_out * op.mid_channels * op.out_channels


def closed_form_params(op):
    mid, out = op.mid_channels, op.out_channels
    match op.kind:
        case OpKind.AVG_POOL:
            return 0
        case OpKind.CONV | OpKind.CONV_1:
            return op.kernel**2 * op.in_channels * out + 2 * out
        case OpKind.CONV_2:
            return op.in_channels * out
        case OpKind.LOGITS:
            return op.in_channels * out + out
        case OpKind.MBCONV:
            expansion = (op.in_channels * mid + 2 * mid) * op.has_expansion
            excitation = 2 * mid * op.se_channels + (op.se_channels + mid) * op.se
            return expansion + (op.kernel**2 + 2) * mid + excitation + mid * out + 2 * out


@pytest.mark.parametrize("space", [MobileNetV3Space(width_mult=1.2), open_space("mbv3-cifar")])
def test_the_layers_of_an_op_count_what_the_closed_forms_do(space):
    for op in space.distinct_ops(batch_size=3).values():
        graph = op_graph(op)
        assert graph.madds == 3 * closed_form_madds(op)
        assert graph.params == closed_form_params(op)
        shape = graph.outputs[0].shape
        sizes = () if op.kind is OpKind.LOGITS else (op.out_height_px, op.out_width_px)
        assert shape == (3, op.out_channels, *sizes)
        assert graph.weight_shapes.keys() == GraphModule(graph).state_dict().keys() - {
            f"{node.name}.num_batches_tracked" for node in graph.nodes
        }
