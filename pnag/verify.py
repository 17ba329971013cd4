"""Closed loop: measure the top candidates, correct the calibration, pick again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pnag.generate import DEFAULT_SAMPLES, generate_each
from pnag.generated import GeneratedArchitecture, Origin, described, refuse_unmet
from pnag.runs.inputs import LATENCY_FILE
from pnag.runs.run import Run
from pnag.runs.verification import KeptVerification, VerifiedPick
from pnag.search.archive import Archive
from pnag.search.bounds import BoundedCost, Bounds, bounded_costs, bounds_of_each
from pnag.search.problem import Problem
from predictors.base import Floats
from predictors.latency.calibration import MIN_NETWORKS, usable_networks
from predictors.latency.lookup import calibrated, calibration_of, cost_from_table
from profiler.devices.base import DeviceInfo
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.measuring.follow_up import FollowUpSweep, same_device
from profiler.measuring.session import Session
from profiler.tables.levels import Statistic
from profiler.tables.sessions import SessionLevel
from profiler.tables.table import Calibration, LatencyTable, NetworkEntry, load_table
from profiler.terminal import Terminal

DRAWS_PER_CANDIDATE = 4  # since many draws of one budget end at the same architecture


@dataclass(frozen=True)
class Request:
    """What is asked for, as of `Run.generate`, and how many candidates a budget gets.

    Attributes:
        device_options: for the device that measures, as a phone's `benchmark_binary`.
    """

    budgets_ms: Sequence[float]
    n_candidates: int = 3
    n_samples: int = DEFAULT_SAMPLES
    confidence: float | None = None
    bounds: Bounds | Sequence[Bounds] = field(default_factory=dict)
    seed: int = 0
    device_options: Mapping[str, Any] | None = None
    pure: bool = False

    def __iter__(self) -> Iterator[tuple[float, Bounds]]:
        """Each budget with its further bounds."""
        return zip(self.budgets_ms, bounds_of_each(self.bounds, len(self.budgets_ms)), strict=True)


@dataclass(frozen=True)
class Candidate:
    """One measured architecture, as it was predicted before and after the correction."""

    arch: str
    top1: float
    predicted_before_ms: float
    predicted_ms: float
    measured: NetworkEntry


@dataclass(frozen=True)
class VerifiedArchitecture:
    """The pick of one budget.

    Attributes:
        picked: by the corrected cost; feasible if cost and measurement are in the budget.
        first: what was picked before anything was measured.
        candidates: what was measured for this budget, `first` at the head.
    """

    picked: GeneratedArchitecture
    measured: NetworkEntry
    first: GeneratedArchitecture
    candidates: tuple[Candidate, ...]

    @property
    def changed(self) -> bool:
        return self.picked.arch != self.first.arch


@dataclass(frozen=True)
class Verification:
    """All budgets, and what measuring did to the calibration.

    Attributes:
        same_device: whether it is the table's; if not, the table's networks play no part.
        error_before_pct: mean |measured / predicted - 1| of the candidates, before.
        before, after: calibrations; `after` is None with too few networks to fit one.
        networks: all that was measured. sessions: those in which it was.
    """

    device: DeviceInfo
    same_device: bool
    rows: tuple[VerifiedArchitecture, ...]
    n_measured: int
    error_before_pct: float
    before: Calibration | None
    after: Calibration | None
    networks: tuple[NetworkEntry, ...] = ()
    sessions: tuple[SessionLevel, ...] = ()


def generate_verified(
    run: Run, table: LatencyTable, spec: str, request: Request, terminal: Terminal,
    earlier: KeptVerification | None = None,
) -> Verification:  # fmt: skip
    """Measure the candidates of each budget on `spec`, refit c(α), and pick among what holds.

    The corrected cost proposes once more; what it proposes is measured too. A pick then is
    the most accurate architecture measured within the budget and within it by the corrected
    cost: choosing by the measurement alone would favour those that happened to read low.

    Args:
        table: of the run, as `table_to_verify` gives it.
        earlier: what the run keeps; on the same device the correction is of that, too.

    Raises:
        InfeasibleBudgetError: nothing fits a budget by the cost that the run was trained on.
        DeviceUnavailableError: the device is absent, locked, or not quiescent.
        MeasurementError: a network could not be measured.
    """
    with Session.as_measured(table, spec, terminal, request.device_options) as session:
        return _verified(_Loop(run, table, session, request, earlier))


def _verified(loop: _Loop) -> Verification:
    run, table = loop.run, loop.table
    shortlists = loop.shortlists()
    loop.measure(made.arch for shortlist in shortlists for made in shortlist)
    error_before_pct = error_pct(run.problem, list(loop.entries.values()))
    corrected = loop.corrected()
    problem = run.problem
    if corrected is not None:
        problem = replace(problem, cost=cost_from_table(corrected))
        for shortlist, again in zip(shortlists, loop.propose(problem), strict=True):
            shortlist += [made for made in again if made.arch not in {m.arch for m in shortlist}]
        loop.measure(made.arch for shortlist in shortlists for made in shortlist)
    else:
        loop.session.terminal.note(
            f"fewer than {MIN_NETWORKS} networks; the calibration stays as it was"
        )
    return Verification(
        device=loop.session.info,
        same_device=loop.same,
        rows=tuple(loop.verified(problem, shortlist) for shortlist in shortlists),
        n_measured=len(loop.entries),
        error_before_pct=error_before_pct,
        before=calibration_of(table),
        after=corrected.calibration if corrected else None,
        networks=tuple(loop.entries.values()),
        sessions=tuple(loop.sessions),
    )


def table_to_verify(folder: Path, earlier: KeptVerification | None) -> LatencyTable:
    """The table of the run in `folder`, with the networks that earlier measuring added on its
    device, and the sessions in which it did.

    Raises:
        InvalidInputError: the run is of another statistic than what a verification measures.
    """
    table = load_table(folder / LATENCY_FILE)
    refuse_other_statistic(table.statistic, folder)
    if earlier is None or not earlier.same_device:
        return table
    return _with_measured(table, earlier.networks, earlier.sessions)


def _with_measured(
    table: LatencyTable, networks: Sequence[NetworkEntry], sessions: Sequence[SessionLevel]
) -> LatencyTable:
    """The table with what was measured later, in place of what it has of the same networks."""
    measured = {network.arch for network in networks}
    others = (network for network in table.networks if network.arch not in measured)
    update = {"networks": (*others, *networks), "sessions": (*table.sessions, *sessions)}
    return table.model_copy(update=update)


def refuse_other_statistic(statistic: str, whose: Path) -> None:
    """Raises InvalidInputError: it is not what a measurement afterwards is of."""
    if statistic != Statistic.LATENCY:
        raise InvalidInputError(
            f"{whose} is of the statistic {statistic}; --verify-on and --refine-on measure "
            "latencies, which are not that"
        )


def measured_picks(
    session: Session, table: LatencyTable, archs: Sequence[str], **settings: Any
) -> FollowUpSweep:
    """`Session.follow_up` of networks that a search picked, which are marked as that."""
    found = session.follow_up(table, archs, **settings)
    picked = [entry.model_copy(update={"picked": True}) for entry in found.networks]
    return replace(found, networks=picked)


def measured_on(
    device: DeviceInfo, table: LatencyTable, earlier: KeptVerification | None
) -> LatencyTable:
    """The table with the networks and sessions that there are of `device`: the table's own, or on
    another device than its own those that an earlier measurement had there.
    """
    if same_device(device, table.device):
        return table
    bare = table.model_copy(update={"networks": (), "sessions": ()})
    if earlier is None or not earlier.is_of(device):
        return bare
    return _with_measured(bare, earlier.networks, earlier.sessions)


def recalibrated(
    measured: LatencyTable, networks: Sequence[NetworkEntry], sessions: Sequence[SessionLevel]
) -> LatencyTable | None:
    """What `measured_on` gives, calibrated with networks measured now; None with too few."""
    found = _with_measured(measured, networks, sessions)
    return calibrated(found) if len(usable_networks(found)) >= MIN_NETWORKS else None


def error_pct(problem: Problem, measured: Sequence[NetworkEntry]) -> float:
    """Mean absolute error of a cost on what was measured."""
    predicted_ms = _costs_ms(problem, [entry.arch for entry in measured])
    measured_ms = np.array([entry.latency_ms for entry in measured])
    return float(100 * np.mean(np.abs(measured_ms / predicted_ms - 1)))


def _costs_ms(problem: Problem, archs: Sequence[str]) -> Floats:
    return problem.cost(np.stack([problem.space.parse(arch) for arch in archs]))


def to_keep(verification: Verification, request: Request, folder: Path) -> KeptVerification:
    """What the run in `folder` keeps of a verification; only what held is a pick."""
    picks = [
        VerifiedPick(
            budget_ms=row.picked.budget_ms, confidence=request.confidence,
            bounds=dict(row.picked.bounds), pure=request.pure, arch=row.picked.arch,
            origin=row.picked.origin,
        )
        for row in verification.rows
        if row.picked.feasible
    ]  # fmt: skip
    return KeptVerification.of(
        folder, verification.device, same_device=verification.same_device,
        calibration=verification.after, networks=verification.networks,
        sessions=verification.sessions, picks=picks,
    )  # fmt: skip


class _Loop:
    """One verification while it goes on; `entries` holds what was measured, by architecture."""

    def __init__(
        self, run: Run, table: LatencyTable, session: Session, request: Request,
        earlier: KeptVerification | None,
    ) -> None:  # fmt: skip
        self.run, self.table, self.session, self.earlier = run, table, session, earlier
        self.same = same_device(session.info, table.device)
        self.entries: dict[str, NetworkEntry] = {}
        self.sessions: list[SessionLevel] = []
        self._origins: dict[str, Origin] = {}
        self._request = request

    def shortlists(self) -> list[list[GeneratedArchitecture]]:
        """By budget: the pick of `Run.generate`, then the most accurate of further draws."""
        request = self._request
        firsts = self._generate(
            self.run.problem, list(request), request.seed, self._known(self.run.problem)
        )
        n_draws = DRAWS_PER_CANDIDATE * (request.n_candidates - 1)
        shortlists = []
        for first in firsts:
            again = [(first.budget_ms, first.bounds)] * n_draws
            draws = self._generate(self.run.problem, again, request.seed + 1)
            others = {made.arch: made for made in draws if made.arch != first.arch}
            best = sorted(others.values(), key=lambda made: -made.top1)
            shortlists.append([first, *best[: request.n_candidates - 1]])
        return shortlists

    def propose(self, problem: Problem) -> list[list[GeneratedArchitecture]]:
        """By budget, the pick of another cost, if anything fits by it."""
        proposals, known = [], self._known(problem)
        for asked in self._request:
            try:
                proposals.append(self._generate(problem, [asked], self._request.seed, known))
            except (InfeasibleBudgetError, InvalidInputError) as error:
                self.session.terminal.note(f"by the corrected cost, {error}")
                proposals.append([])
        return proposals

    def _known(self, problem: Problem) -> Archive | None:
        return None if self._request.pure else self.run.known_under(problem.cost)

    def _generate(
        self,
        problem: Problem,
        asked: Sequence[tuple[float, Bounds]],
        seed: int,
        known: Archive | None = None,
    ) -> list[GeneratedArchitecture]:
        request = self._request
        made = refuse_unmet(
            generate_each(
                problem, self.run.learners, [budget_ms for budget_ms, _ in asked],
                n_samples=request.n_samples, confidence=request.confidence,
                bounds=[bounds for _, bounds in asked], known=known, seed=seed,
            )
        )  # fmt: skip
        self._origins = {one.arch: one.origin for one in made} | self._origins
        return made

    def measure(self, archs: Iterable[str]) -> None:
        """Measure what is new among the architectures."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self.entries]
        if not new:
            return
        found = measured_picks(self.session, self.table, new, seed=self._request.seed)
        self.entries |= {entry.arch: entry for entry in found.networks}
        self.sessions += found.sessions

    def corrected(self) -> LatencyTable | None:
        """The table, calibrated with what was measured; None with too few networks."""
        measured = measured_on(self.session.info, self.table, self.earlier)
        return recalibrated(measured, list(self.entries.values()), self.sessions)

    def verified(
        self, problem: Problem, shortlist: Sequence[GeneratedArchitecture]
    ) -> VerifiedArchitecture:
        """The pick among all that was measured, for whichever budget."""
        first, archs = shortlist[0], [made.arch for made in shortlist]
        every = self._described(problem, first, list(self.entries))
        fitting = [made for made in every if made.feasible]
        if fitting:
            picked = max(fitting, key=lambda made: made.top1)
        else:
            own = [made for made in every if made.arch in archs]
            picked = min(own, key=lambda made: self.entries[made.arch].latency_ms)
        before, after = _costs_ms(self.run.problem, archs), _costs_ms(problem, archs)
        candidates = tuple(
            Candidate(made.arch, made.top1, float(then), float(now), self.entries[made.arch])
            for made, then, now in zip(shortlist, before, after, strict=True)
        )
        picked = replace(
            picked, generation_ms=first.generation_ms, origin=self._origins[picked.arch]
        )
        return VerifiedArchitecture(picked, self.entries[picked.arch], first, candidates)

    def _described(
        self, problem: Problem, asked: GeneratedArchitecture, archs: Sequence[str]
    ) -> list[GeneratedArchitecture]:
        """Under the bounds that `asked` was made for; feasible by cost and measurement."""
        tokens = np.stack([problem.space.parse(arch) for arch in archs])
        return [
            replace(
                made,
                feasible=made.feasible and self.entries[made.arch].latency_ms <= asked.budget_ms,
            )
            for made in described(problem, self._bounded(problem, asked, len(archs)), tokens)
        ]

    def _bounded(
        self, problem: Problem, asked: GeneratedArchitecture, n: int
    ) -> tuple[BoundedCost, ...]:
        """With the confidence asked for; with too few networks for it, by the run's cost."""
        budgets_ms, confidence = [asked.budget_ms] * n, self._request.confidence
        try:
            return bounded_costs(problem, budgets_ms, asked.bounds, confidence)
        except InvalidInputError:
            own = bounded_costs(self.run.problem, budgets_ms, asked.bounds, confidence)
            return (replace(own[0], cost=problem.cost), *own[1:])
