"""The oracle is the published network written down in torch as its authors describe it: every
edge computed, `none` a product with 0 (Dong & Yang 2020, Sec. 2.1 and Fig. 1)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from profiler.errors import InvalidInputError
from profiler.graph.to_torch import GraphModule, randomise_
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.spaces.nasbench201_network import OPERATIONS, plan

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
