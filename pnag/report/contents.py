"""What a report shows of a run, gathered once for the page and for the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pnag.baselines.evolution import regularised_evolution
from pnag.baselines.random_search import random_search
from pnag.report.beside import RunBeside, read_beside
from pnag.report.choices import N_BUDGETS, Choice, choices_of, frontier_of
from pnag.report.page import names_of
from pnag.report.published import (
    Published,
    PublishedArchitecture,
    PublishedNetwork,
    read_published,
)
from pnag.report.samples import Trace, read_traces
from pnag.results import MeasuredNetwork, read_measured
from pnag.runs.config import read_config
from pnag.runs.inputs import LATENCY_FILE, TABULAR_FILE
from pnag.runs.run import Run, load_run
from pnag.runs.verification import read_verification
from pnag.search.archive import Archive
from pnag.search.frontier import Frontier, FrontierPoint
from predictors.base import Floats
from predictors.latency.calibration import MIN_NETWORKS, left_out_latencies_ms, usable_networks
from predictors.latency.lookup import calibration_of, network_cost, table_latency
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.measuring.journal import journal_path
from profiler.spaces.networks import distinct_ops
from profiler.tables.levels import Statistic
from profiler.tables.table import Calibration, LatencyTable, load_table
from profiler.terminal import Terminal

N_SAMPLED = 1000  # of the archive, in the cloud; the slider redraws them at every step


@dataclass(frozen=True)
class Check:
    """One network measured and predicted; `fitted` if the calibration has seen it, and what is
    predicted is then of a calibration that has not."""

    arch: str
    predicted_ms: float
    measured_ms: float
    ci95_ms: tuple[float, float] | None
    verdict: str
    fitted: bool


@dataclass(frozen=True)
class Sources:
    """Files beside the run, where there are any; None lets the report look for a journal."""

    measured: Sequence[Path] = ()
    published: Sequence[Path] = ()
    journal: Path | None = None


@dataclass(frozen=True)
class Contents:
    """A run and everything known about it.

    Attributes:
        sampled: (latency_ms, top1) of architectures that training evaluated, [n] each.
        baselines: frontiers of other searches at as many evaluations, by name.
        published: on this device, or of this space and predicted here.
        elsewhere: published networks by the device that they were measured on.
        traces: raw samples by op key or architecture; empty without a journal.
        beside: this run, then those that it is compared with.
    """

    run: Run
    config: dict[str, Any]
    table: LatencyTable | None
    choices: tuple[Choice, ...]
    sampled: tuple[Floats, Floats]
    baselines: dict[str, Frontier]
    published: tuple[PublishedNetwork, ...] = ()
    elsewhere: dict[str, tuple[PublishedNetwork, ...]] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    traces: dict[str, list[Trace]] = field(default_factory=dict)
    beside: tuple[RunBeside, ...] = ()

    @cached_property
    def calibration(self) -> Calibration | None:
        return calibration_of(self.table) if self.table else None

    @property
    def generated(self) -> Frontier:
        return frontier_of(self.choices)

    @property
    def title(self) -> str:
        if self.table:
            of = "" if self.table.statistic is Statistic.LATENCY else f", {self.table.statistic}"
            return f"{self.table.space} on {self.table.device.model}{of}"
        return Path(self.config["inputs"][TABULAR_FILE]["source"]).name


def gather(
    folder: Path,
    sources: Sources,
    terminal: Terminal,
    others: Sequence[Path] = (),
    *,
    n_budgets: int = N_BUDGETS,
    seed: int = 0,
) -> Contents:
    """Everything a report of the run in `folder` shows, with `others` beside it.

    Raises:
        InvalidInputError: no finished run, or a file in `sources` that does not go with it.
    """
    run = load_run(folder, verified=False)
    config = read_config(folder)
    path = folder / LATENCY_FILE
    table = load_table(path) if path.exists() else None
    if table is None and (sources.measured or sources.journal):
        raise InvalidInputError(f"{folder} has no latency table; nothing was measured for it")
    if sources.measured and table and table.statistic is not Statistic.LATENCY:
        raise InvalidInputError(f"{folder} is of {table.statistic}; --measured holds latencies")
    measured = _kept(folder) if table else []
    measured += (
        [n for f in sources.measured for n in read_measured(f, table.device)] if table else []
    )
    space = run.problem.space
    published = [entry for f in sources.published for entry in read_published(f, space)]
    here, elsewhere = _placed(run, published, table)
    traces = _traces(table, config, sources.journal, terminal)
    with terminal.progress("Report", total=3 + len(others)) as progress:
        choices = tuple(choices_of(run, measured, n_budgets=n_budgets, seed=seed))
        progress.advance(note="searching by baselines")
        baselines = _baselines(run, seed)
        progress.advance(note="predicting what was measured")
        checks = tuple(_checks(run, table, measured))
        progress.advance()
        first, *names = names_of([folder, *others])
        beside = [RunBeside(first, run, table, choices)]
        for other, name in zip(others, names, strict=True):
            beside.append(read_beside(other, name, n_budgets=n_budgets, seed=seed))
            progress.advance(note=name)
    return Contents(
        run=run,
        config=config,
        table=table,
        choices=choices,
        sampled=_sampled(run, seed),
        baselines=baselines,
        published=here,
        elsewhere=elsewhere,
        checks=checks,
        traces=traces,
        beside=tuple(beside),
    )


def waiting_ms(table: LatencyTable, calibration: Calibration | None, ops: Sequence[Op]) -> float:
    """What a network takes beyond its ops and the constant, where launches are slower."""
    cost = network_cost(table_latency(table), calibration)
    return cost(ops) - cost.sums[-1](ops)


def op_latencies_ms(table: LatencyTable, calibration: Calibration | None) -> dict[str, float]:
    """What each op of the table's space adds to c(α), by key."""
    by_table = network_cost(table_latency(table), calibration).sums[-1]
    ops = distinct_ops(table.search_space, batch_size=table.device.batch_size)
    return {key: by_table.op_cost(op) for key, op in ops.items()}


# --- Parts ---------------------------------------------------------------------------------


def _kept(folder: Path) -> list[MeasuredNetwork]:
    """What a verification has measured on the device of the run's table."""
    kept = read_verification(folder)
    if kept is None or not kept.same_device:
        return []
    budgets: dict[str, list[float | None]] = {network.arch: [] for network in kept.networks}
    for pick in kept.picks:
        budgets[pick.arch].append(pick.budget_ms)
    return [
        MeasuredNetwork(n.arch, n.latency_ms, n.ci95_ms, n.verdict.value, budget_ms)
        for n in kept.networks
        for budget_ms in budgets[n.arch] or [None]
    ]


def _sampled(run: Run, seed: int) -> tuple[Floats, Floats]:
    cost_ms = np.concatenate([learner.archive.cost_ms for learner in run.learners])
    top1 = np.concatenate([learner.archive.top1 for learner in run.learners])
    kept = np.random.default_rng(seed).permutation(len(cost_ms))[:N_SAMPLED]
    return cost_ms[kept], top1[kept]


def _baselines(run: Run, seed: int) -> dict[str, Frontier]:
    """Searches that get as many evaluations as the run had."""
    n, rng = run.n_evaluated, np.random.default_rng(seed)
    low, high = run.reachable_ms
    n_budgets = min(run.settings.n_budgets, n)
    budgets_ms = low + (high - low) * (np.arange(n_budgets) + 1) / n_budgets
    return {
        "random search": _frontier(run, random_search(run.problem, n, rng)),
        "evolution": _frontier(run, regularised_evolution(run.problem, budgets_ms, n, rng)),
    }


def _frontier(run: Run, archive: Archive) -> Frontier:
    (first,) = archive.fronts(1)
    return Frontier.of(
        FrontierPoint(run.problem.space.format(tokens), float(latency), float(top1))
        for tokens, latency, top1 in zip(
            archive.tokens[first], archive.cost_ms[first], archive.top1[first], strict=True
        )
    )


def _placed(
    run: Run, published: Sequence[Published], table: LatencyTable | None
) -> tuple[tuple[PublishedNetwork, ...], dict[str, tuple[PublishedNetwork, ...]]]:
    """Published networks that this device's latencies can stand beside, and the others."""
    model = table.device.model if table else None
    here: list[PublishedNetwork] = []
    elsewhere: dict[str, list[PublishedNetwork]] = {}
    for entry in published:
        if isinstance(entry, PublishedArchitecture):
            latency_ms = float(run.problem.cost(run.problem.space.parse(entry.arch)[None])[0])
            here.append(PublishedNetwork(entry.arch, latency_ms, entry.top1, "predicted here"))
        elif entry.device == model:
            here.append(entry)
        else:
            elsewhere.setdefault(entry.device, []).append(entry)
    return tuple(here), {device: tuple(networks) for device, networks in elsewhere.items()}


def _checks(
    run: Run, table: LatencyTable | None, measured: Sequence[MeasuredNetwork]
) -> Iterable[Check]:
    """Networks that were measured after the run, and those of its table, each predicted by what
    has not seen it."""
    if table is None:
        return
    left_out_ms = {}
    if len(usable_networks(table)) >= MIN_NETWORKS:
        left_out_ms = left_out_latencies_ms(table, table_latency(table))
    once = {network.arch: network for network in measured}.values()
    rows = [(n.arch, n.latency_ms, n.ci95_ms, n.verdict, False) for n in once]
    rows += [(n.arch, n.latency_ms, n.ci95_ms, n.verdict.value, True) for n in table.networks]
    space = run.problem.space
    for arch, latency_ms, ci95_ms, verdict, fitted in rows:
        predicted_ms = left_out_ms.get(arch) if fitted else None
        if predicted_ms is None:
            predicted_ms = float(run.problem.cost(space.parse(arch)[None])[0])
        yield Check(arch, predicted_ms, latency_ms, ci95_ms, verdict, fitted)


def _traces(
    table: LatencyTable | None, config: dict[str, Any], given: Path | None, terminal: Terminal
) -> dict[str, list[Trace]]:
    """Of the journal given, else of the one beside the table that the run was trained from."""
    if table is None:
        return {}
    if given is not None:
        return read_traces(given, table.device)
    path = journal_path(Path(config["inputs"][LATENCY_FILE]["source"]))
    if not path.is_file():
        terminal.note(f"no journal at {path}: the report has no raw samples (--journal FILE)")
        return {}
    try:
        return read_traces(path, table.device)
    except InvalidInputError as error:
        terminal.note(f"the report has no raw samples: {error}")
        return {}
