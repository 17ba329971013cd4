"""Files a run is trained from: read, checked, and kept inside the run directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pnag.search.problem import Problem
from predictors.base import AccuracyModel
from profiler.errors import InvalidInputError
from profiler.spaces.networks import NetworkSpace
from profiler.system.atomic import write_bytes_atomic

if TYPE_CHECKING:
    from predictors.accuracy.fitted import FittedAccuracy

LATENCY_FILE = "latency_table.json"
TABULAR_FILE = "space.csv"
ACCURACY_FILE = "accuracy.safetensors"
OFA_ACCURACY_FILE = "accuracy.pth"
TABULAR_PREFIX = "tabular:"


@dataclass(frozen=True)
class InputFile:
    """One input: its name in the run directory, where it came from, and its bytes."""

    name: str
    source: str
    data: bytes

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "sha256": hashlib.sha256(self.data).hexdigest()}


@dataclass(frozen=True)
class Inputs:
    """A problem and the files that define it, so that the run directory is complete."""

    problem: Problem
    files: tuple[InputFile, ...]

    def save(self, folder: Path) -> None:
        for file in self.files:
            write_bytes_atomic(folder / file.name, file.data)


def open_inputs(
    latency_table: Path | None,
    accuracy_table: Path | None = None,
    accuracy_model: Path | None = None,
    run: Path | None = None,
    space: str | None = None,
    statistic: str | None = None,
    *,
    seed: int = 0,
) -> Inputs:
    """What `pnag train` is given: a tabular space, or a latency table and at most one source of
    accuracies (`run` is an earlier run, which holds some).

    Raises:
        InvalidInputError: nothing or too much given; unreadable or malformed files.
    """
    if space and space.startswith(TABULAR_PREFIX):
        if latency_table or accuracy_table or accuracy_model or run or statistic is not None:
            raise InvalidInputError("a tabular space brings its own latencies and accuracies")
        return tabular_inputs(Path(space.removeprefix(TABULAR_PREFIX)))
    if latency_table is None:
        from profiler.tables.table import no_table

        raise no_table(", or --space tabular:FILE")
    if sum(option is not None for option in (accuracy_table, accuracy_model, run)) > 1:
        raise InvalidInputError("give one of --accuracy-table, --accuracy-model and --run")
    return table_inputs(
        latency_table,
        space_name=space,
        accuracy_table=accuracy_table,
        accuracy_model=accuracy_model if run is None else accuracy_file_of_run(run),
        statistic=statistic,
        seed=seed,
    )


def tabular_inputs(path: Path) -> Inputs:
    """A tabular space, which brings its own latencies and accuracies."""
    from predictors.tabular import TabularAccuracy, TabularCost
    from profiler.spaces.tabular import load_tabular_space

    space = load_tabular_space(path)
    problem = Problem(space, TabularCost(space), TabularAccuracy(space))
    return Inputs(problem, (InputFile(TABULAR_FILE, str(path), path.read_bytes()),))


def table_inputs(
    latency_table: Path,
    *,
    space_name: str | None = None,
    accuracy_table: Path | None = None,
    accuracy_model: Path | None = None,
    statistic: str | None = None,
    seed: int = 0,
) -> Inputs:
    """A latency table with accuracies: a table, a model, or else what is embedded.

    Args:
        statistic: that c(α) is of; by default the table's own.

    Raises:
        InvalidInputError: unreadable or malformed files, or files of another space.
    """
    from predictors.latency.lookup import cost_from_table
    from profiler.tables.statistic import by_statistic, statistic_named
    from profiler.tables.table import load_table

    measured = load_table(latency_table)
    table = by_statistic(measured, statistic_named(statistic), latency_table)
    if space_name not in (None, table.space.name):
        raise InvalidInputError(f"{latency_table} is a table of {table.space}, not of {space_name}")
    accuracy, file = _accuracy(table.search_space, accuracy_table, accuracy_model, seed)
    problem = Problem(table.search_space, cost_from_table(table), accuracy)
    as_read = latency_table.read_bytes() if table is measured else table.to_json().encode()
    latency_file = InputFile(LATENCY_FILE, str(latency_table), as_read)
    return Inputs(problem, (latency_file, file))


def _accuracy(
    space: NetworkSpace, table: Path | None, model: Path | None, seed: int
) -> tuple[AccuracyModel, InputFile]:
    from predictors.accuracy.enumerated import enumerated_accuracy, shipped_file
    from predictors.accuracy.fitted import embedded_accuracy, load_accuracy_model
    from predictors.accuracy.once_for_all import OfaAccuracyPredictor
    from predictors.accuracy.tables import accuracy_from_table, load_accuracy_table

    if model is not None:
        loaded = load_accuracy_model(model, space)
        name = OFA_ACCURACY_FILE if isinstance(loaded, OfaAccuracyPredictor) else ACCURACY_FILE
        return loaded, InputFile(name, str(model), model.read_bytes())
    if table is not None:
        fitted = accuracy_from_table(load_accuracy_table(table, space), space, seed=seed)
        return fitted, InputFile(ACCURACY_FILE, str(table), _model_bytes(fitted))
    shipped = shipped_file(space)
    if shipped is not None:
        published = enumerated_accuracy(space, space.facts["dataset"])
        return published, InputFile(ACCURACY_FILE, "embedded", shipped.read_bytes())
    fitted = embedded_accuracy(space)
    return fitted, InputFile(ACCURACY_FILE, "embedded", _model_bytes(fitted))


def _model_bytes(model: FittedAccuracy) -> bytes:
    from predictors.accuracy.fitted import save_accuracy_model

    with TemporaryDirectory() as folder:
        path = Path(folder) / ACCURACY_FILE
        save_accuracy_model(path, model)
        return path.read_bytes()


def inputs_of_run(folder: Path) -> Inputs:
    """The inputs that a run directory holds.

    Raises:
        InvalidInputError: it holds none.
    """
    if (folder / TABULAR_FILE).exists():
        return tabular_inputs(folder / TABULAR_FILE)
    if not (folder / LATENCY_FILE).exists():
        raise InvalidInputError(f"{folder} holds no latency table; give the problem itself")
    return table_inputs(folder / LATENCY_FILE, accuracy_model=accuracy_file_of_run(folder))


def accuracy_file_of_run(folder: Path) -> Path:
    """The accuracy model that a run directory holds.

    Raises:
        InvalidInputError: it holds none.
    """
    for name in (ACCURACY_FILE, OFA_ACCURACY_FILE):
        if (folder / name).exists():
            return folder / name
    raise InvalidInputError(f"{folder} holds no accuracy model")
