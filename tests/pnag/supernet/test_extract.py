"""Standalone networks with a supernet's weights, from Python and the command line."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from pnag.supernet.checkpoint import load_supernet
from pnag.supernet.data import normalise, open_dataset
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.extract import extract_subnet
from predictors.accuracy.tables import load_accuracy_table
from profiler.errors import PnagError
from profiler.spaces.mobilenetv3 import open_space
from profiler.spaces.mobilenetv3_network import Network
from tests.pnag.supernet.supernet_data import (
    supernet_command,
    write_jpeg_npz,
    write_supernet_and_images,
)

pytestmark = pytest.mark.slow

SPACE = open_space("mbv3-cifar")
SMALLEST = SPACE.extremes()[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_supernet_and_images(tmp_path_factory.mktemp("supernet"), SPACE)


def test_extraction_with_a_recipe_is_of_the_images_of_its_table(folder, tmp_path):
    checkpoint, data = folder / "supernet.safetensors", folder / "colours.npz"
    out = tmp_path / "table.json"
    supernet_command(
        "evaluate", "--checkpoint", checkpoint, "--data", data, "--out", out, "--arch", SMALLEST,
        "--recalibration-images", 12, "--test-images", 11, "--batch-size", 6, "--seed", 3,
        "--device", "cpu",
    )  # fmt: skip
    command = ["extract", "--checkpoint", checkpoint, "--arch", SMALLEST, "--export", "torch"]
    command += ["--out", tmp_path, "--device", "cpu", "--data", data]
    recipe = tmp_path / "table.recipe.json"
    assert (
        supernet_command(*command, "--recipe", recipe)["top1"]
        == load_accuracy_table(out, SPACE).top1[0]
    )
    network = Network(SPACE.ops(SMALLEST))
    network.load_state_dict(load_file(tmp_path / "subnet.safetensors"))
    settings = EvaluationSettings(12, 11, 6, seed=3)
    evaluator = SubnetEvaluator(open_dataset(data, SPACE), SPACE, settings)
    expected = evaluator.subnet(load_supernet(checkpoint), str(SMALLEST)).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in network.state_dict().items())
    small = tmp_path / "small.safetensors"
    supernet_command("compress", "--checkpoint", checkpoint, "--out", small)
    of_small = [small if part == checkpoint else part for part in command]
    top1 = evaluator.top1(evaluator.subnet(load_supernet(small), str(SMALLEST)))
    assert supernet_command(*of_small, "--recipe", recipe)["top1"] == top1
    whole = tmp_path / "whole.recipe.json"
    whole.write_text(recipe.read_text())
    recipe.write_text(
        recipe.read_text().replace('"checkpoint_sha256": "', '"checkpoint_sha256": "0')
    )
    with pytest.raises(PnagError, match="is of another checkpoint"):
        supernet_command(*command, "--recipe", recipe)
    write_jpeg_npz(tmp_path / "other.npz", n_train=31, n_test=20)
    with pytest.raises(PnagError, match="is of other images"):
        supernet_command(*command[:-1], tmp_path / "other.npz", "--recipe", whole)
    recipe.write_text("[]")
    with pytest.raises(PnagError, match="is no recipe of an accuracy table"):
        supernet_command(*command, "--recipe", recipe)


def test_extracted_files_compute_what_the_recalibrated_subnet_does(folder, tmp_path):
    data = folder / "colours.npz"
    document = supernet_command(
        "extract", "--checkpoint", folder / "supernet.safetensors", "--arch", SMALLEST,
        "--export", "onnx,tflite,torch", "--int8", "--out", tmp_path, "--data", data,
        "--recalibration-images", 20, "--device", "cpu",
    )  # fmt: skip
    assert document["difference"] < 1e-5
    names = ["subnet.onnx", "subnet.tflite", "subnet.safetensors", "subnet.int8.tflite"]
    assert [tmp_path / name for name in names] == sorted(
        map(type(tmp_path), document["files"]), key=lambda path: names.index(path.name)
    )
    network = Network(SPACE.ops(SMALLEST))
    network.load_state_dict(load_file(tmp_path / "subnet.safetensors"))
    test = open_dataset(data, SPACE).test
    images = normalise(test.plain(np.arange(20)), SPACE)
    with torch.no_grad():
        logits = network.eval()(images).numpy()
    assert document["top1"] == (logits.argmax(1) == test.labels.numpy()).mean()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        tmp_path / "subnet.onnx", options, providers=["CPUExecutionProvider"]
    )
    for image, expected in zip(images[:3], logits, strict=False):
        (got,) = session.run(None, {"input": image[None].contiguous().numpy()})
        assert np.abs(got[0] - expected).max() < 1e-4 * np.abs(expected).max()


def test_extraction_is_checked_against_the_supernet(folder, tmp_path, monkeypatch):
    supernet = load_supernet(folder / "supernet.safetensors")
    right = supernet.extract(SMALLEST)
    with torch.no_grad():
        logits: Any = right.classifier
        logits.linear.weight.mul_(1.01)
    monkeypatch.setattr(supernet, "extract", lambda _: right)
    with pytest.raises(PnagError, match="differs from the supernet by"):
        extract_subnet(supernet, str(SMALLEST), None, ("torch",), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "mbv3"], "is a supernet of"),
        (["--int8"], "--int8 needs --data"),
        (["--recipe", "r.json"], "--recipe needs --data"),
        (["--held-out"], "--held-out needs --data"),
        (["--width-mult", 0], "width multiplier 0 is not"),
        (["--resolution", 0], "resolution"),
        (["--export", "coreml"], "unknown export format"),
    ],
)
def test_wrong_use_of_extract_is_refused(folder, tmp_path, arguments, message):
    checkpoint = folder / "supernet.safetensors"
    with pytest.raises(PnagError, match=message):
        supernet_command(
            "extract", "--checkpoint", checkpoint, "--arch", SMALLEST, "--out", tmp_path, *arguments
        )
