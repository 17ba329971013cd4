"""Doubt is where measured kernels of one kind disagree, and where networks spend their time."""

import numpy as np
import pytest

from predictors.latency.doubt import doubts
from profiler.models.kernel import Kernel
from tests.predictors.synthetic_kernels import convolution, relu, synthetic


@pytest.fixture(scope="module")
def table():
    """Kernels alone on images of 56 pixels take now half and now twice what their law says."""
    steady = synthetic(n_alone=120)
    rng = np.random.default_rng(0)
    unsteady = {
        name: entry.model_copy(update={"latency_ms": entry.latency_ms * rng.choice([0.5, 2.0])})
        if "56x56" in steady.kernels[name][0][0]
        else entry
        for name, entry in steady.ops.items()
    }
    return steady.model_copy(update={"ops": unsteady})


def doubt_of(table, *kernels):
    return doubts(table, [[kernel.key] for kernel in kernels])


def test_what_scatters_is_doubted(table):
    unsteady, steady = doubt_of(table, convolution(160, 160, 56), convolution(160, 160, 7))
    assert unsteady > 2 * steady > 0


def test_kinds_that_take_no_time_in_networks_are_not_doubted(table):
    gather = Kernel("Gather", ((1, 256, 56, 56),), ((256,),), ((1, 256, 56, 56),))
    assert doubt_of(table, gather) == [0.0]


def test_a_model_is_doubted_for_all_of_its_kernels(table):
    parts = convolution(160, 160, 56), relu(64, 56)
    (both,) = doubts(table, [[kernel.key for kernel in parts]])
    assert both == pytest.approx(sum(doubt_of(table, *parts)))
