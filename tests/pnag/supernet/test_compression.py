"""Weights in 8 bits: within half a step of what they were, read by every command."""

import json

import pytest
import torch
from typer.testing import CliRunner

from pnag.cli.app import build_app
from pnag.supernet.checkpoint import (
    WEIGHTS,
    SupernetFile,
    checkpoint_digests,
    compress_supernet,
    file_digest,
    load_supernet,
    read_supernet_file,
)
from pnag.supernet.compression import SCALE, compressed, expanded
from pnag.supernet.elastic import ElasticMobileNetV3
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import open_space

SPACE = open_space("mbv3-cifar")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ElasticMobileNetV3(SPACE).eval()
    with torch.no_grad():
        model.get_parameter("classifier.linear.weight")[3] = 0.0
        model.get_parameter("blocks.1.conv.depth_conv.conv.7to5_matrix").normal_()
    return model


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    weights = {WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    SupernetFile(weights | {"momentum/x": torch.zeros(9)}, SPACE.facts).save(path)
    return path


def compress(*arguments: object):
    command = ["supernet", "compress", "--json", *map(str, arguments)]
    return CliRunner().invoke(build_app(), command, catch_exceptions=False)


def test_every_weight_is_within_half_a_step_and_the_rest_is_exact(model):
    state = model.state_dict()
    made = compressed(state)
    read = expanded(made, source="test")
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        if name + SCALE not in made:
            assert torch.equal(read[name], tensor), name
            continue
        channels = tensor.flatten(1)
        step = channels.abs().amax(1, keepdim=True) / 127
        error = (read[name].flatten(1) - channels).abs()
        assert (error <= 0.5001 * step).all(), name
        assert made[name].dtype == torch.int8
    shared = {name for name in state if name + SCALE in made}
    assert {state[name].ndim for name in state.keys() - shared} == {0, 1, 2}
    assert all("matrix" in n for n in state.keys() - shared if state[n].ndim == 2)


def test_compressing_what_was_expanded_changes_nothing(model):
    once = compressed(model.state_dict())
    again = compressed(expanded(once, source="test"))
    for name, tensor in once.items():
        if name.endswith(SCALE):
            torch.testing.assert_close(again[name], tensor)
        else:
            assert torch.equal(again[name], tensor), name


def test_the_command_writes_a_quarter_and_the_network_computes_nearly_the_same(
    model, file, tmp_path
):
    out = tmp_path / "small.safetensors"
    result = compress("--checkpoint", file, "--out", out)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["bytes"] == out.stat().st_size < 0.28 * file.stat().st_size
    assert checkpoint_digests(out) == [document["sha256"], file_digest(file)]
    assert read_supernet_file(out).space == SPACE
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for arch in SPACE.extremes():
            expected, actual = model(images, arch), load_supernet(out)(images, arch)
            assert (actual - expected).norm() < 0.05 * expected.norm()


def test_equal_weights_are_equal_files(file, tmp_path):
    written = set()
    for index in range(6):
        path = tmp_path / f"{index}.safetensors"
        compress_supernet(file).save(path)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_wrong_use_is_refused_and_writes_nothing(file, tmp_path):
    small = tmp_path / "small.safetensors"
    assert compress("--checkpoint", file, "--out", small).exit_code == 0
    before = file.read_bytes()
    refusals = {
        "is compressed already": ("--checkpoint", small, "--out", tmp_path / "a.safetensors"),
        "ends in .safetensors": ("--checkpoint", file, "--out", tmp_path / "a.pth"),
        "would replace": ("--checkpoint", file, "--out", file),
        "cannot read": ("--checkpoint", tmp_path / "none", "--out", tmp_path / "b/a.safetensors"),
    }
    for message, arguments in refusals.items():
        with pytest.raises(InvalidInputError, match=message):
            compress(*arguments)
    with pytest.raises(InvalidInputError, match="cannot read"):
        compress("--checkpoint", tmp_path / "none", "--out", small)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_int8_without_its_scale_is_refused():
    state = compressed({"linear.weight": torch.ones(3, 2)})
    with pytest.raises(InvalidInputError, match=r"linear.weight is int8 without a scale"):
        expanded({"linear.weight": state["linear.weight"]}, source="x")
    with pytest.raises(InvalidInputError, match="int8 without a scale"):
        expanded(state | {"linear.weight.scale": torch.ones(2)}, source="x")
