"""A training run: made, kept in a directory, resumed, and asked for architectures."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pnag.generate import DEFAULT_SAMPLES, generate_each
from pnag.generated import GeneratedArchitecture, UnmetBudget, refuse_unmet
from pnag.learning.evaluator import kendall_tau
from pnag.learning.rewards import reward_named
from pnag.learning.settings import TrainSettings
from pnag.learning.threads import one_thread
from pnag.learning.train import Learner, new_learners, run_round, steps_per_round
from pnag.runs.config import (
    CONFIG_FILE,
    SCHEMA,
    cost_name_of,
    hashes_of,
    read_config,
    settings_of,
    write_config,
)
from pnag.runs.inputs import LATENCY_FILE, Inputs, inputs_of_run
from pnag.runs.learner_files import (
    drop_checkpoint,
    load_checkpoint,
    load_finished,
    save_checkpoint,
    save_finished,
)
from pnag.runs.metrics_log import MetricsLog
from pnag.runs.verification import KeptVerification, read_verification
from pnag.search.archive import Archive
from pnag.search.bounds import NO_BOUNDS, Bounds
from pnag.search.budget import budgets_at
from pnag.search.frontier import Frontier, FrontierPoint
from pnag.search.problem import Problem
from pnag.tracking import Tracked, Tracking, open_tracking, require_trackers
from predictors.base import CostFunction
from profiler.cost_columns import column_of_cost
from profiler.errors import InvalidInputError
from profiler.system.atomic import write_text_atomic
from profiler.system.lock import device_lock
from profiler.system.stamp import now
from profiler.system.user_files import read_json
from profiler.tables.table import load_table
from profiler.terminal import SILENT, Terminal

FRONTIER_BUDGETS = 50
HELD_OUT = 500  # fresh architectures that the evaluator is judged on


@dataclass
class Run:
    """A trained generator with the problem it was trained for."""

    problem: Problem
    settings: TrainSettings
    learners: list[Learner]
    folder: Path | None = None
    verification: KeptVerification | None = None

    @cached_property
    def corrected(self) -> Problem:
        """The problem with c(α) as verification left it; without one, as it was trained on."""
        if self.verification is None or self.folder is None:
            return self.problem
        table = load_table(self.folder / LATENCY_FILE)
        return replace(self.problem, cost=self.verification.cost(table))

    @property
    def reachable_ms(self) -> tuple[float, float]:
        """Cost of the cheapest and of the dearest architecture."""
        return self.corrected.reachable_ms

    @property
    def n_evaluated(self) -> int:
        """Accuracies that training asked for: fewer than allowed where a space has no more."""
        return sum(len(learner.archive) for learner in self.learners)

    @cached_property
    def known(self) -> Archive:
        """Every architecture that training evaluated."""
        return self.known_under(self.corrected.cost)

    def known_under(self, cost: CostFunction) -> Archive:
        """The same at their costs by another cost function."""
        return Archive.joined((learner.archive for learner in self.learners), cost)

    def generate(
        self, budgets_ms: Sequence[float], *, n_samples: int = DEFAULT_SAMPLES,
        confidence: float | None = None, bounds: Bounds | Sequence[Bounds] = NO_BOUNDS,
        pure: bool = False, seed: int = 0,
    ) -> list[GeneratedArchitecture]:  # fmt: skip
        """One architecture per budget; see `pnag.generate.generate_each`.

        What training evaluated is known, unless the generator is wanted `pure`.

        Raises:
            InfeasibleBudgetError: nothing fits a budget; says which range is reachable.
            InvalidInputError: no interval for `confidence`, or a bound on a cost that there is not.
        """
        return refuse_unmet(
            self.generate_each(
                budgets_ms, n_samples=n_samples, confidence=confidence, bounds=bounds, pure=pure,
                seed=seed,
            )
        )  # fmt: skip

    def generate_each(
        self, budgets_ms: Sequence[float], *, n_samples: int = DEFAULT_SAMPLES,
        confidence: float | None = None, bounds: Bounds | Sequence[Bounds] = NO_BOUNDS,
        pure: bool = False, seed: int = 0,
    ) -> list[GeneratedArchitecture | UnmetBudget]:  # fmt: skip
        """The same, where a budget that nothing fits leaves the others as they are.

        A budget that was verified has its verified architecture, as long as that holds.
        """
        made = generate_each(
            self.corrected, self.learners, budgets_ms,
            n_samples=n_samples, confidence=confidence, bounds=bounds,
            known=None if pure else self.known, seed=seed,
        )  # fmt: skip
        if self.verification is None:
            return made
        return self.verification.in_place_of(made, self.corrected, confidence, pure=pure)

    def frontier(self, n_budgets: int = FRONTIER_BUDGETS) -> Frontier:
        """Non-dominated architectures generated for evenly spread budgets.

        Under the fit of a cost that is not additive, decoding may not come upon the cheapest.
        """
        budgets_ms = np.linspace(*self.reachable_ms, n_budgets).tolist()
        each = self.generate_each(budgets_ms, pure=True)
        made = [one for one in each if isinstance(one, GeneratedArchitecture)]
        return Frontier.of(
            FrontierPoint(m.arch, m.latency_ms, m.top1, m.interval_ms, m.top1_interval)
            for m in made
        )

    @one_thread()
    def evaluator_taus(self, *, seed: int = 1) -> list[float]:
        """Kendall's τ of the evaluator on fresh architectures, for each embedded budget.

        A budget under which the reward holds all of them equal has no order, and no τ.
        """
        rng = np.random.default_rng([seed, self.settings.seed])
        budgets_ms = budgets_at(*self.reachable_ms, rng.random(HELD_OUT))
        tokens = self.problem.sample_within(budgets_ms, rng)
        top1, cost_ms = self.problem.accuracy.top1(tokens), self.problem.cost(tokens)
        rank = reward_named(self.settings.reward)
        taus = []
        for learner in self.learners:
            for budget_ms in learner.grid.anchors_ms.tolist():
                ranks = rank(top1, cost_ms, budget_ms)
                if np.ptp(ranks):
                    repeated = np.full(len(tokens), budget_ms)
                    scores = learner.evaluator.score_pairs(tokens, cost_ms, repeated)
                    taus.append(kendall_tau(scores, ranks))
        return taus


@one_thread()
def train_run(
    inputs: Inputs | Problem,
    settings: TrainSettings | None = None,
    folder: Path | None = None,
    *,
    resume: bool = False,
    trackers: Sequence[str] = (),
    terminal: Terminal = SILENT,
) -> Run:
    """Train evaluator and generator; with `folder`, keep everything there.

    `trackers`: names of `pnag.tracking.TRACKERS` that get metrics and tables of the folder, too.

    Interrupted, it keeps the rounds that are complete; `resume` goes on from there, and ends
    like a run that was never interrupted. A finished run is returned as it is.

    Raises:
        DeviceUnavailableError: another process trains in `folder`.
        InvalidInputError: `folder` holds a run of other settings or inputs, or all
            architectures have the same latency.
    """
    settings = settings or TrainSettings()
    require_trackers(trackers)
    with device_lock(f"run {folder.resolve()}") if folder else nullcontext():
        return _train(inputs, settings, folder, trackers, resume=resume, terminal=terminal)


def _train(
    inputs: Inputs | Problem, settings: TrainSettings, folder: Path | None,
    trackers: Sequence[str], *, resume: bool, terminal: Terminal,
) -> Run:  # fmt: skip
    problem = inputs if isinstance(inputs, Problem) else inputs.problem
    low_ms, high_ms = problem.reachable_ms
    if not low_ms < high_ms:
        raise InvalidInputError(
            f"every architecture takes {low_ms:g} ms: no latency to trade for accuracy"
        )
    learners, finished = new_learners(problem, settings), False
    if folder is not None:
        _begin(folder, inputs, settings, resume=resume)
        finished = "finished" in read_config(folder)
        load = load_finished if finished else load_checkpoint
        learners = load(folder, problem, settings)
    run = Run(problem, settings, learners, folder)
    if finished and not trackers:
        return run
    log = MetricsLog(folder, learners)
    tracked = (
        Tracked(folder, settings.to_json(), log.n_rounds + 1, log.past_rounds()) if folder else None
    )
    with open_tracking(trackers, tracked, terminal) as tracking:
        if not finished:
            _train_rounds(problem, learners, settings, folder, log, tracking, terminal)
            if folder is not None:
                _finish(run, folder)
        if trackers and folder is not None:
            tracking.log(judged(folder), log.n_rounds)
            tracking.keep_tables(folder)
    return run


def _train_rounds(
    problem: Problem, learners: list[Learner], settings: TrainSettings, folder: Path | None,
    log: MetricsLog, tracking: Tracking, terminal: Terminal,
) -> None:  # fmt: skip
    """What is left of all learners' rounds."""
    left = sum(settings.rounds - learner.rounds_done for learner in learners)
    with terminal.progress("Training", left * steps_per_round(settings)) as progress:
        for index, learner in enumerate(learners):
            share = settings.n_evaluations // settings.n_learners
            while learner.rounds_done < settings.rounds:
                due = share * (learner.rounds_done + 1) // settings.rounds
                n_new = due - len(learner.archive)
                for metrics in run_round(problem, learner, settings, n_new):
                    log.add(metrics)
                    progress.advance(
                        1, note=f"round {learner.rounds_done + 1} of {settings.rounds}"
                    )
                tracking.log(log.end_round(index, learner), log.n_rounds)
                if folder is not None:
                    save_checkpoint(folder, learners)


def load_run(folder: Path, problem: Problem | None = None, *, verified: bool = True) -> Run:
    """Open a finished run; `problem` only if it was trained on one without files.

    What was verified is used, unless the run is wanted as it was trained.

    Raises:
        InvalidInputError: no run, an unfinished one, or damaged or changed files.
    """
    config = read_config(folder)
    if "finished" not in config:
        raise InvalidInputError(
            f"{folder} is unfinished; go on with pnag train --resume --out {folder}"
        )
    settings = settings_of(folder, config)
    if problem is None:
        hashes = hashes_of(config)
        inputs = inputs_of_run(folder, hashes, cost_name_of(config))
        for file in inputs.files:
            if hashes.get(file.name) != file.to_json()["sha256"]:
                raise InvalidInputError(f"{folder / file.name} is not the file it was trained from")
        problem = inputs.problem
    kept = read_verification(folder) if verified else None
    run = Run(problem, settings, load_finished(folder, problem, settings), folder, kept)
    run.generate([run.reachable_ms[1]])  # the first use builds tables and imports modules
    return run


def settings_of_run(folder: Path) -> TrainSettings:
    """Settings of a run, finished or not."""
    return settings_of(folder, read_config(folder))


# --- The directory -------------------------------------------------------------------------


def _begin(
    folder: Path, inputs: Inputs | Problem, settings: TrainSettings, *, resume: bool
) -> None:
    """Write config and inputs of a new run, or check those of the one to resume."""
    files = () if isinstance(inputs, Problem) else inputs.files
    described = {file.name: file.to_json() for file in files}
    if (folder / CONFIG_FILE).exists():
        config = read_config(folder)
        if not resume:
            raise InvalidInputError(f"{folder} holds a run already; --resume or another --out")
        same_inputs = hashes_of(config) == hashes_of({"inputs": described})
        if settings_of(folder, config) != settings or not same_inputs:
            raise InvalidInputError(f"{folder} was begun with other settings or inputs")
        return
    if not isinstance(inputs, Problem):
        inputs.save(folder)
    problem = inputs if isinstance(inputs, Problem) else inputs.problem
    low, high = problem.reachable_ms
    config = {
        "schema": SCHEMA,
        "space": problem.space.name,
        "cost_name": problem.cost_name,
        "settings": settings.to_json(),
        "inputs": described,
        "reachable_ms": [low, high],
        "versions": {name: version(name) for name in ("pnag", "numpy", "torch")}
        | {"python": platform.python_version()},
        "created": now(),
    }
    write_config(folder, config)


def _finish(run: Run, folder: Path) -> None:
    """Write weights, frontier and its plot, then `finished` in the config."""
    from pnag.plots import frontier_plot

    save_finished(folder, run.learners)
    frontier = run.frontier()
    points = frontier_rows(run.problem, frontier)
    worst_ms, worst_top1 = run.problem.reference_point
    document = {
        "schema": "pnag.frontier/1",
        "space": run.problem.space.name,
        "reference_point": {"latency_ms": worst_ms, "top1": worst_top1},
        "hypervolume": frontier.hypervolume(worst_latency_ms=worst_ms, worst_top1=worst_top1),
        "points": points,
    }
    write_text_atomic(folder / "frontier.json", json.dumps(document, indent=1) + "\n")
    text = io.StringIO()
    columns = [name for name in points[0] if name not in ("interval_ms", "top1_interval")]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    write_text_atomic(folder / "frontier.csv", text.getvalue())
    archive = run.learners[0].archive
    frontier_plot(
        [folder / "frontier.svg", folder / "frontier.png"],
        {"generated": frontier},
        cloud=(archive.cost_ms, archive.top1),
    )
    config = read_config(folder)
    config["evaluator_kendall_tau"] = run.evaluator_taus()
    config["finished"] = now()
    write_config(folder, config)
    drop_checkpoint(folder)


def frontier_rows(problem: Problem, frontier: Frontier) -> list[dict[str, Any]]:
    """Its points with intervals and further costs, in columns that end in the unit."""
    rows: list[dict[str, Any]] = [asdict(point) for point in frontier]
    tokens = np.stack([problem.space.parse(row["arch"]) for row in rows])
    for name, cost in problem.further.items():
        column = column_of_cost(name, cost.unit)
        for row, value in zip(rows, cost(tokens).tolist(), strict=True):
            row[column] = value
    return rows


def judged(folder: Path) -> dict[str, float]:
    """What a finished run says of itself, as metrics.

    Raises:
        InvalidInputError: unreadable or damaged files.
    """
    path = folder / "frontier.json"
    frontier = read_json(path, allow_nan=False)
    hypervolume = frontier.get("hypervolume") if isinstance(frontier, dict) else None
    if not isinstance(hypervolume, int | float):
        raise InvalidInputError(f"{path} is damaged: it has no hypervolume")
    taus = read_config(folder).get("evaluator_kendall_tau") or ()
    least = {"least_kendall_tau": min(taus)} if taus else {}
    return {"hypervolume": float(hypervolume)} | least
