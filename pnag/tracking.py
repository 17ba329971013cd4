"""Experiment trackers beside a training's own metrics.jsonl: TensorBoard, MLflow, Weights & Biases.

Server, project and account are those of the tracker's own environment (MLFLOW_TRACKING_URI,
WANDB_MODE, ...).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import read_json
from profiler.terminal import Terminal

IDS = "tracking.json"  # a training that goes on does so in the tracker's run, too
TABLES = (".json", ".jsonl", ".csv")


@dataclass(frozen=True)
class Tracked:
    """A training as its trackers are told of it.

    Attributes:
        step: the next one; what a tracker has of it, or of later ones, was lost and is done again.
        past: earlier steps and their metrics, for a tracker that begins late.
        id: the tracker's own name of this training; None where it is new to it.
    """

    folder: Path
    settings: Mapping[str, Any]
    step: int
    past: Sequence[tuple[int, Mapping[str, float]]]
    id: str | None = None


class Tracker(Protocol):
    id: str

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def keep(self, tables: Sequence[Path]) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class TensorBoard:
    """Event files in the run's folder; it has no place for tables."""

    id = "tensorboard"  # the folder

    def __init__(self, tracked: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter  # it carries no types
        step = 0 if tracked.id is None else tracked.step
        self._writer = writer(str(tracked.folder / self.id), purge_step=step)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def keep(self, tables: Sequence[Path]) -> None:
        return None

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class MLflow:
    """https://mlflow.org/docs/latest/api_reference/python_api/mlflow.html"""

    def __init__(self, tracked: Tracked) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        self.id = mlflow.start_run(tracked.id, run_name=tracked.folder.name).info.run_id
        mlflow.log_params(dict(tracked.settings))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def keep(self, tables: Sequence[Path]) -> None:
        for path in tables:
            self._mlflow.log_artifact(str(path))

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


class WeightsAndBiases:
    """https://docs.wandb.ai/ref/python"""

    def __init__(self, tracked: Tracked) -> None:
        import wandb

        self._new_artifact, name = wandb.Artifact, tracked.folder.name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "pnag"), name=name, dir=str(tracked.folder),
            config=dict(tracked.settings), id=tracked.id, resume="allow",
        )  # fmt: skip
        self.id = self._run.id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def keep(self, tables: Sequence[Path]) -> None:
        artifact = self._new_artifact(f"tables-{self.id}", "tables")
        for path in tables:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        self._run.finish(int(failed))


TRACKERS: dict[str, Callable[[Tracked], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed before anything is written.

    Raises:
        InvalidInputError: one is not, or there is none of this name.
    """
    for name in names:
        if name not in TRACKERS:
            raise InvalidInputError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
        require(name, f"--track {name}")


class Tracking:
    """All trackers of a training as one. What one of them cannot take does not end the training."""

    def __init__(self, terminal: Terminal) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._terminal = terminal

    def begin(self, name: str, tracked: Tracked) -> None:
        """
        Raises:
            InvalidInputError: it has no server, no account, or no training of this id.
        """
        try:
            tracker = self._trackers[name] = TRACKERS[name](tracked)
            for step, metrics in tracked.past if tracked.id is None else ():
                tracker.log(metrics, step)
        except Exception as error:  # whatever a server, a network or an SDK may raise
            raise InvalidInputError(f"{name} cannot be logged to: {_line(error)}") from error

    def ids(self) -> dict[str, str]:
        """By the trackers' names."""
        return {name: tracker.id for name, tracker in self._trackers.items()}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._each(lambda tracker: tracker.log(metrics, step))

    def keep_tables(self, folder: Path) -> None:
        """What of a run can be read without pnag; weights and plots stay where they are."""
        tables = sorted(path for path in folder.iterdir() if path.suffix in TABLES)
        self._each(lambda tracker: tracker.keep(tables))

    def close(self, *, failed: bool) -> None:
        self._each(lambda tracker: tracker.close(failed=failed))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except Exception as error:  # as above
                del self._trackers[name]
                self._terminal.note(f"{name} gets nothing more ({_line(error)}); training goes on")


@contextmanager
def open_tracking(
    names: Sequence[str], tracked: Tracked | None, terminal: Terminal
) -> Iterator[Tracking]:
    """Begin with the trackers, or go on in what they have of this training; close them at its end.

    Raises:
        InvalidInputError: one of them cannot be begun with, or the training has no folder.
    """
    tracking = Tracking(terminal)
    if not names:
        yield tracking
        return
    if tracked is None:
        raise InvalidInputError("only a run in a folder can be tracked")
    ids = _kept_ids(tracked.folder)
    try:
        for name in dict.fromkeys(names):
            tracking.begin(name, replace(tracked, id=ids.get(name)))
        if ids != (ids := ids | tracking.ids()):
            write_text_atomic(tracked.folder / IDS, json.dumps(ids) + "\n")
        yield tracking
    except BaseException:
        tracking.close(failed=True)
        raise
    tracking.close(failed=False)


def _kept_ids(folder: Path) -> dict[str, str]:
    """By the trackers' names; none of a training that was never tracked."""
    path = folder / IDS
    ids = read_json(path) if path.exists() else {}
    if not isinstance(ids, dict) or not all(isinstance(value, str) for value in ids.values()):
        raise InvalidInputError(f"{path} does not say the trackers' ids")
    return ids


def _line(error: Exception) -> str:
    """The first line of a message that may have many."""
    return next(iter(str(error).splitlines()), type(error).__name__)
