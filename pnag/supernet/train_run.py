"""A training run in a directory: resumed where it stopped, logged as it goes.

config.json             settings, data, space, versions
checkpoint.safetensors  weights, moving average, momentum and step: enough to go on exactly
metrics.jsonl           one line per logged step, one per validation
supernet.safetensors    the finished weights (moving average), Once-for-All's names
tensorboard/            with --track tensorboard; other trackers keep theirs elsewhere
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from pnag.supernet.checkpoint import (
    WEIGHTS,
    SupernetFile,
    read_supernet_file,
)
from pnag.supernet.data import Dataset, hold_out
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.precision import Precision
from pnag.supernet.train import StepReport, SupernetSettings, Trainer
from pnag.supernet.workers import Workers
from pnag.tracking import IDS, Tracked, Tracking, open_tracking, require_trackers
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.atomic import refuse_unwritable, write_text_atomic
from profiler.system.json_lines import JsonLines
from profiler.system.user_files import read_json_lines
from profiler.terminal import Terminal

CHECKPOINT, FINISHED, METRICS = "checkpoint.safetensors", "supernet.safetensors", "metrics.jsonl"
CLEARED = (FINISHED, CHECKPOINT, METRICS, IDS)  # in this order: what is left is a run to go on with
VALIDATION_IMAGES = 2000


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result: where, and how often.

    Attributes:
        validate_epochs: epochs between accuracies of smallest and largest subnet; 0 for never.
    """

    folder: Path
    fresh: bool = False
    checkpoint_steps: int = 100
    log_steps: int = 10
    validate_epochs: int = 1
    trackers: Sequence[str] = ()


def resolved_settings(
    *,
    on_gpu: bool,
    epochs: int,
    batch_size: int,
    micro_batch_size: int | None = None,
    warmup_epochs: float | None = None,
    precision: str | None = None,
    **others: Any,
) -> SupernetSettings:
    """Settings in which None stands for what suits the device, the batch and the length."""
    return SupernetSettings(
        epochs=epochs,
        batch_size=batch_size,
        micro_batch_size=min(SupernetSettings.micro_batch_size, batch_size)
        if micro_batch_size is None
        else micro_batch_size,
        warmup_epochs=min(2.0, 0.1 * epochs) if warmup_epochs is None else warmup_epochs,
        precision=cast(Precision, precision or ("bfloat16" if on_gpu else "float32")),
        **others,
    )


def train_supernet(
    space: MobileNetV3Space,
    dataset: Dataset,
    settings: SupernetSettings,
    options: RunOptions,
    workers: Workers,
    terminal: Terminal,
    *,
    init: Path | None = None,
) -> Path:
    """Train to the end, going on from the folder's checkpoint; the finished weights' path.

    `init`: start from these weights, and not from random ones.

    Raises:
        InvalidInputError: the folder holds a run with other settings, data or first weights, or
            finished weights without the checkpoint to go on from; `init` is a file that a fresh
            start deletes; a tracker is not there.
    """
    folder = options.folder
    _refuse_loss(options, init)
    require_trackers(options.trackers)
    data, held_out = hold_out(dataset, settings.held_out, seed=settings.seed)
    judged = held_out if settings.held_out else data
    trainer = Trainer(space, data, settings, workers, init)
    refuse_unwritable(folder / "config.json")
    _start(trainer, options, terminal)
    workers.wait()
    validator = _validator(judged, space, workers) if options.validate_epochs else None
    with (
        _open_log(trainer, options, terminal) as log,
        terminal.progress(f"training {space.name}", trainer.n_steps) as progress,
    ):
        progress.skip(trainer.step)
        before = time.monotonic()
        for report in trainer.train():
            now = time.monotonic()
            images_per_s, before = settings.batch_size / (now - before), now
            progress.advance(note=f"epoch {report.epoch + 1}, loss {report.loss:.3f}")
            if workers.is_first:
                _log_step(trainer, report, options, log, images_per_s)
                # before the checkpoint: what comes after it could be lost
                if validator and _is_validated(trainer, options):
                    _validate(trainer, validator, log, terminal=terminal)
                    before = time.monotonic()
                _save_step(trainer, options)
    path = folder / FINISHED
    if workers.is_first:
        weights = {WEIGHTS + name: tensor.cpu() for name, tensor in trainer.average.items()}
        SupernetFile(weights, trainer.facts).save(path)
    workers.wait()
    return path


def _refuse_loss(options: RunOptions, init: Path | None) -> None:
    """Of weights that cannot be made again by the same command."""
    folder, fresh = options.folder, options.fresh
    if (folder / FINISHED).exists() and not (fresh or (folder / CHECKPOINT).exists()):
        raise InvalidInputError(
            f"{folder} holds finished weights and no {CHECKPOINT} to go on from; use another "
            "--out, or --fresh to replace them"
        )
    if fresh and init and init.resolve() in {(folder / name).resolve() for name in CLEARED}:
        raise InvalidInputError(f"--fresh would delete {init} of --init; use another --out")


def _start(trainer: Trainer, options: RunOptions, terminal: Terminal) -> None:
    """Restore the checkpoint, or begin; the first worker prepares the folder."""
    folder, checkpoint = options.folder, options.folder / CHECKPOINT
    first = trainer.workers.is_first
    if checkpoint.exists() and not options.fresh:
        trainer.restore(read_supernet_file(checkpoint))
        if first:
            terminal.note(f"going on from step {trainer.step} of {trainer.n_steps}")
            cut_metrics(folder / METRICS, trainer.step)
        return
    if first:
        for name in CLEARED:
            (folder / name).unlink(missing_ok=True)
        config = trainer.facts | {
            "n_images": trainer.n_images,
            "world_size": trainer.workers.world_size,
            "device": trainer.workers.device.type,
            "versions": {name: version(name) for name in ("pnag", "torch", "numpy")}
            | {"python": platform.python_version()},
        }
        write_text_atomic(folder / "config.json", json.dumps(config, indent=1) + "\n")


def cut_metrics(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint: those steps are done again.

    Raises:
        InvalidInputError: unreadable, or a record without its step.
    """
    kept = [json.dumps(record) + "\n" for record in _records(path) if record["step"] < step]
    if path.exists():
        write_text_atomic(path, "".join(kept))


def _records(path: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, without a line that a kill cut short; none where there is no file."""
    records = read_json_lines(path) if path.exists() else []
    if not all(isinstance(record.get("step"), int) for record in records):
        raise InvalidInputError(f"{path} is damaged: not every record says its step")
    return records


def _log_step(
    trainer: Trainer, report: StepReport, options: RunOptions, log: _Log, images_per_s: float
) -> None:
    done, total = trainer.step, trainer.n_steps
    if done % options.log_steps == 0 or done == total:
        log.write({**asdict(report), "images_per_s": round(images_per_s, 2)})


def _save_step(trainer: Trainer, options: RunOptions) -> None:
    if trainer.step % options.checkpoint_steps == 0 or trainer.step == trainer.n_steps:
        trainer.save().save(options.folder / CHECKPOINT)


def _is_validated(trainer: Trainer, options: RunOptions) -> bool:
    steps = options.validate_epochs * trainer.steps_per_epoch
    return trainer.step % steps == 0 or trainer.step == trainer.n_steps


def _validator(judged: Dataset, space: MobileNetV3Space, workers: Workers) -> SubnetEvaluator:
    n_train, n_test = len(judged.train.labels), len(judged.test.labels)
    settings = EvaluationSettings(
        recalibration_images=min(1000, n_train), test_images=min(VALIDATION_IMAGES, n_test)
    )
    return SubnetEvaluator(judged, space, settings, workers.device)


def _validate(
    trainer: Trainer, validator: SubnetEvaluator, log: _Log, *, terminal: Terminal
) -> None:
    """Top-1 of the smallest and the largest subnet, or of the only one that is trained."""
    judged = dict(zip(("smallest", "largest"), trainer.space.extremes(), strict=True))
    if trainer.only is not None:
        judged = {"only": trainer.only}
    model = trainer.averaged_model()
    top1 = {
        name: validator.top1(validator.subnet(model, str(arch))) for name, arch in judged.items()
    }
    log.write({"step": trainer.step - 1, **{f"top1_{name}": t for name, t in top1.items()}})
    parts = [f"{100 * accuracy:.1f} % ({name} subnet)" for name, accuracy in top1.items()]
    terminal.note(
        f"after epoch {trainer.step // trainer.steps_per_epoch}: top-1 {', '.join(parts)}"
    )


class _Log:
    """metrics.jsonl, and the trackers that are wanted."""

    def __init__(self, path: Path, tracking: Tracking) -> None:
        self._file, self._tracking = JsonLines(path), tracking

    def write(self, record: dict[str, Any]) -> None:
        self._file.append(record)
        self._tracking.log(_metrics(record), record["step"])

    def close(self) -> None:
        self._file.close()


def _metrics(record: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in ("step", "epoch")}


@contextmanager
def _open_log(trainer: Trainer, options: RunOptions, terminal: Terminal) -> Iterator[_Log]:
    """Only the first worker's log is written to; the others' is a null device."""
    first, folder = trainer.workers.is_first, options.folder
    trackers = options.trackers if first else ()
    records = _records(folder / METRICS) if trackers else []
    past = [(record["step"], _metrics(record)) for record in records]
    tracked = Tracked(folder, asdict(trainer.settings), trainer.step, past)
    with open_tracking(trackers, tracked, terminal) as tracking:
        log = _Log(folder / METRICS if first else Path("/dev/null"), tracking)
        with closing(log):
            yield log
        if first:
            tracking.keep_tables(folder)
