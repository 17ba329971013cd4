"""Depthwise gradients against those of the plain convolution, in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pnag.supernet.depthwise import Strips, depthwise_conv2d


def tensors_of(n: int, channels: int, height: int, width: int, kernel: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, channels, height, width, generator=generator)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator)
    return x.to(memory_format=torch.channels_last), weight


def results(convolution, x: torch.Tensor, weight: torch.Tensor):
    """Outputs, gradient of x, gradient of the weight for a gradient that depends on position."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolution(x, weight)
    ramp = torch.linspace(-1, 1, y.numel()).reshape(y.shape).sin() + 0.5
    y.backward(ramp.to(y.dtype))
    return y.detach(), x.grad, weight.grad


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def plain(kernel: int, stride: int = 1):
    return lambda x, w: F.conv2d(x, w, None, stride, kernel // 2, groups=len(w))


SIZES = st.integers(1, 19), st.sampled_from([1, 16, 24]), st.integers(1, 17), st.integers(1, 17)


@settings(max_examples=40, deadline=None)
@given(*SIZES, st.sampled_from([5, 7]))
def test_gradients_in_strips_are_those_of_the_plain_convolution(n, channels, height, width, kernel):
    """The strips themselves, in float32, where rounding hides nothing."""
    x, weight = tensors_of(n, channels, height, width, kernel)
    actual = results(Strips.apply, x, weight)
    expected = results(plain(kernel), x.double(), weight.double())
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert relative_error(a, e) < 1e-5


@settings(max_examples=40, deadline=None)
@given(*SIZES, st.sampled_from([3, 5, 7]), st.sampled_from([1, 2]))
def test_bfloat16_under_autocast_rounds_only(n, channels, height, width, kernel, stride):
    x, weight = tensors_of(n, channels, height, width, kernel)
    x = x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        actual = results(lambda x, w: depthwise_conv2d(x, w, stride), x, weight)
    rounded = weight.bfloat16().double()
    expected = results(plain(kernel, stride), x.double(), rounded)
    assert [a.dtype for a in actual] == [torch.bfloat16, torch.bfloat16, torch.float32]
    for a, e in zip(actual, expected, strict=True):
        assert relative_error(a, e) < 2e-2
