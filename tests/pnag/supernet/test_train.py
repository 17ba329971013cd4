"""Training: the same run whether killed or not and on however many workers."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pnag.supernet.checkpoint import WEIGHTS, SupernetFile, read_supernet_file
from pnag.supernet.data import open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.subnets import OpenChoices, open_choices, step_subnets
from pnag.supernet.train import SupernetSettings, Trainer, learning_rate
from pnag.supernet.train_run import CHECKPOINT, FINISHED, METRICS, RunOptions, train_supernet
from pnag.supernet.workers import Workers
from profiler.errors import InvalidInputError, PnagError
from profiler.graph.to_torch import randomise_
from profiler.spaces.mobilenetv3 import open_space
from profiler.terminal import Terminal
from tests.pnag.supernet.supernet_data import coloured_dataset, write_jpeg_npz

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SPACE = open_space("mbv3-cifar")
QUIET = Terminal(quiet=True)
SMALL = SupernetSettings(
    epochs=1, batch_size=2, micro_batch_size=2, n_random=0, learning_rate=0.05,
    warmup_epochs=0.5, seed=4,
)  # fmt: skip
COMMAND_LINE = (
    "import sys, typer; from pnag.cli.supernet import register; "
    "app = typer.Typer(); register(app); app(sys.argv[1:])"
)


def train_arguments(data: Path, out: Path, settings: SupernetSettings) -> list[str]:
    return [
        "supernet", "train", "--data", str(data), "--out", str(out), "--device", "cpu",
        "--epochs", str(settings.epochs), "--batch-size", str(settings.batch_size),
        "--micro-batch-size", str(settings.micro_batch_size),
        "--random-subnets", str(settings.n_random), "--learning-rate",
        str(settings.learning_rate), "--warmup-epochs", str(settings.warmup_epochs),
        "--seed", str(settings.seed), "--checkpoint-steps", "2", "--log-steps", "1",
        "--validate-epochs", "0", "--quiet",
    ]  # fmt: skip


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(arguments, cwd=ROOT, env=environment)


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / METRICS).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record.pop("images_per_s", None)
    return records


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("data") / "colours.npz"
    write_jpeg_npz(path, n_train=12, n_test=10)
    return path


def train_here(data: Path, folder: Path) -> None:
    options = RunOptions(folder, checkpoint_steps=2, log_steps=1, validate_epochs=0)
    train_supernet(SPACE, open_dataset(data, SPACE), SMALL, options, Workers(), QUIET)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> Path:
    """A run of 6 steps in one go."""
    folder: Path = tmp_path_factory.mktemp("uninterrupted")
    train_here(data, folder)
    return folder


def test_a_killed_and_resumed_run_is_the_uninterrupted_one(data, uninterrupted, tmp_path):
    process = start([sys.executable, "-c", COMMAND_LINE, *train_arguments(data, tmp_path, SMALL)])
    log = tmp_path / METRICS
    while process.poll() is None:
        if log.exists() and len(log.read_bytes().splitlines()) >= 3:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait(120) == -signal.SIGKILL
    assert 2 <= read_supernet_file(tmp_path / CHECKPOINT).facts["step"] < 6
    train_here(data, tmp_path)
    assert metrics(tmp_path) == metrics(uninterrupted)
    resumed, expected = (
        read_supernet_file(folder / CHECKPOINT).tensors for folder in (tmp_path, uninterrupted)
    )
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_two_workers_train_what_one_does(data, tmp_path):
    """Rounding grows from step to step, so the learning rate is small and the steps few."""
    settings = replace(SMALL, batch_size=6, micro_batch_size=3, learning_rate=1e-3)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--no-python"]
    command = [sys.executable, "-c", COMMAND_LINE, *train_arguments(data, tmp_path, settings)]
    process = start([*launcher, *command])
    alone = Trainer(SPACE, open_dataset(data, SPACE), settings, Workers())
    expected = list(alone.train())
    assert process.wait(120) == 0
    together = metrics(tmp_path)
    assert [record["step"] for record in together] == [0, 1]
    for ours, theirs in zip(together, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs.loss, rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(theirs.gradient_norm, rel=1e-3)
    weights = read_supernet_file(tmp_path / CHECKPOINT).part("model/")
    for name, tensor in alone.model.state_dict().items():
        if tensor.is_floating_point() and "running" not in name:  # of one worker's images
            torch.testing.assert_close(weights[name], tensor, rtol=2e-3, atol=1e-4, msg=name)


def test_training_learns_and_validates(tmp_path):
    settings = replace(
        SMALL, epochs=3, batch_size=8, micro_batch_size=8, ema_decay=0.5, learning_rate=0.1
    )
    options = RunOptions(tmp_path, log_steps=1, validate_epochs=3)
    path = train_supernet(SPACE, coloured_dataset(30, 20), settings, options, Workers(), QUIET)
    records = metrics(tmp_path)
    losses = [record["largest_loss"] for record in records if "largest_loss" in record]
    assert len(losses) == 9
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    assert records[-1]["top1_largest"] >= 0.3  # 0.1 is chance
    assert read_supernet_file(path).facts["data"] == "colours"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"]["ema_decay"] == 0.5


def test_a_batch_has_the_mean_gradient_of_its_micro_batches():
    """Each micro-batch is normalised by its own statistics."""
    settings = replace(SMALL, batch_size=8, micro_batch_size=4)
    trainer = Trainer(SPACE, coloured_dataset(8), settings, Workers())
    images, labels = trainer._batch(np.random.default_rng(0))
    subnets = list(SPACE.extremes())
    first_conv: Any = trainer.model.first_conv
    weight = first_conv.conv.weight

    def backward(chosen: slice):
        trainer.model.zero_grad()
        losses = trainer._backward(images[chosen], labels[chosen], subnets)
        return losses, weight.grad.clone()

    whole, first, second = (backward(part) for part in (slice(8), slice(4), slice(4, 8)))
    for together, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(together, (a + b) / 2)


@pytest.mark.parametrize("warmup_epochs", [-1, 1, 2.0, math.inf, math.nan])
def test_a_warm_up_ends_before_the_training_does(warmup_epochs):
    with pytest.raises(InvalidInputError, match="warm-up epochs is out of range"):
        replace(SMALL, warmup_epochs=warmup_epochs)


def test_images_grow_to_the_resolution_of_the_space():
    settings = replace(SMALL, epochs=10, start_resolution_px=16)
    trainer = Trainer(SPACE, coloured_dataset(4), settings, Workers())
    sides = []
    for step in range(trainer.n_steps):
        trainer.step = step
        images, _ = trainer._batch(np.random.default_rng(0))
        sides.append(images.shape[2:])
    assert [tuple(side) for side in sides] == sorted((side,) * 2 for side in (
        *[16] * 4, *[20] * 3, *[24] * 4, *[28] * 3, *[32] * 6
    ))  # fmt: skip
    with pytest.raises(InvalidInputError, match="images cannot grow from 40 px to 32 px"):
        Trainer(SPACE, coloured_dataset(4), replace(settings, start_resolution_px=40), Workers())


def test_fine_tuning_trains_one_subnet_and_leaves_other_blocks_as_they_were(tmp_path):
    smallest = SPACE.extremes()[0]
    settings = replace(SMALL, arch=str(smallest), weight_decay=0.1)
    trainer = Trainer(SPACE, coloured_dataset(4), settings, Workers())
    before = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    assert [report.n_subnets for report in trainer.train()] == [1, 1]
    after = trainer.model.state_dict()
    unused = after["blocks.3.conv.point_linear.conv.conv.weight"]  # third block of a stage
    assert torch.equal(unused, before["blocks.3.conv.point_linear.conv.conv.weight"])
    used = "blocks.1.conv.point_linear.conv.conv.weight"
    mid = 16 * 3
    assert not torch.equal(after[used][:, :mid], before[used][:, :mid])
    options = RunOptions(tmp_path, validate_epochs=1)
    train_supernet(SPACE, coloured_dataset(4, 4), settings, options, Workers(), QUIET)
    assert metrics(tmp_path)[-1].keys() == {"step", "top1_only"}
    with pytest.raises(InvalidInputError):
        Trainer(SPACE, coloured_dataset(4), replace(settings, arch="2,2"), Workers())


def test_other_settings_are_not_resumed_silently(data, uninterrupted):
    images = open_dataset(data, SPACE)
    trainer = Trainer(SPACE, images, replace(SMALL, learning_rate=0.2), Workers())
    file = read_supernet_file(uninterrupted / CHECKPOINT)
    with pytest.raises(InvalidInputError, match=r"with learning_rate 0\.05, this run"):
        trainer.restore(file)
    with pytest.raises(InvalidInputError, match="has data_fingerprint"):
        Trainer(SPACE, replace(images, test=images.train), SMALL, Workers()).restore(file)


def test_a_damaged_checkpoint_is_told():
    trainer = Trainer(SPACE, coloured_dataset(4), SMALL, Workers())
    own = trainer.save()
    saved = SupernetFile({name: t.clone() for name, t in own.tensors.items()}, own.facts)
    some = WEIGHTS + "classifier.linear.bias"
    without = {name: tensor for name, tensor in saved.tensors.items() if name != some}
    for tensors, facts in (
        (without, saved.facts),
        (saved.tensors | {some: torch.zeros(1)}, saved.facts),
        (saved.tensors | {"model/other": torch.zeros(1)}, saved.facts),
        (saved.tensors, {name: fact for name, fact in saved.facts.items() if name != "step"}),
        (saved.tensors, saved.facts | {"step": trainer.n_steps + 1}),
    ):
        with pytest.raises(InvalidInputError, match="the checkpoint is damaged"):
            trainer.restore(SupernetFile(tensors, facts))
    trainer.restore(saved)


def test_finished_weights_are_not_lost(data, uninterrupted, tmp_path, monkeypatch):
    weights = tmp_path / FINISHED
    weights.write_bytes((uninterrupted / FINISHED).read_bytes())
    with pytest.raises(InvalidInputError, match=r"finished weights and no checkpoint\.safetensors"):
        train_here(data, tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    options = RunOptions(tmp_path, fresh=True, trackers=("tensorboard",))
    with pytest.raises(InvalidInputError, match="--track tensorboard needs tensorboard: pip"):
        train_supernet(SPACE, open_dataset(data, SPACE), SMALL, options, Workers(), QUIET)
    assert [path.name for path in tmp_path.iterdir()] == [FINISHED]
    assert weights.read_bytes() == (uninterrupted / FINISHED).read_bytes()


@pytest.mark.parametrize("n_removed", [1, 2])
def test_a_fresh_start_that_is_cut_off_leaves_a_run_that_goes_on(
    n_removed, data, uninterrupted, tmp_path, monkeypatch
):
    run, removed, unlink = tmp_path / "run", list[Path](), Path.unlink
    shutil.copytree(uninterrupted, run)

    def cut_off(path: Path, **options: bool) -> None:
        if len(removed) == n_removed:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path, **options)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(Path, "unlink", cut_off)
        options = RunOptions(run, fresh=True)
        train_supernet(SPACE, open_dataset(data, SPACE), SMALL, options, Workers(), QUIET)
    assert {path.parent for path in removed} == {run}
    train_here(data, run)
    assert metrics(run) == metrics(uninterrupted)
    assert (run / FINISHED).read_bytes() == (uninterrupted / FINISHED).read_bytes()


def test_a_run_goes_on_from_the_weights_that_it_began_with(tmp_path):
    first, second = (randomise_(ElasticMobileNetV3(SPACE), seed=seed) for seed in (1, 2))
    for name, model in (("a", first), ("b", second)):
        weights = {WEIGHTS + key: tensor for key, tensor in model.state_dict().items()}
        SupernetFile(weights, SPACE.facts).save(tmp_path / f"{name}.safetensors")
    data, options = coloured_dataset(4, 4), RunOptions(tmp_path / "run", validate_epochs=0)

    def train_from(name: str) -> None:
        init = tmp_path / f"{name}.safetensors"
        train_supernet(SPACE, data, SMALL, options, Workers(), QUIET, init=init)

    begun = Trainer(SPACE, data, SMALL, Workers(), tmp_path / "a.safetensors")
    for state in (begun.model.state_dict(), begun.average):
        assert all(torch.equal(state[name], t) for name, t in first.state_dict().items())
    train_from("a")
    finished = (tmp_path / "run" / CHECKPOINT).read_bytes()
    train_from("a")
    with pytest.raises(InvalidInputError, match="has init_sha256"):
        train_from("b")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == finished


@pytest.mark.parametrize("name", [FINISHED, CHECKPOINT])
def test_a_fresh_start_does_not_delete_what_it_is_to_begin_with(name, tmp_path):
    run, model = tmp_path / "run", randomise_(ElasticMobileNetV3(SPACE), seed=1)
    run.mkdir()
    weights = {WEIGHTS + key: tensor for key, tensor in model.state_dict().items()}
    SupernetFile(weights, SPACE.facts).save(run / name)
    (tmp_path / "link").symlink_to(run / name)
    kept = (run / name).read_bytes()
    options = RunOptions(run, fresh=True, validate_epochs=0)
    for init in (run / name, tmp_path / "link"):
        with pytest.raises(InvalidInputError, match=r"--fresh would delete .* use another --out"):
            train_supernet(
                SPACE, coloured_dataset(4, 4), SMALL, options, Workers(), QUIET, init=init
            )
    assert [path.name for path in run.iterdir()] == [name]
    assert (run / name).read_bytes() == kept


def test_every_method_resumes_exactly():
    """Across the sorting of channels and the growth of images, in bfloat16, with random subnets."""
    settings = replace(
        SMALL, epochs=5, n_random=1, method="progressive", start_resolution_px=16,
        precision="bfloat16",
    )  # fmt: skip
    data = coloured_dataset(2)  # a step an epoch

    def trainer() -> Trainer:
        return Trainer(SPACE, data, settings, Workers())

    whole, parts = trainer(), trainer()
    losses = [report.loss for report in whole.train()]
    resumed = []
    for _ in range(whole.n_steps):
        resumed.append(parts.train_step().loss)
        saved, parts = parts.save(), trainer()
        parts.restore(saved)
    assert resumed == losses
    expected = whole.save().tensors
    assert all(torch.equal(saved.tensors[name], tensor) for name, tensor in expected.items())


def test_progressive_shrinking_sorts_weights_average_and_momentum_alike():
    settings = replace(SMALL, method="progressive", epochs=5, batch_size=8, micro_batch_size=8)
    trainer = Trainer(SPACE, coloured_dataset(8), settings, Workers())
    while trainer.step / trainer.n_steps < 0.6:
        assert trainer.train_step().n_subnets == (1 if trainer.step <= 2 else 2)
    largest = SPACE.extremes()[1]
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32))).float()
    name = "blocks.6.conv.point_linear.conv.conv.weight"

    def state():
        tensors = trainer.model.state_dict()[name], trainer._momentum()[name], trainer.average[name]
        with torch.no_grad():
            return trainer.averaged_model()(images, largest), *map(torch.clone, tensors)

    logits, *before = state()
    trainer._sort_channels_when_expands_open()
    sorted_logits, *after = state()
    torch.testing.assert_close(sorted_logits, logits, rtol=1e-4, atol=1e-5)
    order = before[0].abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
    assert order.tolist() != sorted(order.tolist())
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new, old[:, order])


def test_the_batch_is_every_image_once_an_epoch_and_new_each_epoch():
    trainer = Trainer(SPACE, coloured_dataset(32), SMALL, Workers())
    first, second = trainer._epoch_order(0), trainer._epoch_order(1)
    assert sorted(first) == sorted(second) == list(range(32))
    assert first.tolist() != second.tolist()
    shares = [Workers(rank, 4).share(8) for rank in range(4)]
    assert [i for share in shares for i in range(8)[share]] == list(range(8))


def test_learning_rate_warms_up_linearly_then_follows_half_a_cosine():
    settings = replace(SMALL, epochs=10, warmup_epochs=1, learning_rate=0.4)
    rates = [learning_rate(settings, step, 4) for step in range(40)]
    assert rates[:4] == pytest.approx([0.08, 0.16, 0.24, 0.32])
    assert rates[4] == pytest.approx(0.4)
    assert rates[22] == pytest.approx(0.2)
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(0.2 * (1 + math.cos(math.pi * 35 / 36)))


def test_phases_of_progressive_shrinking_open_kernels_depths_expands():
    shares = [0, 0.29, 0.3, 0.45, 0.6, 1]
    opened = [open_choices("progressive", share) for share in shares]
    assert [(c.kernel, c.depth, c.expand) for c in opened] == [
        (7, 4, 6), (7, 4, 6), (3, 4, 6), (3, 2, 6), (3, 2, 3), (3, 2, 3)
    ]  # fmt: skip
    assert open_choices("sandwich", 0.0) == OpenChoices()


def test_a_step_takes_largest_smallest_and_valid_random_subnets():
    smallest, largest = SPACE.extremes()
    rng = np.random.default_rng(0)
    assert step_subnets(SPACE, OpenChoices(), 3, rng)[:2] == [largest, smallest]
    assert step_subnets(SPACE, OpenChoices(4, 7, 6), 3, rng) == [largest]
    drawn = step_subnets(SPACE, OpenChoices(depth=4, kernel=3, expand=6), 200, rng)
    for arch in drawn:
        SPACE.validate(arch)
        assert set(arch.depths) == {4}
        assert set(arch.expand_ratios) == {6}
    assert set(drawn[1].kernel_sizes) == {3}
    kernels = np.array([arch.kernel_sizes for arch in drawn[2:]])
    for kernel in (3, 5, 7):  # 4000 draws, a third each
        shares = (kernels == kernel).mean(0)
        assert np.abs(shares - 1 / 3).max() < 4 * math.sqrt(2 / 9 / 200)


def test_bfloat16_losses_are_near_float32_ones():
    losses = {}
    for precision in ("float32", "bfloat16"):
        settings = replace(SMALL, precision=precision)
        losses[precision] = Trainer(SPACE, coloured_dataset(16), settings, Workers()).train_step()
    assert losses["bfloat16"].loss == pytest.approx(losses["float32"].loss, rel=0.02)
    assert losses["bfloat16"].loss != losses["float32"].loss


def test_wrong_settings_and_divergence_are_one_line():
    with pytest.raises(InvalidInputError, match="method is out of range"):
        wrong: Any = "bignas"
        SupernetSettings(method=wrong)
    for side_px in (0, 3, -16, 18):
        with pytest.raises(InvalidInputError, match="start resolution is out of range"):
            SupernetSettings(start_resolution_px=side_px)
    for name, value in (("weight decay", -1.0), ("learning rate", math.inf)):
        with pytest.raises(InvalidInputError, match=f"{name} is out of range"):
            changed: dict[str, Any] = {name.replace(" ", "_"): value}
            SupernetSettings(**changed)
    with pytest.raises(InvalidInputError, match="micro-batch size is out of range"):
        SupernetSettings(micro_batch_size=0)
    with pytest.raises(InvalidInputError, match="10 training images are less than a batch of 12"):
        Trainer(SPACE, coloured_dataset(10), replace(SMALL, batch_size=12), Workers())
    with pytest.raises(InvalidInputError, match="whole micro-batches of 2 on each of 3 workers"):
        Trainer(SPACE, coloured_dataset(16), SMALL, Workers(0, 3))
    trainer = Trainer(SPACE, coloured_dataset(16), SMALL, Workers())
    with torch.no_grad():
        logits: Any = trainer.model.classifier
        logits.linear.weight.fill_(math.inf)
    with pytest.raises(PnagError, match="diverged at step 0"):
        trainer.train_step()


def test_tensorboard_gets_what_metrics_get(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    options = RunOptions(tmp_path, log_steps=1, validate_epochs=0, trackers=("tensorboard",))
    train_supernet(SPACE, coloured_dataset(4, 2), SMALL, options, Workers(), QUIET)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("loss")}
    assert logged == pytest.approx({record["step"]: record["loss"] for record in metrics(tmp_path)})
