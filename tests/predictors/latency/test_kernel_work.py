"""The work of kernels, against closed forms."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.latency.kernel_work import work
from profiler.models.kernel import Kernel


def convolution(channels, out, side, taps=3, *, groups=1, kind="nchwc.Conv", stride=1, **settings):
    pad = taps // 2
    attributes = {"group": groups, "strides": (stride, stride), **settings}
    if pad:
        attributes["pads"] = (pad,) * 4
    return Kernel(
        kind, ((1, channels, side * stride, side * stride),),
        ((out, channels // groups, taps, taps), (out,)), ((1, out, side, side),),
        tuple(sorted(attributes.items())),
    )  # fmt: skip


def madds(amounts):
    return sum(amount for name, amount in amounts.items() if name.startswith(("whole", "single")))


@given(
    channels=st.integers(1, 20), blocks=st.integers(1, 20), side=st.integers(1, 40),
    taps=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]),
)  # fmt: skip
def test_multiply_adds_are_split_and_none_is_lost(channels, blocks, side, taps, stride):
    kernel = convolution(16 * channels, 16 * blocks, side, taps, stride=stride)
    expected = side**2 * 16 * blocks * 16 * channels * taps**2
    assert madds(work(kernel).amounts) == expected


def test_a_row_of_seven_pixels_with_padding_has_no_whole_stretch():
    amounts = work(convolution(32, 64, 7)).amounts
    assert amounts["whole_set"] == 0
    assert amounts["single_set"] == 49 * 64 * 32 * 9


def test_a_pointwise_kernel_runs_over_all_pixels_as_one_row():
    amounts = work(convolution(32, 80, 7, 1)).amounts  # 49 = 8 * 6 + 1; 5 blocks = 4 + 1
    assert amounts["whole_set"] == 48 * 64 * 32
    assert amounts["single_set"] == 1 * 64 * 32
    assert amounts["whole_rest"] == 48 * 16 * 32
    assert amounts["single_rest"] == 1 * 16 * 32


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (convolution(64, 64, 7), "blocked dense"),
        (convolution(64, 64, 7, 1), "blocked pointwise"),
        (convolution(3, 32, 112), "blocked first"),
        (convolution(64, 64, 7, groups=64), "blocked depthwise"),
        (convolution(64, 64, 7, 1, groups=64), "blocked scale"),
        (convolution(64, 64, 7, groups=4), "blocked grouped"),
        (convolution(58, 58, 7, groups=58, kind="Conv"), "depthwise"),
        (convolution(58, 58, 7, 1, kind="FusedConv"), "pointwise"),
        (Kernel("FusedGemm", ((1, 8),), ((10, 8),), ((1, 10),)), "Gemm"),
        (Kernel("Mul", ((1, 8, 7, 7), (1, 8, 1, 1)), (), ((1, 8, 7, 7),)), "Arithmetic, broadcast"),
        (Kernel("Add", ((1, 8, 7, 7),) * 2, (), ((1, 8, 7, 7),)), "Arithmetic"),
        (Kernel("Add", ((1, 8, 7, 7),), ((),), ((1, 8, 7, 7),)), "Arithmetic with a number"),
        (Kernel("Unsqueeze", ((1, 8),), ((1,),), ((1, 8, 1),)), "Reshape"),
        (Kernel("nchwc.MaxPool", ((1, 16, 8, 8),), (), ((1, 16, 4, 4),)), "blocked MaxPool"),
    ],
)
def test_kinds(kernel, kind):
    assert work(kernel).kind == kind


def test_a_fused_sum_and_activation_cost_an_output_each():
    plain = convolution(32, 32, 8, 1)
    fused = Kernel(
        plain.kind, (*plain.inputs, plain.outputs[0]), plain.weights, plain.outputs,
        tuple(sorted({**dict(plain.attributes), "activation": "HardSwish"}.items())),
    )  # fmt: skip
    outputs = prod(plain.outputs[0])
    assert "added" not in work(plain).amounts
    assert work(fused).amounts["added"] == work(fused).amounts["expensive"] == outputs


def test_an_activation_is_free_in_a_register_a_pass_or_costly():
    outputs = 64 * 49
    for name, expected in (("Relu", {}), ("Clip", {"activated": outputs}),
                           ("Sigmoid", {"expensive": outputs})):  # fmt: skip
        amounts = work(convolution(64, 64, 7, 1, activation=name)).amounts
        assert {k: v for k, v in amounts.items() if k in ("activated", "expensive")} == expected


def test_a_product_of_matrices_counts_its_inner_axis():
    gemm = Kernel("Gemm", ((2, 64),), ((10, 64), (10,)), ((2, 10),))
    assert work(gemm).amounts == {"calls": 1.0, "madds": 2 * 10 * 64, "weights": 650}
