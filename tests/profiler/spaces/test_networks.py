"""Spaces that say nothing but what their networks are."""

from pathlib import Path

import numpy as np
import pytest

from predictors.cost import additive_cost, madds_cost
from predictors.latency.features import work_matrix
from predictors.latency.work_law import fit_work_law
from profiler.devices.base import network_workload
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import Campaign, ProfileRequest, default_out
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import QUICK
from profiler.spaces.kernels import KernelSpace
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.spaces.networks import (
    NetworkSpace,
    SingleKernels,
    distinct_ops,
    key_reader,
    network_ops,
    ops_of_file,
)
from profiler.spaces.registry import open_space
from profiler.spaces.sampling import draw_networks
from profiler.terminal import SILENT
from profiler.testing import SpaceConformance
from tests.profiler.spaces.residual import ResidualSpace

SPACE = ResidualSpace()


class TestResidualSpace(SpaceConformance):
    def space(self):
        return SPACE


def test_which_capabilities_spaces_have():
    assert isinstance(SPACE, NetworkSpace)
    assert isinstance(MobileNetV3Space(), NetworkSpace)
    assert isinstance(KernelSpace(), SingleKernels)
    assert not isinstance(KernelSpace(), NetworkSpace)
    assert not isinstance(SPACE, SingleKernels)


def test_keys_mean_the_ops_that_the_space_has():
    ops = distinct_ops(SPACE, batch_size=2)
    assert len(ops) == 8
    read = key_reader(SPACE, batch_size=2)
    assert [read(key) for key in ops] == list(ops.values())
    with pytest.raises(InvalidInputError, match="residual has no op 'residual-9-k1'"):
        read("residual-9-k1")
    with pytest.raises(InvalidInputError, match="not split into ops of residual"):
        ops_of_file(SPACE, Path("net.onnx"))


def test_networks_are_spread_over_the_range_and_a_small_space_ends():
    madds = madds_cost(SPACE)
    drawn = draw_networks(SPACE, 8, seed=0)
    assert len(np.unique(drawn, axis=0)) == 8
    everything = draw_networks(SPACE, 60, seed=0)
    assert len(everything) == 6 + 36  # all of them
    assert madds(drawn).min() == madds(everything).min()
    assert madds(drawn).max() == madds(everything).max()
    assert (draw_networks(SPACE, 8, seed=0) == drawn).all()


def test_a_space_is_measured_and_priced_by_what_its_blocks_are(tmp_path):
    request = ProfileRequest("fake", SPACE, tmp_path / "t.json", QUICK, n_networks=4)
    device = FakeDevice(0, scenario=Scenario(noise=0.001))
    with Journal(None) as journal:
        table = Campaign(request, device, journal, SILENT).run()
    assert (table.space.name, table.space.resolution_px) == ("residual", 12)
    assert table.ops.keys() == distinct_ops(SPACE).keys()
    cost = additive_cost(SPACE, lambda op: 0.9 * table.ops[op.key].latency_ms)
    for network in table.networks:
        tokens = SPACE.parse(network.arch)
        assert cost(tokens[None])[0] == pytest.approx(network.latency_ms, rel=0.01)
        truth_ms = device.latency_ms(network_workload(SPACE, tokens))
        assert network.latency_ms == pytest.approx(truth_ms, rel=0.01)


def test_the_law_of_work_is_found_in_other_families_too():
    ops = list(distinct_ops(SPACE).values())
    threads = np.ones(len(ops))
    costs = np.linspace(1e-8, 1e-6, 24)
    truth = work_matrix(ops, threads, 1) @ costs
    law = fit_work_law(ops, threads, truth)
    assert law.predict_ms(ops, threads) == pytest.approx(truth, rel=0.02)
    assert set(law.offsets) == {"stem", "residual", "head"}


def test_madds_of_a_network_are_those_of_its_ops():
    tokens = SPACE.parse("2,1,0,-1,-1")
    by_hand = 144 * 27 * 16 + 144 * (16 * 32 + 9 * 32 * 32 + 32 * 16) + 160
    assert sum(op.graph.madds for op in network_ops(SPACE, tokens)) == by_hand
    assert madds_cost(SPACE)(tokens[None])[0] == by_hand


def test_a_table_is_named_by_its_space():
    assert default_out("cpu", SPACE, quick=False).as_posix() == "tables/cpu_residual_w1.0_12.json"
    cells = default_out("cpu", NasBench201Space("cifar100"), quick=True)
    assert cells.as_posix() == "tables/cpu_nasbench201_cifar100_quick.json"


def test_spaces_are_opened_by_name():
    assert open_space("mbv3", 1.2, 160) == MobileNetV3Space("mbv3", 1.2, 160)
    assert open_space("mbv3-cifar").facts["resolution_px"] == 32
    assert open_space("nasbench201", dataset="cifar100") == NasBench201Space("cifar100")
    with pytest.raises(InvalidInputError, match="unknown space 'kernels'; known: mbv3, mbv3-cifar"):
        open_space("kernels")


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("nasbench201", {"width_mult": 1.0}, "nasbench201 has no width to choose"),
        ("nasbench201", {"resolution_px": 32}, "nasbench201 has no resolution to choose"),
        ("mbv3", {"dataset": "cifar10"}, "mbv3 has no dataset to choose"),
    ],
)
def test_what_a_space_does_not_have_is_no_choice(name, facts, message):
    with pytest.raises(InvalidInputError, match=message):
        open_space(name, **facts)
