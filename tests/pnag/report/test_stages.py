"""Where a report says that the ops of a network lie, for every family."""

import numpy as np
import pytest

from pnag.report.stages import stages_of
from profiler.spaces.networks import network_ops
from profiler.spaces.registry import open_space

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("resolutions_px", [None, [128, 160]])
@pytest.mark.parametrize(("name", "n_last"), [("mbv3", 4), ("proxyless", 3)])
def test_blocks_lie_in_stages_whatever_the_resolution(name, n_last, resolutions_px):
    settings = {"resolutions_px": resolutions_px} if resolutions_px else {}
    space = open_space(name, **settings)
    for tokens in space.sample(5, RNG):
        depths = [
            position.choices[token]
            for position, token in zip(space.positions, tokens, strict=True)
            if "depth" in position.name
        ]
        found = stages_of(space, tokens)
        assert found["depths"][:5] == depths
        assert found["room"][:5] == [4] * 5
        assert set(found["expands"]) <= {3, 4, 6}
        n_ops = len(network_ops(space, tokens))
        assert len(found["expands"]) == sum(found["depths"])
        assert n_ops - found["n_stem_ops"] - sum(found["depths"]) == n_last


def test_a_residual_network_s_first_blocks_are_in_the_stage_that_they_begin():
    space = open_space("resnet50")
    positions = [position.name for position in space.positions]
    for tokens in space.sample(5, RNG):
        ops = network_ops(space, tokens)
        found = stages_of(space, tokens)
        kinds = [str(op.kind) for op in ops]
        assert kinds[: found["n_stem_ops"]] == [k for k in kinds if k not in ("bottleneck", "head")]
        assert kinds[found["n_stem_ops"] + sum(found["depths"]) :] == ["head"]
        assert found["room"] == [4, 4, 6, 4]
        further = [int(tokens[positions.index(f"s{stage}.depth")]) for stage in range(1, 5)]
        assert found["depths"] == [2 + further[0], 2 + further[1], 4 + further[2], 2 + further[3]]
        assert set(found["expands"]) == {0}


def test_a_network_whose_cells_are_all_decided_together_has_no_stages():
    space = open_space("nasbench201")
    tokens = space.sample(1, RNG)[0]
    found = stages_of(space, tokens)
    assert found["n_stem_ops"] == len(network_ops(space, tokens))
    assert (found["room"], found["depths"], found["expands"]) == ([], [], [])
