"""Latency of any network from a table of kernels.

    latency(network) = intercept + per_kernel · n + factor · Σ_n law(kernel) · exp(residual(kernel))

The law of each kind of kernel is physical (kernel_work.py): non-negative costs of the work, fitted
by relative error to what each kernel took within the measured networks and alone. What it leaves
is learned by a Gaussian process (residual.py) where a kind was met often enough. A kernel alone
finds its data in the caches: how much that gains is one factor by kind. So does a call of a short
network, which is there again before others have used them: it costs the more the longer its network
takes. The rest is fitted to whole networks, and the interval comes from families that the fit had
not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from predictors.base import Floats
from predictors.intervals import conformal_quantiles, interval_ms, supported_half_width
from predictors.latency.kernel_law import LawFit, Observation
from predictors.latency.kernel_work import LATE, Work, called_again, lateness, work
from predictors.latency.residual import Residual, fit_residual
from predictors.threads import one_thread
from profiler.errors import InvalidInputError
from profiler.models.kernel import Kernel, parse_kernel
from profiler.spaces import chains
from profiler.tables.table import Calibration, LatencyTable, NetworkEntry, Verdict

MOVED = "(moved elements)"  # the law of a kind that was never measured
FOLDS = 5  # of families, for the interval
MIN_NETWORKS = 10
LEAST_SHARE = 0.75  # of the kernels' sum: what a short network takes at least
STIFFNESS = 0.01  # of what a line adds: networks of one length do not tell its parts apart
MIN_RESIDUAL = 12  # observations of a kind
MAIN_SHARE = 0.8  # of a model, that is taken for one kernel
RESOLVED_MS = 0.002  # shorter ones say nothing of a shape
SLACK = 0.5  # octaves beyond the measured sizes that still count as measured
TOLERANCE, MOST_ROUNDS = 1e-9, 100  # of the latency for which calls are as late as it says


@dataclass(frozen=True)
class KindModel:
    """Kernels of one kind.

    Attributes:
        costs: ms per amount of work, by name.
        residual: of the law's logarithm, by shape; None for kinds that were seldom met.
        low, high: range of the shapes.
    """

    costs: dict[str, float]
    residual: Residual | None = None
    low: Floats | None = None
    high: Floats | None = None

    def law_ms(self, one: Work) -> float:
        return sum(self.costs.get(name, 0.0) * amount for name, amount in one.amounts.items())

    def spread(self, one: Work) -> float:
        """A standard deviation of the residual; 0 without one."""
        if self.residual is None:
            return 0.0
        return float(self.residual.spread(np.array([one.shape]))[0])

    def measured(self, one: Work) -> bool:
        if self.low is None or self.high is None:
            return False
        shape = np.array(one.shape)
        return bool(((self.low - SLACK <= shape) & (shape <= self.high + SLACK)).all())


@dataclass(frozen=True, slots=True)
class KernelPrediction:
    """A network's latency from its kernels.

    Attributes:
        interval_ms: conformal; None without enough measured networks.
        outside_share: of the latency, from kernels outside the measured range of shapes.
        unknown: kinds that the table has nothing of: they count as moving their elements.
    """

    latency_ms: float
    interval_ms: tuple[float, float] | None
    n_kernels: int
    outside_share: float
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """From the sum of a network's kernels to its latency.

    Attributes:
        intercept_ms: negative where a short network finds in the caches what its last run left.
        per_kernel_ms: negative where a profile shows each kernel dearer than it is.
    """

    intercept_ms: float = 0.0
    factor: float = 1.0
    per_kernel_ms: float = 0.0

    def network_ms(self, sums_ms: Floats, counts: Floats) -> Floats:
        """[n] from the sums of n networks, and how many kernels each has."""
        scaled_ms = self.factor * sums_ms
        added_ms = self.intercept_ms + self.per_kernel_ms * counts
        return np.asarray(np.maximum(scaled_ms + added_ms, LEAST_SHARE * scaled_ms), np.float64)


@dataclass(frozen=True)
class KernelModel:
    """Latencies on the device of one table.

    Attributes:
        kinds: by kind; `MOVED` is for those that were never measured.
        line: from the sum of kernels to a network.
    """

    kinds: dict[str, KindModel]
    line: Line = Line()

    def kernels_ms(self, works: Sequence[Work]) -> Floats:
        """[n] latencies within a network of these n kernels."""
        soon_ms, late_ms = self.parts_ms(works)
        return soon_ms + lateness(self._latency_ms(soon_ms, late_ms)) * late_ms

    def network_ms(self, works: Sequence[Work]) -> float:
        """Latency of kernels that run one after the other, again and again."""
        return self._latency_ms(*self.parts_ms(works))

    def parts_ms(self, works: Sequence[Work]) -> tuple[Floats, Floats]:
        """[n] latencies of n kernels called again at once, and [n] what is added at the most where
        they are called later."""
        parts_ms = np.array(
            [(self._of(w.kind).law_ms(w), self._of(w.kind).costs.get(LATE, 0.0)) for w in works]
        )
        of_kind: dict[str, list[int]] = {}
        for at, one in enumerate(works):
            of_kind.setdefault(one.kind, []).append(at)
        for kind, rows in of_kind.items():
            model = self._of(kind)
            if model.residual is not None:
                shapes = np.array([works[at].shape for at in rows])
                parts_ms[rows] *= np.exp(model.residual.predict(shapes))[:, None]
        return parts_ms[:, 0], parts_ms[:, 1]

    def _latency_ms(self, soon_ms: Floats, late_ms: Floats) -> float:
        """The latency of which its calls are late: from above, as it falls with their lateness."""
        counts, latency_ms = np.array([len(soon_ms)]), np.inf
        for _ in range(MOST_ROUNDS):
            sums_ms = soon_ms.sum(keepdims=True) + lateness(latency_ms) * late_ms.sum()
            before_ms, latency_ms = latency_ms, float(self.line.network_ms(sums_ms, counts)[0])
            if before_ms - latency_ms <= TOLERANCE * latency_ms:
                break
        return latency_ms

    def outside(self, works: Sequence[Work]) -> list[bool]:
        return [not self._of(one.kind).measured(one) for one in works]

    def _of(self, kind: str) -> KindModel:
        return self.kinds.get(kind) or self.kinds[MOVED]


class KernelPredictor:
    """Predicts networks on the device of a table of kernels.

    Raises:
        InvalidInputError: the table is of another space, or too small.
    """

    def __init__(self, table: LatencyTable, *, without: Collection[str] = ()) -> None:
        self.table = table
        self.model = fit_kernels(table, without=without)

    def predict(self, kernels: Sequence[Kernel], *, confidence: float = 0.95) -> KernelPrediction:
        """Latency of a network of these kernels.

        Raises:
            InvalidInputError: no kernels.
        """
        if not kernels:
            raise InvalidInputError("a model without kernels takes no time")
        works = [work(kernel) for kernel in kernels]
        latency_ms = self.model.network_ms(works)
        each = self.model.kernels_ms(works)
        outside = each[self.model.outside(works)].sum() / each.sum()
        unknown = sorted({one.kind for one in works} - self.model.kinds.keys())
        half = self.half_width(confidence)
        interval = None if half is None else interval_ms(latency_ms, half)
        return KernelPrediction(latency_ms, interval, len(works), float(outside), tuple(unknown))

    def half_width(self, confidence: float) -> float | None:
        """The interval's half-width as a fraction of the latency; None if not supported."""
        quantiles = self.table.calibration.relative_quantiles if self.table.calibration else {}
        return supported_half_width(quantiles, confidence)


def family_of(name: str) -> str:
    """The family that a measured network's name begins with."""
    return name.partition(" ")[0]


def calibrated_kernels(table: LatencyTable) -> LatencyTable:
    """The table with the errors at families that a fit had not seen: the interval's source.

    As it is where that would leave too few networks for a fit.
    """
    networks = [n for n in table.networks if n.verdict is not Verdict.THROTTLED]
    families = sorted({family_of(network.arch) for network in networks} - {chains.FAMILY})
    folds = [families[at::FOLDS] for at in range(min(FOLDS, len(families)))]
    left = [sum(family_of(network.arch) not in fold for network in networks) for fold in folds]
    if min(left, default=0) < MIN_NETWORKS:
        return table
    errors = []
    for left_out in folds:
        model = fit_kernels(table, without=left_out)
        for network in networks:
            if family_of(network.arch) in left_out:
                works = [work_of(key) for key, _ in table.kernels[network.arch]]
                predicted = model.network_ms(works)
                errors.append((network.latency_ms - predicted) / predicted)
    relative = np.abs(errors)
    model = fit_kernels(table)
    return table.model_copy(
        update={
            "calibration": Calibration(
                intercept_ms=model.line.intercept_ms,
                factors={"all": model.line.factor},
                n_networks=len(networks),
                residual_mape_pct=float(100 * relative.mean()),
                relative_quantiles=conformal_quantiles(relative),
            )
        }
    )


@one_thread()
def fit_kernels(table: LatencyTable, *, without: Collection[str] = ()) -> KernelModel:
    """Fit to a table of kernels; deterministic.

    Args:
        without: families of networks to leave out.

    Raises:
        InvalidInputError: the table is of another space, or holds too few networks.
    """
    if not table.kernels:
        raise InvalidInputError(f"a table of {table.space} has no kernels; --space kernels has")
    networks = [
        network
        for network in table.networks
        if network.verdict is not Verdict.THROTTLED and family_of(network.arch) not in without
    ]
    if len(networks) < MIN_NETWORKS:
        raise InvalidInputError(
            f"{len(networks)} networks are too few to predict from; {MIN_NETWORKS} are needed "
            "(more --minutes)"
        )
    model = KernelModel(fit_kinds([*kernels_alone(table), *_within(table, networks)]))
    works = [[work_of(key) for key, _ in table.kernels[n.arch]] for n in networks]
    parts_ms = model.parts_ms([one for of_one in works for one in of_one])
    counts = np.array([*map(len, works)])
    soon_ms, late_ms = (np.add.reduceat(one, np.cumsum(counts) - counts) for one in parts_ms)
    latency_ms = np.array([network.latency_ms for network in networks])
    sums_ms = soon_ms + np.array([*map(lateness, latency_ms)]) * late_ms
    return replace(model, line=_line(sums_ms, counts, latency_ms))


def kernels_alone(table: LatencyTable) -> list[Observation]:
    """What was measured of single kernels."""
    ops = table.ops.items()
    return [o for name, e in ops for o in _observed(table, name, e.latency_ms, alone=True)]


def observations(table: LatencyTable) -> list[Observation]:
    """All that was measured of kernels, alone and within networks."""
    return [*kernels_alone(table), *_within(table, table.networks)]


def _within(table: LatencyTable, networks: Iterable[NetworkEntry]) -> list[Observation]:
    return [o for n in networks for o in _observed(table, n.arch, n.latency_ms, alone=False)]


def _observed(
    table: LatencyTable, name: str, latency_ms: float, *, alone: bool
) -> Iterable[Observation]:
    ran = [(work_of(key), share) for key, share in table.kernels[name]]
    if any(share is None for _, share in ran):
        # whole networks do not tell a late call from what else a longer one has more of
        yield Observation(tuple(one for one, _ in ran), latency_ms, alone)
        return
    for one, share in ran:
        within = one if alone else called_again(one, latency_ms)
        yield Observation((within,), latency_ms * (share or 0.0), alone)


@cache
def work_of(key: str) -> Work:
    return work(parse_kernel(key))


def _line(sums_ms: Floats, counts: Floats, latency_ms: Floats) -> Line:
    """Of least error of the logarithm; what is added is small where networks tell no better."""
    from scipy.optimize import least_squares

    typical_ms, typical_count = np.median(latency_ms), np.median(counts)

    def deviations(line: Floats) -> Floats:
        found = Line(*line)
        logarithms = np.log(found.network_ms(sums_ms, counts) / latency_ms)
        added_ms = np.array([found.intercept_ms, found.per_kernel_ms * typical_count])
        return np.concatenate([logarithms, STIFFNESS * added_ms / typical_ms])

    factor = float(np.median(latency_ms / sums_ms))
    scales = [0.1 * typical_ms, factor, 0.1 * typical_ms / typical_count]
    bounds = ([-np.inf, 0, -np.inf], np.inf)
    found = least_squares(deviations, [0.0, factor, 0.0], x_scale=scales, bounds=bounds)
    return Line(*map(float, found.x))


def fit_kinds(observations: Sequence[Observation]) -> dict[str, KindModel]:
    """Kinds one by one where kernels were observed one by one, else all together."""
    moved = KindModel(LawFit([_as_moved(one) for one in observations]).costs[MOVED])
    if any(len(one.works) > 1 for one in observations):
        fitted = _fit_together(observations)
    else:
        groups: dict[str, list[Observation]] = {}
        for one in observations:
            groups.setdefault(one.works[0].kind, []).append(one)
        fitted = {kind: _fit_kind(kind, group) for kind, group in groups.items()}
    shapes: dict[str, list[tuple[float, ...]]] = {}
    for one in observations:
        for part in one.works:
            shapes.setdefault(part.kind, []).append(part.shape)
    ranged = {
        kind: replace(model, low=np.min(shapes[kind], axis=0), high=np.max(shapes[kind], axis=0))
        for kind, model in fitted.items()
    }
    return ranged | {MOVED: moved}


def _fit_together(observations: Sequence[Observation]) -> dict[str, KindModel]:
    """Laws of all kinds from whole models; what a law leaves, from models that are little else
    than one kernel."""
    fit = LawFit(observations)
    models = {kind: KindModel(costs) for kind, costs in fit.costs.items()}
    left: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    for one, latency_ms in zip(observations, fit.latency_ms, strict=True):
        each_ms = [models[part.kind].law_ms(part) for part in one.works]
        main = one.works[int(np.argmax(each_ms))]
        if one.alone and latency_ms > RESOLVED_MS and max(each_ms) > MAIN_SHARE * sum(each_ms):
            deviation = float(np.log(latency_ms / sum(each_ms)))
            left.setdefault(main.kind, []).append((main.shape, deviation))
    for kind, of_kind in left.items():
        shapes, deviations = (np.array(column) for column in zip(*of_kind, strict=True))
        models[kind] = _with_residual(models[kind], shapes, deviations)
    return models


def _fit_kind(kind: str, observations: Sequence[Observation]) -> KindModel:
    """A law, and what it leaves."""
    fit = LawFit(observations)
    model = KindModel(fit.costs[kind])
    works = [one.works[0] for one in observations]
    law_ms = np.array([model.law_ms(one) for one in works])
    resolved = (fit.latency_ms > RESOLVED_MS) & (law_ms > 0)
    shapes = np.array([one.shape for one in works])[resolved]
    deviations = np.log(fit.latency_ms[resolved] / law_ms[resolved])
    return _with_residual(model, shapes, deviations)


def _with_residual(model: KindModel, shapes: Floats, deviations: Floats) -> KindModel:
    """Learned of [n] log deviations from its law at [n, sizes], if these are enough."""
    if len(deviations) < MIN_RESIDUAL:
        return model
    return replace(model, residual=fit_residual(shapes, deviations))


def _as_moved(observation: Observation) -> Observation:
    """The same, its kernels told apart by the elements they read and write only."""
    works = []
    for one in observation.works:
        names = ("calls", LATE, "read", "written")
        amounts = {name: one.amounts.get(name, 0.0) for name in names}
        works.append(Work(MOVED, amounts, one.shape))
    return replace(observation, works=tuple(works))
