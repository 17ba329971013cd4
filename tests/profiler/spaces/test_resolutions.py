"""Spaces whose networks choose the size of their images."""

import json

import numpy as np
import pytest
import torch

from predictors.accuracy.once_for_all import load_ofa_accuracy
from predictors.cost import additive_cost, madds_cost
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import default_out
from profiler.spaces.export import random_network
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import distinct_ops, network_ops
from profiler.spaces.registry import open_space
from profiler.spaces.resolutions import ResolutionSpace
from profiler.tables.table import SpaceRef
from profiler.testing import SpaceConformance

SIZES = (96, 160, 224)
OF_SIZE = tuple(MobileNetV3Space(resolution_px=px) for px in SIZES)
SPACE = ResolutionSpace(OF_SIZE)


class TestResolutions(SpaceConformance):
    def space(self):
        return SPACE


def test_the_size_is_the_first_decision():
    assert open_space("mbv3", resolutions_px=[224, 96, 160, 96]) == SPACE
    assert SPACE.positions[0].choices == SIZES
    assert len(SPACE.positions) == 1 + len(OF_SIZE[0].positions)
    assert str(SPACE) == "mbv3 width 1 at 96, 160, 224 px"
    assert (
        default_out("cpu", SPACE, quick=False).as_posix() == "tables/cpu_mbv3_w1.0_96-160-224.json"
    )
    ref = SpaceRef.model_validate_json(SpaceRef.of(SPACE).model_dump_json())
    assert ref.open() == SPACE


def test_networks_are_those_of_their_size():
    assert distinct_ops(SPACE).keys() == set().union(*map(distinct_ops, OF_SIZE))
    tokens = SPACE.sample(20, np.random.default_rng(0))
    costs = additive_cost(SPACE, lambda op: op.graph.madds)(tokens)
    for row, cost in zip(tokens, costs, strict=True):
        own, rest = OF_SIZE[row[0]], row[1:]
        assert network_ops(SPACE, row) == network_ops(own, rest)
        assert cost == madds_cost(own)(rest[None])[0]
    network = random_network(SPACE, tokens[0], seed=0)
    expected = random_network(OF_SIZE[tokens[0, 0]], tokens[0, 1:], seed=0)
    assert network.state_dict().keys() == expected.state_dict().keys()


def test_architectures_say_their_size():
    tokens = SPACE.sample(1, np.random.default_rng(1))[0]
    own = OF_SIZE[tokens[0]]
    assert SPACE.format(tokens) == f"{SIZES[tokens[0]]}:{own.format(tokens[1:])}"
    choice = own.decode(tokens[1:]).to_ofa()
    assert SPACE.other_forms(tokens) == {"ofa": choice}
    assert choice["r"] == SIZES[tokens[0]]
    for written in (choice, choice | {"r": [choice["r"]]}):
        assert (SPACE.parse(json.dumps(written)) == tokens).all()
    for text in (own.format(tokens[1:]), json.dumps(choice | {"r": 128}), "{}", "{", "96:2,2"):
        with pytest.raises(InvalidInputError):
            SPACE.parse(text)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"resolutions_px": [160]}, "several resolutions are needed for a choice"),
        ({"resolutions_px": [160, 64]}, "resolution 64 px is outside 96-320 px"),
        ({"resolutions_px": [160, 192], "resolution_px": 160}, "give one resolution, or several"),
        ({"resolutions_px": range(96, 224)}, "128 resolutions are more than the 127 that"),
    ],
)
def test_what_is_no_choice_of_sizes_is_refused(facts, message):
    with pytest.raises(InvalidInputError, match=message):
        open_space("mbv3", **facts)


def test_once_for_alls_predictor_is_asked_for_the_size_that_was_chosen(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for layer, (taken, made) in enumerate([(128, 9), (9, 9), (9, 9), (9, 1)]):
        weight = torch.randn(made, taken, generator=generator) / taken
        state |= {f"{2 * layer}.weight": weight, f"{2 * layer}.bias": torch.full((made,), 0.3)}
    torch.save(state, tmp_path / "predictor.pth")
    space = ResolutionSpace(OF_SIZE[1:])
    tokens = space.sample(30, np.random.default_rng(2))
    predicted = load_ofa_accuracy(tmp_path / "predictor.pth", space).top1(tokens)
    for size in (0, 1):
        rows = tokens[:, 0] == size
        own = load_ofa_accuracy(tmp_path / "predictor.pth", space.of[size])
        np.testing.assert_allclose(predicted[rows], own.top1(tokens[rows, 1:]), rtol=1e-6)
