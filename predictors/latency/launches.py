"""Whole-network latency on a GPU: the longer of what the host launches and what the GPU computes.

A framework queues kernels while the GPU works through earlier ones, so that a network takes

    T(α) = max(launch(α), compute(α)),   launch = a + Σ launches,   compute = b + Σ GPU time,

both additive over ops with non-negative costs. At batch 1 the launches are longer and depth
decides; at a large batch the GPU's time is. These are the two ends of the queue's recursion
finish_i = max(finish_{i-1}, issued_i) + compute_i. On the GPU a kernel that covers 32 pixels with
a warp pays for whole warps, and sites of the network (a stage's first or later blocks) may
differ from the shared law.

Fitted by iteratively reweighted non-negative least squares on relative absolute error, which
contended measurements cannot pull away; the assignment of networks to the two ends is
alternated with it, as in max-affine regression (Magnani & Boyd 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from predictors.cost import LongestCost, NetworkCost, OpSum
from predictors.intervals import conformal_quantiles
from predictors.latency.launch_terms import Terms, compute_terms, launch_terms
from profiler.errors import InvalidInputError
from profiler.graph.op import Op, batch_size_of
from profiler.spaces.networks import NetworkSpace
from profiler.system.tensor_files import described, description_of, read_arrays, write_arrays
from profiler.tables.table import Calibration

SCHEMA = "pnag.launch-model/1"
METADATA = "launch_model"
FOLDS = 5
STARTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the networks that begin as launch-bound
ITERATIONS = 25
RIDGE = 1e-6
RELATIVE_RESOLUTION = 0.003  # residuals below it weigh as this one: Huber's corner
MIN_NETWORKS = 40

Ops = Sequence[Op]


@dataclass(frozen=True)
class Law:
    """fixed + Σ over ops of cost · amount, in ms, by the names of the terms."""

    fixed_ms: float
    costs: Mapping[str, float]

    def op_ms(self, terms: Terms) -> float:
        """What one op adds.

        Raises:
            InvalidInputError: the fit has not seen such an op.
        """
        unknown = [name for name, amount in terms.items() if amount and name not in self.costs]
        if unknown:
            raise InvalidInputError(
                f"the launch model has not seen {unknown[0]!r}; fit it on networks of this space"
            )
        return sum(self.costs[name] * amount for name, amount in terms.items() if amount)

    def sum_over(self, terms: Callable[[Op], Terms]) -> OpSum:
        """The law over the ops of a network, each of which is priced once."""
        return OpSum(self.fixed_ms, cache(lambda op: self.op_ms(terms(op))))


def launches_of(calibration: Calibration) -> OpSum | None:
    """The launches of a calibration, if it has any."""
    launch = calibration.launch
    if launch is None:
        return None
    return Law(launch.fixed_ms, launch.kernels_ms).sum_over(launch_terms)


@dataclass(frozen=True)
class LaunchModel:
    """T(α) = max(launch(α), compute(α)), fitted on measured networks of one batch size.

    Which end is which can be told only if networks of both kinds were measured.

    Attributes:
        per_site: whether sites have terms of their own; chosen by cross-validation.
        relative_quantiles: conformal half-widths by coverage, from cross-validation.
        cross_validated_mape_pct: mean absolute error of the folds left out, in percent.
    """

    batch_size: int
    launch: Law
    compute: Law
    per_site: bool
    relative_quantiles: Mapping[float, float]
    cross_validated_mape_pct: float

    @classmethod
    def fit(cls, networks: Sequence[Ops], latency_ms: Floats, *, seed: int = 0) -> LaunchModel:
        """Fit on networks (their ops, all of one batch size) and their latencies in ms [n].

        Raises:
            InvalidInputError: too few networks, several batch sizes, a latency not positive.
        """
        latency_ms = np.asarray(latency_ms, np.float64)
        batch_size = _batch_size(networks, latency_ms)
        folds = np.random.default_rng(seed).permutation(len(networks)) % FOLDS
        designs = {per_site: _designs(networks, per_site=per_site) for per_site in (False, True)}
        left_out = {
            per_site: _left_out(*design, latency_ms, folds) for per_site, design in designs.items()
        }
        errors = {
            per_site: float(np.mean(np.abs(predicted / latency_ms - 1)))
            for per_site, predicted in left_out.items()
        }
        per_site = errors[True] < errors[False]
        launch, compute = designs[per_site]
        costs = _fit(launch.amounts, compute.amounts, latency_ms)
        predicted = left_out[per_site]
        return cls(
            batch_size=batch_size,
            launch=launch.law(costs[: launch.n_terms]),
            compute=compute.law(costs[launch.n_terms :]),
            per_site=per_site,
            relative_quantiles=conformal_quantiles(latency_ms / predicted - 1),
            cross_validated_mape_pct=100 * errors[per_site],
        )

    @property
    def network_cost(self) -> NetworkCost:
        return NetworkCost((self._launch, self._compute), self.relative_quantiles)

    def predict_ms(self, networks: Sequence[Ops]) -> Floats:
        """[n] latencies in ms.

        Raises:
            InvalidInputError: of another batch size or with ops unlike those of the fit.
        """
        return self._each(self.network_cost, networks)

    def launch_ms(self, networks: Sequence[Ops]) -> Floats:
        """[n] times in ms that the host needs to launch the networks."""
        return self._each(self._launch, networks)

    def compute_ms(self, networks: Sequence[Ops]) -> Floats:
        """[n] times in ms that the GPU needs to compute the networks."""
        return self._each(self._compute, networks)

    def cost(self, space: NetworkSpace) -> LongestCost:
        """The model as a cost function over the tokens of a space."""
        cost = self.network_cost.over(space, batch_size=self.batch_size)
        return cast(LongestCost, cost)

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically; the same model gives the same bytes."""
        coverages = sorted(self.relative_quantiles)
        arrays = {
            "launch": _values(self.launch),
            "work": _values(self.compute),
            "coverages": np.array(coverages),
            "half_widths": np.array([self.relative_quantiles[c] for c in coverages]),
        }
        description = {
            "schema": SCHEMA,
            "batch_size": self.batch_size,
            "per_site": self.per_site,
            "cross_validated_mape_pct": self.cross_validated_mape_pct,
            "launch": list(self.launch.costs),
            "work": list(self.compute.costs),
        }
        write_arrays(path, arrays, described(METADATA, description))

    @classmethod
    def load(cls, path: Path) -> LaunchModel:
        """Read a model back.

        Raises:
            InvalidInputError: unreadable, of another schema, or damaged.
        """
        arrays, metadata = read_arrays(path)
        description = description_of(metadata, METADATA, SCHEMA, path)
        try:
            launch, compute = (_law(arrays[part], description[part]) for part in ("launch", "work"))
            coverages, half_widths = arrays["coverages"], arrays["half_widths"]
            if not ((coverages > 0) & (coverages < 1)).all() or not (half_widths >= 0).all():
                raise ValueError("coverages or half-widths that are none")
            intervals = zip(coverages, half_widths, strict=True)
            batch_size, mape_pct = (
                description[name] for name in ("batch_size", "cross_validated_mape_pct")
            )
            if not (1 <= batch_size < np.inf and 0 <= mape_pct < np.inf):
                raise ValueError(f"batch size {batch_size}, error {mape_pct}")
            return cls(
                int(batch_size), launch, compute, bool(description["per_site"]),
                {float(coverage): float(width) for coverage, width in intervals}, float(mape_pct),
            )  # fmt: skip
        except (LookupError, ValueError, TypeError, OverflowError) as error:
            raise InvalidInputError(f"{path} is damaged or no launch model: {error}") from None

    @cached_property
    def _launch(self) -> OpSum:
        return self.launch.sum_over(launch_terms)

    @cached_property
    def _compute(self) -> OpSum:
        return self.compute.sum_over(partial(compute_terms, per_site=self.per_site))

    def _each(self, cost: Callable[[Ops], float], networks: Sequence[Ops]) -> Floats:
        other = {batch_size_of(op) for ops in networks for op in ops} - {self.batch_size}
        if other:
            raise InvalidInputError(
                f"a launch model of batch size {self.batch_size} cannot predict batch size "
                f"{min(other)}"
            )
        return np.array([cost(ops) for ops in networks])


# --- fitting ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """Amounts [n, 1 + terms] of networks, each column of mean 1; the first is constant."""

    names: tuple[str, ...]
    amounts: Floats
    scale: Floats

    @property
    def n_terms(self) -> int:
        return len(self.scale)

    def law(self, costs: Floats) -> Law:
        fixed, *rest = (costs / self.scale).tolist()
        return Law(fixed, dict(zip(self.names, rest, strict=True)))


def design(networks: Sequence[Ops], terms: Callable[[Op], Terms]) -> Design:
    by_op = {op: terms(op) for ops in networks for op in ops}
    names = sorted({name for found in by_op.values() for name, n in found.items() if n})
    column = {name: index + 1 for index, name in enumerate(names)}
    vectors = {}
    for op, found in by_op.items():
        vectors[op] = np.zeros(1 + len(names))
        for name, amount in found.items():
            if amount:
                vectors[op][column[name]] = amount
    amounts = np.array([np.sum([vectors[op] for op in ops], axis=0) for ops in networks])
    amounts[:, 0] = 1.0
    scale = amounts.mean(axis=0)
    return Design(tuple(names), amounts / scale, scale)


def _designs(networks: Sequence[Ops], *, per_site: bool) -> tuple[Design, Design]:
    compute = design(networks, lambda op: compute_terms(op, per_site=per_site))
    return design(networks, launch_terms), compute


def _fit(launch: Floats, compute: Floats, latency_ms: Floats) -> Floats:
    """[launch terms + compute terms] non-negative costs of least relative absolute error."""
    by_compute = np.argsort(np.argsort(compute.sum(axis=1))) / len(latency_ms)
    best_error, best = np.inf, np.zeros(launch.shape[1] + compute.shape[1])
    for share in STARTS:
        launch_bound = by_compute < share
        weight = 1 / latency_ms**2
        for _ in range(ITERATIONS):
            active = np.hstack([launch * launch_bound[:, None], compute * ~launch_bound[:, None]])
            costs = weighted_nnls(active, latency_ms, weight / weight.sum())
            launched = launch @ costs[: launch.shape[1]]
            computed = compute @ costs[launch.shape[1] :]
            residual = np.abs(np.maximum(launched, computed) / latency_ms - 1)
            if residual.mean() < best_error:
                best_error, best = float(residual.mean()), costs
            launch_bound = launched > computed
            weight = 1 / latency_ms**2 / np.maximum(residual, RELATIVE_RESOLUTION)
    return best


def weighted_nnls(amounts: Floats, latency_ms: Floats, weight: Floats) -> Floats:
    """argmin over costs ≥ 0 of Σ weight · (amounts · costs - latency)² + RIDGE · |costs|²."""
    from scipy.optimize import nnls

    root = np.sqrt(weight)
    n_terms = amounts.shape[1]
    rows = np.vstack([amounts * root[:, None], np.sqrt(RIDGE) * np.eye(n_terms)])
    costs: Floats = nnls(rows, np.concatenate([latency_ms * root, np.zeros(n_terms)]))[0]
    return costs


def _left_out(
    launch: Design, compute: Design, latency_ms: Floats, folds: NDArray[np.int64]
) -> Floats:
    """[n] predictions in ms, each by a fit that had not seen the network."""
    predicted = np.empty_like(latency_ms)
    for fold in range(FOLDS):
        kept, left = folds != fold, folds == fold
        costs = _fit(launch.amounts[kept], compute.amounts[kept], latency_ms[kept])
        predicted[left] = np.maximum(
            launch.amounts[left] @ costs[: launch.n_terms],
            compute.amounts[left] @ costs[launch.n_terms :],
        )
    return predicted


def _batch_size(networks: Sequence[Ops], latency_ms: Floats) -> int:
    sizes = sorted({batch_size_of(op) for ops in networks for op in ops})
    if len(networks) < MIN_NETWORKS or len(networks) != len(latency_ms):
        raise InvalidInputError(
            f"a launch model needs at least {MIN_NETWORKS} measured networks, not {len(networks)} "
            f"networks with {len(latency_ms)} latencies"
        )
    if len(sizes) != 1:
        raise InvalidInputError(f"networks of several batch sizes: {', '.join(map(str, sizes))}")
    if not (np.isfinite(latency_ms).all() and (latency_ms > 0).all()):
        raise InvalidInputError("latencies must be positive")
    return sizes[0]


def _values(law: Law) -> Floats:
    return np.array([law.fixed_ms, *law.costs.values()])


def _law(values: Floats, names: Sequence[str]) -> Law:
    if not (values >= 0).all():
        raise ValueError("costs below 0")
    return Law(float(values[0]), dict(zip(names, values[1:].tolist(), strict=True)))
