"""The oracle is the published network written down in torch as its authors describe it: every
edge computed, `none` a product with 0 (Dong & Yang 2020, Sec. 2.1 and Fig. 1)."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from predictors.cost import madds_cost, params_cost
from profiler.devices.base import network_workload
from profiler.errors import InvalidInputError
from profiler.graph.folding import fold
from profiler.graph.to_onnx import export_onnx
from profiler.graph.to_torch import GraphModule, randomise_
from profiler.graph.weights import random_weights
from profiler.models.onnx_runtime import OnnxSession
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.spaces.nasbench201_network import CELLS_PER_STAGE, OPERATIONS, plan
from profiler.spaces.nasbench201_ops import OF_ZEROS, STEPS, SUMMED, step_op, steps
from profiler.spaces.networks import distinct_ops, network_ops
from profiler.spaces.sampling import draw_networks

pytestmark = pytest.mark.slow

# parameters and "FLOPs" of the smallest and the largest networks in the benchmark's own records;
# its count has one more operation a class than multiply-adds: the classifier's bias
PUBLISHED = {
    "cifar10": ((73_306, 7_783_050), (1_531_546, 220_119_690)),
    "cifar100": ((79_156, 7_788_900), (1_537_396, 220_125_540)),
    "imagenet16-120": ((80_456, 1_953_400), (1_538_696, 55_037_560)),
}
ODD = (
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # nothing reaches the output
    "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|",  # a constant does
    "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|avg_pool_3x3~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|",  # unread nodes
)


class ReluConvolution(nn.Module):
    def __init__(self, inside, out, kernel, stride=1):
        super().__init__()
        convolution = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)
        self.op = nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(out))

    def forward(self, x):
        return self.op(x)


class Zero(nn.Module):
    def forward(self, x):
        return x * 0


def operation(name, channels):
    layers: dict[str, Callable[[], nn.Module]] = {
        "none": Zero,
        "skip_connect": nn.Identity,
        "nor_conv_1x1": lambda: ReluConvolution(channels, channels, 1),
        "nor_conv_3x3": lambda: ReluConvolution(channels, channels, 3),
        "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    }
    return layers[name]()


class CellModule(nn.Module):
    def __init__(self, text, channels):
        super().__init__()
        self.inputs = [[e.split("~") for e in n[1:-1].split("|")] for n in text.split("+")]
        names = [name for node in self.inputs for name, _ in node]
        self.layers = nn.ModuleList(operation(name, channels) for name in names)

    def forward(self, x):
        nodes, layers = [x], iter(self.layers)
        for node in self.inputs:
            nodes.append(sum(next(layers)(nodes[int(source)]) for _, source in node))
        return nodes[-1]

    def changes_with(self, index):
        """Whether the output does when the edge adds one more."""
        images = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            before = self(images)
            hook = self.layers[index].register_forward_hook(lambda layer, inputs, y: y + 1)
            after = self(images)
        hook.remove()
        return not torch.equal(before, after)


class Reduction(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_a = ReluConvolution(channels, 2 * channels, 3, 2)
        self.conv_b = ReluConvolution(2 * channels, 2 * channels, 3)
        pointwise = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.downsample = nn.Sequential(nn.AvgPool2d(2), pointwise)

    def forward(self, x):
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class Oracle(nn.Module):
    def __init__(self, text, n_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        stages = [[CellModule(text, 16 * 2**stage) for _ in range(5)] for stage in range(3)]
        first, second, third = stages
        self.cells = nn.ModuleList([*first, Reduction(16), *second, Reduction(32), *third])
        self.lastact = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU())
        self.classifier = nn.Linear(64, n_classes)

    def forward(self, x):
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.classifier(self.lastact(x).mean((2, 3)))

    def n_parameters(self):
        return sum(parameter.numel() for parameter in self.parameters())

    def n_read(self):
        """Parameters but for those of edges that may add anything without a change behind."""
        cells = [cell for cell in self.cells if isinstance(cell, CellModule)]
        unread = [index for index in range(6) if not cells[0].changes_with(index)]
        layers = [cell.layers[index] for cell in cells for index in unread]
        return self.n_parameters() - sum(p.numel() for m in layers for p in m.parameters())


def cells(n, seed=0):
    space = NasBench201Space()
    drawn = space.sample(n, np.random.default_rng(seed))
    return [*ODD, *(space.format(row) for row in drawn)]


@pytest.mark.parametrize("text", cells(6))
def test_the_network_is_the_published_one(text):
    space = NasBench201Space("imagenet16-120")
    graph = space.network(space.parse(text), batch_size=2)
    module = randomise_(GraphModule(graph), seed=0)
    oracle = Oracle(text, 120).eval()
    shared = oracle.load_state_dict(module.state_dict(), strict=False)
    assert not shared.unexpected_keys
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, made = oracle(images), module(images)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    assert graph.params == oracle.n_read()
    assert graph.without_unread() == graph


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_counts_are_those_of_the_benchmarks_records(dataset):
    space = NasBench201Space(dataset)
    for name, (params, flops) in zip(
        ("skip_connect", "nor_conv_3x3"), PUBLISHED[dataset], strict=True
    ):
        tokens = np.full(6, OPERATIONS.index(name), np.int8)
        graph = space.network(tokens)
        assert (graph.params, graph.madds + space.images.n_classes) == (params, flops)
        assert Oracle(space.format(tokens), space.images.n_classes).n_parameters() == params


def test_what_no_output_depends_on_is_not_computed():
    space = NasBench201Space()
    unread = plan(space.cell(space.parse(ODD[3])))
    assert (unread.edges, unread.zeros) == ((3,), ())
    constant = plan(space.cell(space.parse(ODD[1])))
    assert (constant.edges, constant.zeros) == ((2, 5), (1,))
    assert plan(space.cell(space.parse(ODD[0]))).zeros == (3,)


def test_every_cell_is_one_path_of_the_decision_tree():
    space = NasBench201Space()
    every = space.every()
    assert every.shape == (15_625, 6)
    assert space.decisions.is_tree
    assert (space.decisions.endings()[2] == every).all()
    assert len({space.format(row) for row in every}) == 15_625


def kernels_of(space, tokens, folder):
    return optimised(fold(space.network(tokens)), folder)


def optimised(graph, folder):
    """How many nodes of each type ONNX Runtime makes of a graph, a 3x3 pooling apart from a 2x2
    one, and a convolution that adds apart from one that does not."""
    path = folder / "optimised.onnx"
    weights = random_weights(graph, np.random.default_rng(0))
    OnnxSession(export_onnx(graph, weights), optimised=path).close()
    found: Counter[str] = Counter()
    for node in onnx.load(str(path)).graph.node:
        sizes = [tuple(a.ints) for a in node.attribute if a.name == "kernel_shape"]
        added = node.op_type == "Conv" and len(node.input) == 4
        found[f"{node.op_type}{sizes[0] if sizes else ''}{'+' * added}"] += 1
    return found


@pytest.mark.parametrize(
    "cell",
    [
        "|skip_connect~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|none~0|none~1|nor_conv_1x1~2|",
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
        "|avg_pool_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|avg_pool_3x3~1|skip_connect~2|",
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_1x1~0|none~1|none~2|",
        "|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
        "|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_1x1~0|none~1|skip_connect~2|",
    ],
)
def test_steps_are_what_a_runtime_runs(cell, tmp_path):
    """Equal values once, sums and ReLUs with convolutions where they can be."""
    space = NasBench201Space()
    tokens = space.parse(cell)
    kernels, taken = kernels_of(space, tokens, tmp_path), Counter(steps(space.cell(tokens)))
    n_cells = 3 * CELLS_PER_STAGE
    assert kernels["AveragePool(3, 3)"] == n_cells * taken["avg_pool_3x3"]
    assert kernels["Add"] == n_cells * taken["sum"]
    # each of the two reductions adds a pointwise convolution
    assert kernels["Conv(1, 1)+"] == n_cells * taken["nor_conv_1x1+sum"] + 2
    assert kernels["Conv(3, 3)+"] == n_cells * taken["nor_conv_3x3+sum"]
    # and each reads through a ReLU what its shortcut pools
    n_of_zeros = sum(taken[step] for step in STEPS if step.endswith(OF_ZEROS))
    assert kernels["Relu"] == n_cells * (taken["relu"] + n_of_zeros) + 2
    assert kernels["Mul"] == n_cells * n_of_zeros


def test_steps_of_zeros():
    space = NasBench201Space()
    of = {text: Counter(steps(space.cell(space.parse(text)))) for text in ODD}
    assert of[ODD[0]] == {"zeros": 1}
    assert of[ODD[1]] == {"nor_conv_3x3": 1}, "the 0 is a factor of the convolution before"
    assert of[ODD[3]] == {}, "the output is the input"
    beside = "|none~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|skip_connect~2|"
    assert steps(space.cell(space.parse(beside))) == ("avg_pool_3x3", "nor_conv_1x1~zeros")


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_counts_are_sums_over_the_ops(dataset):
    space = NasBench201Space(dataset)
    tokens = np.stack([space.parse(text) for text in cells(30)])
    graphs = [space.network(row) for row in tokens]
    assert madds_cost(space)(tokens).tolist() == [graph.madds for graph in graphs]
    assert params_cost(space)(tokens).tolist() == [graph.params for graph in graphs]


@pytest.mark.parametrize("step", STEPS)
def test_an_op_is_its_step_five_times(step, tmp_path):
    """Alone it is run as within a network."""
    graph = fold(step_op(step, 1, 32, 1).graph)
    kernels = optimised(graph, tmp_path)
    names = {"avg_pool_3x3": "AveragePool(3, 3)", "sum": "Add", "zeros": "Mul", "relu": "Relu"}
    size = step[len("nor_conv_3x") :][:1]
    added = "+" if step.endswith((SUMMED, OF_ZEROS)) else ""
    assert kernels[names.get(step, f"Conv({size}, {size}){added}")] == 5
    assert kernels["Add"] == 5 * (step == "sum")


def test_ops_are_one_for_each_step_and_stage_and_the_frame():
    space = NasBench201Space()
    ops = distinct_ops(space, batch_size=2)
    assert len(ops) == 3 * len(STEPS) + 4
    assert {op.graph.inputs[0].shape[0] for op in ops.values()} == {2}
    keys = [op.key for op in network_ops(space, space.parse(ODD[3]))]
    assert keys[:2] == [
        "stem-input:32x32x3-output:32x32x16",
        "reduction-input:32x32x16-output:16x16x32",
    ]


def test_what_is_measured_is_the_network_itself():
    space = NasBench201Space()
    one, other = (network_workload(space, space.parse(text)) for text in (ODD[2], ODD[3]))
    assert one.graph == space.network(space.parse(ODD[2]))
    assert one.is_network
    assert one.identity != other.identity


def test_networks_that_are_measured_are_spread_from_end_to_end():
    space = NasBench201Space()
    drawn = draw_networks(space, 20, seed=0)
    madds = madds_cost(space)(drawn)
    assert len(np.unique(drawn, axis=0)) == 20
    assert (madds.min(), madds.max()) == tuple(
        space.network(np.full(6, choice, np.int8)).madds for choice in (0, 3)
    )


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|+|none~0|none~1|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|",
    ],
)
def test_another_cell_is_refused_with_the_form(text):
    with pytest.raises(InvalidInputError, match=r"expected \|op~0\|"):
        NasBench201Space().parse(text)


def test_an_unknown_data_set_is_refused_with_those_known():
    with pytest.raises(InvalidInputError, match="cifar10, cifar100, imagenet16-120"):
        NasBench201Space("svhn")
