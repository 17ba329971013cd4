"""Recalibration and accuracy tables that resume, from Python and the command line."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from socket import socket
from typing import Any

import numpy as np
import pytest
import torch

from pnag.supernet import shared_prefix
from pnag.supernet.accuracy_table import architectures_to_evaluate
from pnag.supernet.checkpoint import (
    load_supernet,
    read_supernet_file,
)
from pnag.supernet.data import ArraySplit, hold_out, normalise, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.precision import PRECISIONS
from pnag.supernet.shared_prefix import (
    N_SHARED,
    SharedPrefixEvaluator,
    in_shared_order,
    subnet_top1,
)
from pnag.supernet.train import SupernetSettings
from pnag.supernet.train_run import RunOptions, train_supernet
from pnag.supernet.workers import Workers, open_workers
from predictors.accuracy.tables import load_accuracy_table
from profiler.errors import DeviceUnavailableError, InvalidInputError, PnagError
from profiler.graph.to_torch import randomise_
from profiler.spaces.mobilenetv3 import open_space
from profiler.spaces.mobilenetv3_network import Network
from profiler.system.lock import device_lock
from profiler.terminal import Terminal
from tests.pnag.supernet.supernet_data import (
    coloured_dataset,
    supernet_command,
    write_jpeg_npz,
    write_supernet_and_images,
)
from tests.pnag.supernet.test_train import COMMAND_LINE, ROOT

pytestmark = pytest.mark.slow

SPACE = open_space("mbv3-cifar")
SMALLEST = SPACE.extremes()[0]
WRITTEN = str(SMALLEST)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_supernet_and_images(tmp_path_factory.mktemp("supernet"), SPACE)


@torch.no_grad()
def test_recalibration_gives_every_layer_the_statistics_of_its_input():
    data = coloured_dataset(40)
    evaluator = SubnetEvaluator(data, SPACE, EvaluationSettings(40, batch_size=40))
    network = randomise_(Network(SPACE.ops(SMALLEST)), seed=3)
    evaluator.recalibrate(network)
    assert isinstance(data.train, ArraySplit)
    layer: Any = network.first_conv
    images = normalise(data.train.images, SPACE)
    features = layer.conv(images)
    torch.testing.assert_close(layer.bn.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(layer.bn.running_var, features.var((0, 2, 3)))
    block: Any = network.get_submodule("blocks.5")
    deep = block.conv.point_linear
    seen: list[torch.Tensor] = []
    handle = deep.bn.register_forward_hook(lambda _, __, output: seen.append(output))
    network(images)
    handle.remove()
    standardised = (seen[0] - deep.bn.bias[:, None, None]) / deep.bn.weight[:, None, None]
    assert standardised.mean((0, 2, 3)).abs().max() < 1e-3
    assert (standardised.std((0, 2, 3)) - 1).abs().max() < 1e-3
    assert not network.training


def test_top1_counts_the_right_answers():
    data = coloured_dataset(40, n_test=30)
    evaluator = SubnetEvaluator(data, SPACE, EvaluationSettings(10, batch_size=7))

    class AlwaysThree(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10)

    assert evaluator.top1(AlwaysThree()) == pytest.approx(3 / 30)


def test_architectures_to_evaluate_start_at_the_extremes_and_do_not_repeat():
    chosen = architectures_to_evaluate(SPACE, 50, seed=0)
    assert chosen[:2] == [str(arch) for arch in SPACE.extremes()]
    assert len(set(chosen)) == len(chosen) == 50
    assert architectures_to_evaluate(SPACE, 50, seed=0) == chosen
    assert architectures_to_evaluate(SPACE, 50, seed=1)[2:] != chosen[2:]


@pytest.fixture(scope="module")
def supernet():
    return randomise_(ElasticMobileNetV3(SPACE), seed=1)


def test_sharing_first_blocks_changes_no_accuracy_and_saves_their_work(supernet, monkeypatch):
    evaluator = SubnetEvaluator(
        coloured_dataset(20, 21), SPACE, EvaluationSettings(12, batch_size=7)
    )
    archs = in_shared_order(SPACE, architectures_to_evaluate(SPACE, 5, seed=0))
    first = SPACE.parse_architecture(archs[0])
    twin = replace(first, depths=(2, 2, 2, 2, 2))  # the same two first blocks
    twin = replace(twin, kernel_sizes=first.kernel_sizes[:2] + (5,) * 8)
    twin = replace(twin, expand_ratios=first.expand_ratios[:2] + (4,) * 8)
    passes = []
    through = SharedPrefixEvaluator._through

    def counted(self, module, *features):
        passes.append(module)
        return through(self, module, *features)

    monkeypatch.setattr(SharedPrefixEvaluator, "_through", counted)
    shared, n_passes, top1 = SharedPrefixEvaluator(evaluator, supernet), [], []
    for arch in (archs[0], str(twin), *archs[1:], archs[0]):
        passes.clear()
        top1.append(shared.top1(arch))
        n_passes.append(len(passes))
        assert top1[-1] == evaluator.top1(evaluator.subnet(supernet, arch))
    assert n_passes[:2] == [N_SHARED + 1, 1]
    assert max(n_passes[2:]) == N_SHARED - 1  # stem and first block are all architectures'
    assert len(set(top1)) > 1


@pytest.mark.parametrize("shared", [True, False])
def test_a_network_that_computes_nothing_finite_has_no_accuracy(shared):
    """Its weights are finite, but a training that diverges makes them as large as these."""
    diverged = randomise_(ElasticMobileNetV3(SPACE), seed=1)
    with torch.no_grad():
        for name, weights in diverged.named_parameters():
            if name.endswith("classifier.linear.weight"):
                weights.fill_(3e38)
    evaluator = SubnetEvaluator(
        coloured_dataset(20), SPACE, EvaluationSettings(10, test_images=5, batch_size=10)
    )
    with pytest.raises(InvalidInputError, match="not finite; its weights have diverged"):
        if shared:
            SharedPrefixEvaluator(evaluator, diverged).top1(WRITTEN)
        else:
            evaluator.top1(evaluator.subnet(diverged, WRITTEN))


def test_architectures_in_shared_order_are_the_same_ones_with_equal_beginnings_together():
    archs = architectures_to_evaluate(SPACE, 300, seed=0)
    ordered = in_shared_order(SPACE, archs)
    assert sorted(ordered) == sorted(archs)
    read = map(SPACE.parse_architecture, ordered)
    beginnings = [(a.kernel_sizes[:2], a.expand_ratios[:2]) for a in read]
    changes = sum(a != b for a, b in pairwise(beginnings))
    assert changes == len(set(beginnings)) - 1 <= 80


def test_first_blocks_are_not_shared_where_they_would_fill_the_memory(supernet, monkeypatch):
    evaluator = SubnetEvaluator(coloured_dataset(8, 8), SPACE, EvaluationSettings(8))
    # 16 images of 32 x 32 x (16 + 16 + 24 + 24) float32 values
    monkeypatch.setattr(shared_prefix, "_MAX_KEPT_BYTES", 16 * 32 * 32 * 80 * 4)
    shared: Any = subnet_top1(evaluator, supernet)  # a bound method
    assert isinstance(shared.__self__, SharedPrefixEvaluator)
    monkeypatch.setattr(shared_prefix, "_MAX_KEPT_BYTES", 16 * 32 * 32 * 80 * 4 - 1)
    alone = subnet_top1(evaluator, supernet)
    assert not hasattr(alone, "__self__")
    assert alone(WRITTEN) == evaluator.top1(evaluator.subnet(supernet, WRITTEN))


def test_bfloat16_evaluation_is_near_float32(supernet):
    data = coloured_dataset(40, 20)
    logits = {}
    for precision in PRECISIONS:
        evaluator = SubnetEvaluator(data, SPACE, EvaluationSettings(40, precision=precision))
        network = evaluator.subnet(supernet, WRITTEN)
        images, _ = next(evaluator.test_batches())
        with torch.no_grad(), evaluator.autocast():
            logits[precision] = network(images).float()
        first: Any = network.first_conv
        assert first.bn.running_mean.dtype == torch.float32
    correlation = np.corrcoef(*(tensor.flatten().numpy() for tensor in logits.values()))[0, 1]
    assert 0.99 < correlation < 1
    with pytest.raises(InvalidInputError, match="unknown precision 'float16'"):
        wrong: Any = "float16"
        SubnetEvaluator(data, SPACE, EvaluationSettings(40, precision=wrong))


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
        supernet_command(*few)
    journal = tmp_path / ".table.json.0.jsonl"
    journal.write_text(journal.read_text() + '{"arch": "cut sho')
    other = [*command, "--recalibration-images", 10]
    with pytest.raises(PnagError, match="of another evaluation"):
        supernet_command(*other)
    resumed = supernet_command(*few)
    assert resumed["n"] == 4
    assert len(calls) == 3 + 2  # two were done before, two are left
    assert supernet_command(*few) == resumed
    assert len(calls) == 5  # the finished table is not measured again
    before = out.read_bytes()
    with pytest.raises(PnagError, match="of another evaluation"):
        supernet_command(*other)
    assert out.read_bytes() == before
    table = load_accuracy_table(out, SPACE)
    assert sorted(tmp_path.iterdir()) == [out, tmp_path / "table.recipe.json"]
    supernet = load_supernet(folder / "supernet.safetensors")
    evaluator = SubnetEvaluator(open_dataset(data, SPACE), SPACE, EvaluationSettings(20))
    monkeypatch.undo()
    expected = evaluator.top1(evaluator.subnet(supernet, WRITTEN))
    row = SPACE.encode([SMALLEST])[0]
    assert table.top1[(table.tokens == row).all(1)] == pytest.approx(expected)
    assert (table.dataset, "no fine-tuning" in table.source) == ("colours", True)


def test_a_finished_table_grows_and_loses_nothing(folder, tmp_path):
    out = tmp_path / "acc[1]-w1.0"  # neither a pattern nor a suffix
    command = [
        "evaluate", "--checkpoint", folder / "supernet.safetensors", "--data",
        folder / "colours.npz", "--out", out, "--recalibration-images", 20, "--device", "cpu",
    ]  # fmt: skip
    supernet_command(*command, "--count", 3)
    three = load_accuracy_table(out, SPACE)
    added = architectures_to_evaluate(SPACE, 20, seed=7)[-1]
    frontier = tmp_path / "frontier.json"
    frontier.write_text(json.dumps({"points": [{"arch": added}]}))
    assert supernet_command(*command, "--arch-file", frontier)["n"] == 4
    frontier.unlink()
    four = load_accuracy_table(out, SPACE)
    assert np.array_equal(four.tokens, [*three.tokens, SPACE.parse(added)])
    assert np.array_equal(four.top1[:3], three.top1)
    assert supernet_command(*command, "--count", 2)["n"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "acc[1]-w1.0", "acc[1]-w1.0.recipe.json"
    ]  # fmt: skip
    assert (
        supernet_command(*command, "--count", 2, "--recalibration-images", 10, "--fresh")["n"] == 2
    )


@contextmanager
def joined_by_another(arguments):
    """This process is the first of two workers, as torchrun would tell it; the other one runs
    the same command."""
    with socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    program = [sys.executable, "-c", COMMAND_LINE, "supernet", *map(str, arguments), "--quiet"]
    other = subprocess.Popen(program, cwd=ROOT, env=os.environ | group | {"RANK": "1"})
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (group | {"RANK": "0"}).items():
                patch.setenv(name, value)
            yield
        assert other.wait(60) == 0
    finally:
        other.kill()  # after an error it would wait for this process
        other.wait()


def test_workers_share_an_evaluation_that_one_began(folder, tmp_path):
    def command(out):
        return [
            "evaluate", "--checkpoint", folder / "supernet.safetensors", "--data",
            folder / "colours.npz", "--out", tmp_path / out, "--recalibration-images", 20,
            "--batch-size", 10, "--device", "cpu",
        ]  # fmt: skip

    supernet_command(*command("alone.json"), "--count", 5)
    supernet_command(*command("shared.json"), "--count", 2)
    together = [*command("shared.json"), "--count", 5]
    with joined_by_another(together):
        supernet_command(*together)
    alone, shared = (
        load_accuracy_table(tmp_path / name, SPACE) for name in ("alone.json", "shared.json")
    )
    assert sorted(zip(alone.tokens.tolist(), alone.top1, strict=True)) == sorted(
        zip(shared.tokens.tolist(), shared.top1, strict=True)
    )
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a whole number from 1 on"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE is '-1'"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '999"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
        ({"LOCAL_RANK": "1.5"}, "LOCAL_RANK is '1.5', not a whole number from 0 on"),
        ({"WORLD_SIZE": "2"}, "no group of 2 processes, as WORLD_SIZE says: .*RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "no group of 2 processes.*MASTER_ADDR"),
    ],
)
def test_an_environment_that_tells_of_no_group_is_one_line(monkeypatch, variables, message):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match=message) as refused, open_workers("cpu"):
        pass
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("n_test", "message"),
    [
        (0, "images to test on must be from 1 to 100000000, not 0"),
        (-5, "images to test on must be from 1 to 100000000, not -5"),
        (21, "21 images to test on, of 20"),
    ],
)
def test_test_images_must_be_there(n_test, message):
    with pytest.raises(InvalidInputError, match=message):
        SubnetEvaluator(coloured_dataset(10, 20), SPACE, EvaluationSettings(10, test_images=n_test))


def test_batches_are_even_so_that_statistics_weigh_them_equally():
    evaluator = SubnetEvaluator(
        coloured_dataset(41, 9), SPACE, EvaluationSettings(41, batch_size=20)
    )
    assert [len(images) for images, _ in evaluator.recalibration_batches()] == [14, 14, 13]
    assert [len(images) for images, _ in evaluator.test_batches()] == [9]


def small_evaluation(folder, out):
    """Arguments that evaluate the architectures after them."""
    return [
        "evaluate", "--checkpoint", folder / "supernet.safetensors", "--device", "cpu", "--data",
        folder / "colours.npz", "--recalibration-images", 10, "--out", out, "--arch",
    ]  # fmt: skip


def test_a_refused_fresh_evaluation_keeps_the_table(folder, tmp_path):
    command = small_evaluation(folder, tmp_path / "table.json")
    supernet_command(*command, SMALLEST)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for wrong in (["2,2"], [SMALLEST, "--precision", "fp16"], [SMALLEST, "--test-images", 0]):
        with pytest.raises(PnagError):
            supernet_command(*command, *wrong, "--fresh")
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_held_out_evaluation_needs_held_out_images(folder, tmp_path):
    with pytest.raises(PnagError, match="none were held out"):
        supernet_command(
            "evaluate", "--checkpoint", folder / "supernet.safetensors", "--held-out",
            "--data", folder / "colours.npz", "--out", tmp_path / "t.json",
        )  # fmt: skip


def test_held_out_images_are_those_that_training_kept_aside(folder, tmp_path):
    data = open_dataset(folder / "colours.npz", SPACE)
    settings = SupernetSettings(
        epochs=1, batch_size=10, micro_batch_size=10, n_random=0, warmup_epochs=0.5, held_out=20,
        seed=6,
    )  # fmt: skip
    options = RunOptions(tmp_path / "run", validate_epochs=0)
    checkpoint = train_supernet(SPACE, data, settings, options, Workers(), Terminal(quiet=True))
    command = ["evaluate", "--checkpoint", checkpoint, "--held-out", "--arch", SMALLEST]
    command += ["--recalibration-images", 10, "--device", "cpu", "--data"]
    out = tmp_path / "table.json"
    supernet_command(*command, folder / "colours.npz", "--out", out)
    held_out = hold_out(data, 20, seed=6)[1]
    evaluator = SubnetEvaluator(held_out, SPACE, EvaluationSettings(10))
    table = load_accuracy_table(out, SPACE)
    network = evaluator.subnet(load_supernet(checkpoint), WRITTEN)
    assert (table.dataset, table.top1[0]) == ("colours held-out", evaluator.top1(network))
    write_jpeg_npz(tmp_path / "colours.npz", n_train=29, n_test=20)
    with pytest.raises(PnagError, match="was trained on other images"):
        supernet_command(*command, tmp_path / "colours.npz", "--out", tmp_path / "other.json")


def test_a_fine_tuned_checkpoint_is_evaluated_as_its_own_subnet_only(folder, tmp_path):
    largest = SPACE.extremes()[1]
    facts = SPACE.facts | {"settings": {"arch": str(SMALLEST)}}
    tuned = replace(read_supernet_file(folder / "supernet.safetensors"), facts=facts)
    tuned.save(tmp_path / "tuned.safetensors")
    command = ["evaluate", "--checkpoint", tmp_path / "tuned.safetensors", "--device", "cpu"]
    command += ["--data", folder / "colours.npz", "--recalibration-images", 10]
    command += ["--out", tmp_path / "table.json"]
    for chosen in (["--count", 3], ["--arch", largest]):
        with pytest.raises(PnagError, match="holds one fine-tuned subnet"):
            supernet_command(*command, *chosen)
    extract = ["extract", *command[1:3], "--out", tmp_path / "nets", "--arch"]
    with pytest.raises(PnagError, match="holds one fine-tuned subnet"):
        supernet_command(*extract, largest)
    assert supernet_command(*command, "--arch", SMALLEST)["n"] == 1
    assert ", fine-tuned, float32" in load_accuracy_table(tmp_path / "table.json", SPACE).source


def test_one_command_at_a_time_writes_a_table(folder, tmp_path):
    command = [*small_evaluation(folder, tmp_path / "table.json"), SMALLEST]
    with (
        device_lock(f"table {tmp_path / 'table.json'}"),
        pytest.raises(DeviceUnavailableError, match=r"on table .*table\.json; wait for it"),
    ):
        supernet_command(*command)
    assert not list(tmp_path.iterdir())
    assert supernet_command(*command)["n"] == 1


def test_a_table_with_a_damaged_recipe_is_refused(folder, tmp_path):
    command = [*small_evaluation(folder, tmp_path / "table.json"), SMALLEST]
    supernet_command(*command)
    recipe = tmp_path / "table.recipe.json"
    recipe.write_text(recipe.read_text()[:-5])
    with pytest.raises(InvalidInputError, match="is of another evaluation"):
        supernet_command(*command)
