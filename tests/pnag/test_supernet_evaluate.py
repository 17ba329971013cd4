"""Recalibration, accuracy tables that resume, and extraction, from Python and the command line."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from pnag.cli_supernet import register
from pnag.supernet import shared_prefix
from pnag.supernet.checkpoint import WEIGHTS, SupernetFile, load_supernet, space_facts
from pnag.supernet.data import normalise, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import (
    EvaluationSettings,
    Evaluator,
    architectures_to_evaluate,
)
from pnag.supernet.extract import extract_subnet
from pnag.supernet.precision import PRECISIONS
from pnag.supernet.shared_prefix import (
    N_SHARED,
    SharedPrefixEvaluator,
    in_shared_order,
    subnet_top1,
)
from predictors.scores import load_accuracy_table
from profiler.errors import InvalidInputError, PnagError
from profiler.network import Network, randomise_
from profiler.space import open_space
from tests.pnag.supernet_data import coloured_dataset, write_jpeg_npz

SPACE = open_space("mbv3-cifar")
SMALLEST = SPACE.extremes()[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of ours with random weights, and data."""
    path = tmp_path_factory.mktemp("supernet")
    model = randomise_(ElasticMobileNetV3(SPACE), seed=1)
    weights = {WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    SupernetFile(weights, space_facts(SPACE)).save(path / "supernet.safetensors")
    write_jpeg_npz(path / "colours.npz", n_train=30, n_test=20)
    return path


def pnag(*arguments: object) -> dict:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(
        app, ["supernet", *map(str, arguments), "--json", "--quiet"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@torch.no_grad()
def test_recalibration_gives_every_layer_the_statistics_of_its_input():
    data = coloured_dataset(40)
    evaluator = Evaluator(data, SPACE, EvaluationSettings(40, batch_size=40))
    network = randomise_(Network(SPACE.ops(SMALLEST)), seed=3)
    evaluator.recalibrate(network)
    layer = network.first_conv
    images = normalise(data.train.images, SPACE)
    features = layer.conv(images)
    torch.testing.assert_close(layer.bn.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(layer.bn.running_var, features.var((0, 2, 3)))
    deep = network.blocks[5].conv.point_linear
    seen = []
    handle = deep.bn.register_forward_hook(lambda _, __, output: seen.append(output))
    network(images)
    handle.remove()
    standardised = (seen[0] - deep.bn.bias[:, None, None]) / deep.bn.weight[:, None, None]
    assert standardised.mean((0, 2, 3)).abs().max() < 1e-3
    assert (standardised.std((0, 2, 3)) - 1).abs().max() < 1e-3
    assert not network.training


def test_top1_counts_the_right_answers():
    data = coloured_dataset(40, n_test=30)
    evaluator = Evaluator(data, SPACE, EvaluationSettings(10, batch_size=7))

    class AlwaysThree(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10)

    assert evaluator.top1(AlwaysThree()) == pytest.approx(3 / 30)


def test_architectures_to_evaluate_start_at_the_extremes_and_do_not_repeat():
    chosen = architectures_to_evaluate(SPACE, 50, seed=0)
    assert tuple(chosen[:2]) == SPACE.extremes()
    assert len(set(chosen)) == len(chosen) == 50
    assert architectures_to_evaluate(SPACE, 50, seed=0) == chosen
    assert architectures_to_evaluate(SPACE, 50, seed=1)[2:] != chosen[2:]


@pytest.fixture(scope="module")
def supernet():
    return randomise_(ElasticMobileNetV3(SPACE), seed=1)


def test_sharing_first_blocks_changes_no_accuracy_and_saves_their_work(supernet, monkeypatch):
    evaluator = Evaluator(coloured_dataset(20, 60), SPACE, EvaluationSettings(12, batch_size=7))
    archs = in_shared_order(SPACE, architectures_to_evaluate(SPACE, 5, seed=0))
    twin = replace(archs[0], depths=(2, 2, 2, 2, 2))  # the same two first blocks
    twin = replace(twin, kernel_sizes=archs[0].kernel_sizes[:2] + (5,) * 8)
    twin = replace(twin, expand_ratios=archs[0].expand_ratios[:2] + (4,) * 8)
    passes = []
    through = SharedPrefixEvaluator._through

    def counted(self, module, *features):
        passes.append(module)
        return through(self, module, *features)

    monkeypatch.setattr(SharedPrefixEvaluator, "_through", counted)
    shared, n_passes, top1 = SharedPrefixEvaluator(evaluator, supernet), [], []
    for arch in (archs[0], twin, *archs[1:], archs[0]):
        passes.clear()
        top1.append(shared.top1(arch))
        n_passes.append(len(passes))
        assert top1[-1] == evaluator.top1(evaluator.subnet(supernet, arch))
    assert n_passes[:2] == [N_SHARED + 1, 1]
    assert max(n_passes[2:]) == N_SHARED - 1  # stem and first block are all architectures'
    assert len(set(top1)) > 1


def test_architectures_in_shared_order_are_the_same_ones_with_equal_beginnings_together():
    archs = architectures_to_evaluate(SPACE, 300, seed=0)
    ordered = in_shared_order(SPACE, archs)
    assert sorted(map(str, ordered)) == sorted(map(str, archs))
    beginnings = [(a.kernel_sizes[:2], a.expand_ratios[:2]) for a in ordered]
    changes = sum(a != b for a, b in pairwise(beginnings))
    assert changes == len(set(beginnings)) - 1 <= 80


def test_first_blocks_are_not_shared_where_they_would_fill_the_memory(supernet, monkeypatch):
    evaluator = Evaluator(coloured_dataset(8, 8), SPACE, EvaluationSettings(8))
    # 16 images of 32 x 32 x (16 + 16 + 24 + 24) float32 values
    monkeypatch.setattr(shared_prefix, "_MAX_KEPT_BYTES", 16 * 32 * 32 * 80 * 4)
    assert isinstance(subnet_top1(evaluator, supernet).__self__, SharedPrefixEvaluator)
    monkeypatch.setattr(shared_prefix, "_MAX_KEPT_BYTES", 16 * 32 * 32 * 80 * 4 - 1)
    alone = subnet_top1(evaluator, supernet)
    assert not hasattr(alone, "__self__")
    assert alone(SMALLEST) == evaluator.top1(evaluator.subnet(supernet, SMALLEST))


def test_bfloat16_evaluation_is_near_float32(supernet):
    data = coloured_dataset(40, 20)
    logits = {}
    for precision in PRECISIONS:
        evaluator = Evaluator(data, SPACE, EvaluationSettings(40, precision=precision))
        network = evaluator.subnet(supernet, SMALLEST)
        images, _ = next(evaluator.test_batches())
        with torch.no_grad(), evaluator.autocast():
            logits[precision] = network(images).float()
        assert network.first_conv.bn.running_mean.dtype == torch.float32
    correlation = np.corrcoef(*(tensor.flatten().numpy() for tensor in logits.values()))[0, 1]
    assert 0.99 < correlation < 1
    with pytest.raises(InvalidInputError, match="unknown precision 'float16'"):
        Evaluator(data, SPACE, EvaluationSettings(40, precision="float16"))


def test_an_accuracy_table_resumes_and_refuses_another_recipe(folder, tmp_path, monkeypatch):
    out, data = tmp_path / "table.json", folder / "colours.npz"
    command = [
        "evaluate", "--checkpoint", folder / "supernet.safetensors", "--data", data,
        "--out", out, "--count", 4, "--device", "cpu",
    ]  # fmt: skip
    few = [*command, "--recalibration-images", 20]
    measured = SharedPrefixEvaluator.top1
    calls = []

    def killed_at_the_third(self, arch):
        calls.append(arch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(self, arch)

    monkeypatch.setattr(SharedPrefixEvaluator, "top1", killed_at_the_third)
    with pytest.raises(AssertionError):
        pnag(*few)
    journal = tmp_path / ".table.json.0.jsonl"
    journal.write_text(journal.read_text() + '{"arch": "cut sho')
    with pytest.raises(PnagError, match="of another evaluation"):
        pnag(*command, "--recalibration-images", 10)
    resumed = pnag(*few)
    assert resumed["n"] == 4
    assert len(calls) == 3 + 2  # two were done before, two are left
    assert pnag(*few) == resumed
    assert len(calls) == 5  # the finished table is not measured again
    table = load_accuracy_table(out, SPACE)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "table.json", tmp_path / "table.recipe.json"]
    supernet = load_supernet(folder / "supernet.safetensors")
    evaluator = Evaluator(open_dataset(data, SPACE), SPACE, EvaluationSettings(20))
    monkeypatch.undo()
    expected = evaluator.top1(evaluator.subnet(supernet, SMALLEST))
    row = SPACE.encode([SMALLEST])[0]
    assert table.top1[(table.tokens == row).all(1)] == pytest.approx(expected)
    assert (table.dataset, "no fine-tuning" in table.source) == ("colours", True)


def test_extracted_files_compute_what_the_recalibrated_subnet_does(folder, tmp_path):
    data = folder / "colours.npz"
    document = pnag(
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
        right.classifier.linear.weight.mul_(1.01)
    monkeypatch.setattr(supernet, "extract", lambda _: right)
    with pytest.raises(PnagError, match="differs from the supernet by"):
        extract_subnet(supernet, SMALLEST, None, ("torch",), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "mbv3"], "is a supernet of"),
        (["--int8"], "--int8 needs --data"),
        (["--export", "coreml"], "unknown export format"),
    ],
)
def test_wrong_use_of_extract_is_refused(folder, tmp_path, arguments, message):
    checkpoint = folder / "supernet.safetensors"
    with pytest.raises(PnagError, match=message):
        pnag(
            "extract", "--checkpoint", checkpoint, "--arch", SMALLEST, "--out", tmp_path, *arguments
        )


def test_held_out_evaluation_needs_held_out_images(folder, tmp_path):
    with pytest.raises(PnagError, match="none were held out"):
        pnag(
            "evaluate", "--checkpoint", folder / "supernet.safetensors", "--held-out",
            "--data", folder / "colours.npz", "--out", tmp_path / "t.json",
        )  # fmt: skip
