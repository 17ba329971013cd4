import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import InvalidInputError
from profiler.graph.op_shape import shape_of
from profiler.spaces.base import DEAD, SearchSpace
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from profiler.spaces.mobilenetv3_architecture import DEPTHS, EXPANDS, KERNELS, Architecture
from profiler.spaces.mobilenetv3_ops import OpKind

PNAG_80 = (
    "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0"
)


@st.composite
def architectures(draw):
    depths = tuple(draw(st.sampled_from(DEPTHS)) for _ in range(5))
    n = sum(depths)
    kernels = tuple(draw(st.lists(st.sampled_from(KERNELS), min_size=n, max_size=n)))
    expands = tuple(draw(st.lists(st.sampled_from(EXPANDS), min_size=n, max_size=n)))
    return Architecture(depths, kernels, expands)


@pytest.mark.parametrize(
    ("width_mult", "madds_m", "params_m"),
    [(1.0, (121.3, 566.2), (3.41, 7.66)), (1.2, (193.1, 843.1), (4.60, 10.70))],
)
def test_extremes_have_the_published_madds_and_parameters(width_mult, madds_m, params_m):
    space = MobileNetV3Space(width_mult=width_mult)
    for arch, madds, params in zip(space.extremes(), madds_m, params_m, strict=True):
        assert space.madds(arch) / 1e6 == pytest.approx(madds, abs=0.05)
        assert space.params(arch) / 1e6 == pytest.approx(params, abs=0.006)


def test_published_pnag_mobile_80():
    space = MobileNetV3Space(width_mult=1.2)
    arch = space.parse_architecture(PNAG_80)
    assert space.madds(arch) / 1e6 == pytest.approx(349, rel=0.005)  # Guo et al., Table 1
    assert space.params(arch) / 1e6 == pytest.approx(7.3, abs=0.05)
    assert str(arch) == PNAG_80


def test_two_networks_of_the_published_accuracy_table():
    # MAdds and parameters as listed by IntelLabs/DyNAS-T (ofa_mbv3 w1.0 at 224 px), Apache-2.0
    space = MobileNetV3Space()
    for kernels, expands, depths, madds, params in [
        ("5,7,5,5,3,3,3,7,5,5,3,7,7,3,3,3,5,5,5,5", "4,3,4,4,4,6,3,4,4,3,4,3,3,6,6,6,4,3,4,4",
         "2,3,2,4,3", 255502624, 5029656),
        ("5,5,5,5,3,7,7,7,7,5,7,3,3,3,5,5,5,7,5,5", "4,3,6,3,6,6,3,3,6,4,4,6,3,4,3,6,4,4,3,4",
         "3,3,3,4,3", 297261792, 4761632),
    ]:  # fmt: skip
        ofa = {
            name: [int(v) for v in text.split(",")]
            for name, text in (("ks", kernels), ("e", expands), ("d", depths))
        }
        arch = space.parse_architecture(json.dumps(ofa | {"r": 224}))
        assert (space.madds(arch), space.params(arch)) == (madds, params)


@pytest.mark.parametrize("name", ["mbv3", "mbv3-cifar"])
def test_there_are_96_distinct_ops_and_architectures_use_only_those(name):
    space = open_space(name)
    distinct = space.distinct_ops()
    assert len(distinct) == 96
    assert isinstance(space, SearchSpace)
    for row in space.sample(50, np.random.default_rng(1)):
        ops = space.ops(space.decode(row))
        assert {op.key for op in ops} <= distinct.keys()
        for one, following in itertools.pairwise(ops):
            assert one.graph.outputs[0].shape == following.graph.inputs[0].shape


def test_mbv3_at_224_px_has_the_published_stage_shapes():
    ops = MobileNetV3Space().ops(MobileNetV3Space().extremes()[0])
    blocks = [shape_of(op) for op in ops if op.kind == OpKind.MBCONV]
    assert [(block.in_px[0], block.in_channels, block.stride) for block in blocks] == [
        (112, 16, 1), (112, 16, 2), (56, 24, 1), (56, 24, 2), (28, 40, 1), (28, 40, 2),
        (14, 80, 1), (14, 80, 1), (14, 112, 1), (14, 112, 2), (7, 160, 1),
    ]  # fmt: skip


@given(architectures())
def test_written_forms_and_tokens_round_trip(arch):
    space = MobileNetV3Space()
    tokens = space.encode([arch])[0]
    assert space.decode(tokens) == arch
    assert space.parse_architecture(str(arch)) == arch
    assert space.parse_architecture(json.dumps(arch.to_ofa())) == arch
    assert space.format(space.parse(str(arch))) == str(arch)
    assert (tokens != DEAD).sum() == 5 + 2 * sum(arch.depths)


def test_samples_are_uniform_over_active_tokens():
    tokens = MobileNetV3Space().sample(30_000, np.random.default_rng(0))
    for position in range(tokens.shape[1]):
        column = tokens[:, position]
        shares = np.bincount(column[column != DEAD], minlength=3) / (column != DEAD).sum()
        assert shares == pytest.approx([1 / 3] * 3, abs=0.025)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:2",
        "2,2,2,2:3:3",
        "2,2,2,2,2:3,3:3,3",
        PNAG_80.replace("2,3,3,3,3:", "5,3,3,3,3:"),
        PNAG_80.replace(":3,3,0,0", ":3,4,0,0", 1),
        PNAG_80.replace(":3,3,0,0", ":3,3,3,0", 1),  # a kernel in an inactive block
        PNAG_80.replace(":3,3,0,0", ":3,0,0,0", 1),
        PNAG_80 + ":1",
        PNAG_80.replace("3", "x", 1),
        "{",
        "{}",
        "[1]",
        '{"d": 3, "ks": [], "e": []}',
        json.dumps({"d": [2] * 5, "ks": [3] * 20, "e": [3] * 20, "r": 192}),
        json.dumps({"d": [2.9] * 5, "ks": [3] * 20, "e": [3] * 20}),  # never rounded
        json.dumps({"d": [float("inf")] * 5, "ks": [3] * 20, "e": [3] * 20}),
        '{"d": ' + "[" * 100_000,
    ],
)
def test_malformed_architectures_are_refused(text):
    with pytest.raises(InvalidInputError):
        MobileNetV3Space().parse(text)


@pytest.mark.parametrize(
    "arguments",
    [("mbv2",), ("mbv3", 1.1), ("mbv3", 1.0, 95), ("mbv3", 1.0, 321), ("mbv3-cifar", 1.0, 224)],
)
def test_unknown_spaces_are_refused(arguments):
    with pytest.raises(InvalidInputError):
        open_space(*arguments)


def test_an_architecture_of_another_width_is_refused():
    wide = MobileNetV3Space(width_mult=1.2).extremes()[0]
    with pytest.raises(InvalidInputError, match=r"width 1\.2 .* width 1 "):
        MobileNetV3Space().ops(wide)


def test_no_architectures_can_be_sampled():
    space = MobileNetV3Space()
    assert space.sample(0, np.random.default_rng(0)).shape == (0, 45)
