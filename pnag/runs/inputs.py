"""Files a run is trained from: read, checked, and kept inside the run directory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pnag.runs.config import hashes_of, read_config
from pnag.search.problem import COUNTS, Problem
from predictors.base import AccuracyModel, CostFunction
from profiler.errors import InvalidInputError
from profiler.spaces.networks import NetworkSpace
from profiler.system.atomic import write_bytes_atomic

if TYPE_CHECKING:
    from predictors.accuracy.fitted import FittedAccuracy
    from profiler.tables.table import LatencyTable

LATENCY_FILE = "latency_table.json"
FURTHER_LATENCY_FILE = "latency_table.{}.json"  # of the cost with this name
COSTS_FILE = "costs.safetensors"
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


COST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def named_tables(given: Sequence[str]) -> dict[str, Path]:
    """Latency tables by the name of their cost, as the command line has them: `FILE` or
    `NAME=FILE`. Without a name, the only one is the latency, and each of several is its file's.

    Raises:
        InvalidInputError: no name, or two of one.
    """
    tables: dict[str, Path] = {}
    for text in given:
        name, named, file = text.partition("=")
        if not named or not COST_NAME.fullmatch(name) or Path(text).exists():
            file, name = text, "latency" if len(given) == 1 else Path(text).stem
        if not COST_NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} names no cost; give --latency-table NAME={file}")
        if name in tables:
            raise InvalidInputError(
                f"two latency tables are named {name}; give one of them as NAME={file}"
            )
        tables[name] = Path(file)
    return tables


def open_inputs(
    latency_tables: Mapping[str, Path],
    accuracy_table: Path | None = None,
    accuracy_model: Path | None = None,
    run: Path | None = None,
    space: str | None = None,
    statistic: str | None = None,
    costs: Path | None = None,
    accuracy_checks: Path | None = None,
    *,
    seed: int = 0,
) -> Inputs:
    """What `pnag train` is given: a tabular space, or latency tables and at most one source of
    accuracies (`run` is an earlier run, which holds some).

    The budgets are of the first table's latency; what the others and `costs` say may be bounded
    beside it.

    Raises:
        InvalidInputError: nothing or too much given; unreadable or malformed files.
    """
    if space and space.startswith(TABULAR_PREFIX):
        others = (accuracy_table, accuracy_model, run, statistic, costs, accuracy_checks)
        if latency_tables or any(other is not None for other in others):
            raise InvalidInputError("a tabular space brings its own latencies and accuracies")
        return tabular_inputs(Path(space.removeprefix(TABULAR_PREFIX)))
    if not latency_tables:
        from profiler.tables.table import no_table

        raise no_table(", or --space tabular:FILE")
    if sum(option is not None for option in (accuracy_table, accuracy_model, run)) > 1:
        raise InvalidInputError("give one of --accuracy-table, --accuracy-model and --run")
    if accuracy_checks is not None and accuracy_table is None:
        raise InvalidInputError("--accuracy-checks correct the model of an --accuracy-table")
    if run is not None:
        accuracy_model = accuracy_file_of_run(run, hashes_of(read_config(run)))
    (name, latency_table), *further = latency_tables.items()
    return table_inputs(
        latency_table,
        cost_name=name,
        further=dict(further),
        costs=costs,
        space_name=space,
        accuracy_table=accuracy_table,
        accuracy_model=accuracy_model,
        accuracy_checks=accuracy_checks,
        statistic=statistic,
        seed=seed,
    )


def tabular_inputs(path: Path) -> Inputs:
    """A tabular space, which brings its own latencies and accuracies."""
    from predictors.tabular import TabularAccuracy, TabularCost, further_costs
    from profiler.spaces.tabular import load_tabular_space

    space = load_tabular_space(path)
    further = further_costs(space)
    _check_names({"latency": path, **dict.fromkeys(further, path)})
    problem = Problem(space, TabularCost(space), TabularAccuracy(space), further)
    return Inputs(problem, (InputFile(TABULAR_FILE, str(path), path.read_bytes()),))


def table_inputs(
    latency_table: Path,
    *,
    cost_name: str = "latency",
    further: Mapping[str, Path] | None = None,
    costs: Path | None = None,
    space_name: str | None = None,
    accuracy_table: Path | None = None,
    accuracy_model: Path | None = None,
    accuracy_checks: Path | None = None,
    statistic: str | None = None,
    seed: int = 0,
) -> Inputs:
    """A latency table with accuracies: a table, a model, or else what is embedded.

    Args:
        accuracy_checks: a table of some architectures, nearer to the truth than the whole one.
        further: tables of the same space whose latencies may be bounded as well, by name.
        costs: what else was measured of every architecture, a CSV or what a run keeps of one.
        statistic: that c(α) is of; by default each table's own.

    Raises:
        InvalidInputError: unreadable or malformed files, or files of another space.
    """
    from predictors.latency.lookup import cost_from_table

    table, latency_file = _table(latency_table, LATENCY_FILE, statistic)
    space = table.search_space
    if space_name not in (None, table.space.name):
        raise InvalidInputError(f"{latency_table} is a table of {table.space}, not of {space_name}")
    accuracy, accuracy_file = _accuracy(
        space, accuracy_table, accuracy_checks, accuracy_model, seed
    )
    files = [latency_file, accuracy_file]
    others: dict[str, CostFunction] = {}
    for name, path in sorted((further or {}).items()):
        other, file = _table(path, FURTHER_LATENCY_FILE.format(name), statistic)
        if other.space != table.space:
            raise InvalidInputError(
                f"{path} is a table of {other.space}, {latency_table} of {table.space}"
            )
        others[name] = cost_from_table(other)
        files.append(file)
    sources = {cost_name: latency_table, **(further or {})}
    if costs is not None:
        measured, file = _costs(costs, space)
        if both := measured.keys() & sources.keys():
            raise InvalidInputError(f"{costs} and {sources[min(both)]} both give {min(both)}")
        others |= measured
        sources |= dict.fromkeys(measured, costs)
        files.append(file)
    _check_names(sources)
    problem = Problem(space, cost_from_table(table), accuracy, others, cost_name)
    return Inputs(problem, tuple(files))


def _table(path: Path, name: str, statistic: str | None) -> tuple[LatencyTable, InputFile]:
    """A latency table, and what a run keeps of it under a name."""
    from profiler.tables.statistic import by_statistic, statistic_named
    from profiler.tables.table import load_table

    measured = load_table(path)
    table = by_statistic(measured, statistic_named(statistic), path)
    as_read = path.read_bytes() if table is measured else table.to_json().encode()
    return table, InputFile(name, str(path), as_read)


def _costs(path: Path, space: NetworkSpace) -> tuple[Mapping[str, CostFunction], InputFile]:
    """Costs that were measured of every architecture, and what a run keeps of them."""
    from predictors.enumerated import load_costs, read_costs, save_costs

    if path.name == COSTS_FILE:
        return load_costs(path, space), InputFile(COSTS_FILE, str(path), path.read_bytes())
    costs = read_costs(path, space)
    data = _bytes_of(lambda file: save_costs(file, costs))
    return costs, InputFile(COSTS_FILE, str(path), data)


def _check_names(sources: Mapping[str, Path]) -> None:
    """Costs have names of their own, and those of the counts are taken."""
    for name, path in sources.items():
        if name in COUNTS:
            raise InvalidInputError(f"{path}: {name} is counted, not measured; name it otherwise")


def _accuracy(
    space: NetworkSpace, table: Path | None, checks: Path | None, model: Path | None, seed: int
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
        fitted = accuracy_from_table(
            load_accuracy_table(table, space),
            space,
            checks=load_accuracy_table(checks, space) if checks else None,
            seed=seed,
        )
        source = f"{table}, checked by {checks}" if checks else str(table)
        return fitted, InputFile(ACCURACY_FILE, source, _model_bytes(fitted))
    shipped = shipped_file(space)
    if shipped is not None:
        published = enumerated_accuracy(space, space.facts["dataset"])
        return published, InputFile(ACCURACY_FILE, "embedded", shipped.read_bytes())
    fitted = embedded_accuracy(space)
    return fitted, InputFile(ACCURACY_FILE, "embedded", _model_bytes(fitted))


def _model_bytes(model: FittedAccuracy) -> bytes:
    from predictors.accuracy.fitted import save_accuracy_model

    return _bytes_of(lambda path: save_accuracy_model(path, model))


def _bytes_of(save: Callable[[Path], None]) -> bytes:
    """What is written to a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        save(path)
        return path.read_bytes()


def inputs_of_run(folder: Path, names: Collection[str], cost_name: str = "latency") -> Inputs:
    """The inputs that a run directory holds.

    Args:
        names: of its files, by its config: whatever else lies there is not the run's.
        cost_name: of the first cost, as the config says, too.

    Raises:
        InvalidInputError: it holds none, or a file is missing or malformed.
    """
    if TABULAR_FILE in names:
        return tabular_inputs(folder / TABULAR_FILE)
    if LATENCY_FILE not in names:
        raise InvalidInputError(f"{folder} holds no latency table; give the problem itself")
    begin, end = map(re.escape, FURTHER_LATENCY_FILE.split("{}"))
    further = [re.fullmatch(f"{begin}([^/]+){end}", name) for name in names]
    return table_inputs(
        folder / LATENCY_FILE,
        cost_name=cost_name,
        further={found[1]: folder / found[0] for found in further if found},
        costs=folder / COSTS_FILE if COSTS_FILE in names else None,
        accuracy_model=accuracy_file_of_run(folder, names),
    )


def accuracy_file_of_run(folder: Path, names: Collection[str]) -> Path:
    """The accuracy model that a run directory holds, of the files that its config names.

    Raises:
        InvalidInputError: it holds none.
    """
    for name in (ACCURACY_FILE, OFA_ACCURACY_FILE):
        if name in names:
            return folder / name
    raise InvalidInputError(f"{folder} holds no accuracy model")
