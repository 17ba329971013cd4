"""The work of kernels, against closed forms."""

import math
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.latency.kernel_work import AWAY_MS, LATE, called_again, lateness, work
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


def vectors(kernel):
    """Multiply-adds of 16 channels that the kernel takes the time of."""
    amounts = work(kernel).amounts
    return amounts["vectors"] + amounts["single"]


@given(
    channels=st.integers(1, 20), blocks=st.integers(1, 20), side=st.integers(1, 40),
    taps=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]),
)  # fmt: skip
def test_no_multiply_add_is_lost(channels, blocks, side, taps, stride):
    kernel = convolution(16 * channels, 16 * blocks, side, taps, stride=stride)
    assert vectors(kernel) >= side**2 * blocks * 16 * channels * taps**2


@pytest.mark.parametrize("side", [6, 12, 3, 9, 18])
def test_nothing_waits_where_sets_and_stretches_are_whole(side):
    assert vectors(convolution(32, 128, side, 1)) == side**2 * 8 * 32


def test_pixels_at_the_padding_are_single_and_wait():
    amounts = work(convolution(32, 64, 14)).amounts  # 14 = 1 + 2 * 6 + 1
    assert amounts["vectors"] == 14 * 9 * 32 * (2 * 6 * 4)
    assert amounts["single"] == 14 * 9 * 32 * (2 * 8)  # 4 of 8 multiply-adds at once


def test_a_pointwise_kernel_runs_over_all_pixels_as_one_row():
    amounts = work(convolution(32, 80, 7, 1)).amounts  # 49 = 8 * 6 + 1; 5 blocks = 4 + 1
    assert amounts["vectors"] == 32 * (8 * 24 + 8 * 8)  # 6 of the last block's 8 at once
    assert amounts["single"] == 32 * (8 + 8)
    strided = work(convolution(32, 64, 7, 1, stride=2)).amounts  # each row by itself: 6 + 1
    assert strided["vectors"] == 32 * 7 * 24
    assert strided["single"] == 32 * 7 * 8


def test_results_are_added_up_in_the_cache_that_holds_a_set_of_them():
    def levels(kernel):
        return {
            name: amount
            for name, amount in work(kernel).amounts.items()
            if name.startswith("added up")
        }

    small, large = convolution(160, 64, 7), convolution(160, 64, 112)
    assert levels(small) == {"added up in L1": 64 * 7**2 * 9}  # 10 blocks of 16 channels
    assert levels(large) == {"added up in L3": 64 * 112**2 * 9}
    assert levels(convolution(300, 64, 28, 1)) == {"added up in L2": 64 * 28**2 * 2}


def test_what_no_cache_near_holds_is_far():
    assert work(convolution(64, 64, 56)).amounts["far"] == 2 * 64 * 56**2 - 350_000
    assert work(convolution(64, 64, 28)).amounts["far"] == 0


def test_a_product_of_matrices_unrolls_windows_and_runs_in_tiles_of_twelve_rows():
    kernel = convolution(24, 30, 8, kind="Conv", groups=2)  # 15 rows, 108 deep, 64 pixels, twice
    amounts = work(kernel).amounts
    assert amounts["unrolled"] == 2 * 108 * 64
    assert amounts["panels"] == 2 * 108 * 64 * 2
    assert amounts["vectors"] == 2 * 108 * 2 * (2 * 12 + 8)


def test_litert_computes_tiles_of_seven_pixels_by_a_vector_of_channels():
    kernel = convolution(24, 30, 8, kind="CONV_2D")  # 64 pixels are 10 tiles, 30 channels 2
    amounts = work(kernel).amounts
    assert amounts["tiles"] == 20
    assert amounts["panels"] == 20 * 24 * 9
    assert amounts["vectors"] == 20 * 24 * 9 * 7 * 16
    assert amounts["unrolled"] == 24 * 9 * 64
    depthwise = convolution(40, 40, 8, kind="DEPTHWISE_CONV_2D", groups=40)
    assert work(depthwise).amounts["vectors"] == 64 * 9 * 48


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (convolution(64, 64, 7, 5, groups=64, kind="DEPTHWISE_CONV_2D"), "depthwise"),
        (convolution(8, 8, 7, 7, groups=8, kind="DEPTHWISE_CONV_2D"), "depthwise, not unrolled"),
        (convolution(64, 64, 7, 1, kind="CONV_2D"), "pointwise"),
        (convolution(64, 64, 7, 1, kind="CONV_2D", stride=2), "dense"),
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
    assert work(gemm).amounts == {"calls": 1.0, "madds": 2 * 10 * 64, "weights": 650, "far": 0}


def test_a_long_window_waits_for_its_own_sum():
    def pooled(side, taps):
        shapes = ((1, 10, side, side),), (), ((1, 10, side // taps, side // taps),)
        return work(Kernel("AveragePool", *shapes, (("kernel_shape", (taps, taps)),))).amounts

    assert pooled(28, 2) == pooled(28, 2) | {"window": 10 * 14**2 * 4, "long window": 0}
    assert pooled(13, 13) == pooled(13, 13) | {"window": 10 * 169, "long window": 10 * 153}


def test_calls_are_late_after_a_time_of_their_own():
    assert lateness(0) == 0
    assert lateness(AWAY_MS) == pytest.approx(1 - 1 / math.e)
    assert lateness(1e3) == pytest.approx(1)
    one = work(convolution(16, 16, 8))
    again = called_again(one, AWAY_MS)
    assert again.amounts == {**one.amounts, LATE: lateness(AWAY_MS)}
    assert (again.kind, again.shape) == (one.kind, one.shape)
