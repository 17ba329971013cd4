"""Latency of ops that were not measured, from those that were.

    latency(op) = law(op) · exp(residual[kind](op))

The law (work_law.py) is physical and extrapolates; what it leaves is learned per kind by a
forest of extremely randomised trees (Geurts et al. 2006) where a kind has enough ops.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from predictors.latency.features import shape_matrix
from predictors.latency.work_law import WorkLaw, fit_work_law
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.tables.keys import ops_of_table
from profiler.tables.statistic import refuse_mixed
from profiler.tables.table import LatencyTable

MIN_FOREST_OPS = 12
N_TREES = 200
# options of a device that do not set tables of it apart: which one it was, and what follows from
# its threads
UNRELATED_OPTIONS = frozenset({"clock", "serial", "uuid"})
MAX_EXTRAPOLATION = 4.0  # madds and bytes may leave the measured range by this factor


@dataclass(frozen=True)
class Forest:
    """Regression trees as flat arrays, one entry per node.

    Attributes:
        left, right: children (index of the node; -1 in leaves).
        feature, threshold: a row goes left if float32(row[feature]) <= threshold.
        value: prediction of leaves.
        roots: [trees] first node of each tree.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    value: Floats
    roots: NDArray[np.int32]

    def predict(self, rows: Floats) -> Floats:
        """[n] mean over trees of [n, features] rows."""
        rows32 = rows.astype(np.float32)
        node = np.repeat(self.roots[:, None], len(rows), axis=1)  # [trees, n]
        sample = np.arange(len(rows))
        while True:
            inner = self.left[node] >= 0
            if not inner.any():
                return np.asarray(self.value[node].mean(axis=0), np.float64)
            goes_left = rows32[sample, self.feature[node]] <= self.threshold[node]
            child = np.where(goes_left, self.left[node], self.right[node])
            node = np.where(inner, child, node)


@dataclass(frozen=True)
class KindModel:
    """The learned deviation of one kind from the law, and where it may be asked.

    Attributes:
        forest: of log deviations; None for kinds with few measured ops.
        low, high: [6] measured range of kernel, stride, batch size, threads, madds, bytes.
    """

    forest: Forest | None
    low: Floats
    high: Floats


@dataclass(frozen=True)
class OpRegression:
    """Predicts latency in ms of any op near those measured.

    Attributes:
        law: what follows from the work done.
        kinds: deviations by kind.
    """

    law: WorkLaw
    kinds: dict[str, KindModel]

    def predict_ms(
        self, ops: Sequence[Op], threads: int = 1, *, however_small: bool = False
    ) -> Floats:
        """[n] latencies in ms.

        Raises:
            InvalidInputError: an op is of a kind, kernel, stride, batch size or thread count
                outside what was measured, or far larger or smaller, unless it may be
                `however_small`; or what was read from a file gives no latency.
        """
        for op in ops:
            reason = self.refusal(op, threads, however_small=however_small)
            if reason:
                raise InvalidInputError(f"cannot predict {op.key}: {reason}")
        per_op = np.full(len(ops), float(threads))
        shape = shape_matrix(ops, per_op, self.law.channel_block)
        deviation = np.zeros(len(ops))
        for kind, model in self.kinds.items():
            rows = np.array([op.kind == kind for op in ops], bool)
            if model.forest is not None and rows.any():
                deviation[rows] = model.forest.predict(shape[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            predicted: Floats = self.law.predict_ms(ops, per_op) * np.exp(deviation)
        for op, latency_ms in zip(ops, predicted.tolist(), strict=True):
            if not 0 < latency_ms < np.inf:
                raise InvalidInputError(f"cannot predict {op.key}: {latency_ms:g} ms")
        return predicted

    def refusal(self, op: Op, threads: int = 1, *, however_small: bool = False) -> str | None:
        """Why `op` cannot be predicted; None if it can."""
        model = self.kinds.get(op.kind)
        if model is None:
            return f"no {op.kind} was measured"
        asked = _range_features(op, threads)
        slack = np.array([1, 1, 1, 1, MAX_EXTRAPOLATION, MAX_EXTRAPOLATION])
        lowest = model.low / slack
        if however_small:
            lowest[slack > 1] = 0.0
        for name, value, low, high in zip(RANGES, asked, lowest, model.high * slack, strict=True):
            if not low <= value <= high:
                return f"{name} {value:g} is outside {low:g} to {high:g} of the measured {op.kind}"
        return None


def fit_regression(
    tables: Sequence[LatencyTable], *, keys: Collection[str] | None = None, seed: int = 0
) -> OpRegression:
    """Fit on the ops of tables of one device (or on `keys` of them); deterministic.

    Tables may differ in width, resolution, batch size and threads: that is what the
    regression then interpolates in.

    Raises:
        InvalidInputError: no ops, or tables of different devices, runtimes or precisions.
    """
    check_one_device(tables)
    ops, threads, latencies = [], [], []
    for table in tables:
        for key, op in ops_of_table(table).items():
            if keys is None or key in keys:
                ops.append(op)
                threads.append(float(table.device.threads))
                latencies.append(table.ops[key].latency_ms)
    if not ops:
        raise InvalidInputError("no measured ops to fit a regression on")
    per_op, latency_ms = np.array(threads), np.array(latencies)
    law = fit_work_law(ops, per_op, latency_ms)
    deviation = np.log(latency_ms / law.predict_ms(ops, per_op))
    shape = shape_matrix(ops, per_op, law.channel_block)
    kinds = {}
    for kind in law.offsets:
        rows = np.flatnonzero([op.kind == kind for op in ops])
        ranges = np.array([_range_features(ops[i], threads[i]) for i in rows])
        forest = None
        if len(rows) >= MIN_FOREST_OPS:
            forest = grow_forest(shape[rows], deviation[rows], seed)
        kinds[kind] = KindModel(forest, ranges.min(axis=0), ranges.max(axis=0))
    return OpRegression(law, kinds)


RANGES = ("kernel", "stride", "batch size", "thread count", "multiply-adds", "bytes")


def _range_features(op: Op, threads: float) -> list[float]:
    shape, graph = shape_of(op), op.graph
    return [
        shape.kernel, shape.stride, shape.batch_size, threads, graph.madds, graph.bytes_moved,
    ]  # fmt: skip


def check_one_device(tables: Sequence[LatencyTable]) -> None:
    """Raise InvalidInputError for tables of different devices, runtimes, precisions or modes, or of
    several statistics."""
    refuse_mixed(*tables)

    def identity(table: LatencyTable) -> tuple[str, ...]:
        device = table.device
        modes = (f"{n}={value}" for n, value in device.options if n not in UNRELATED_OPTIONS)
        return device.model, device.runtime, device.precision, *modes

    for table in tables[1:]:
        if identity(table) != identity(tables[0]):
            raise InvalidInputError(
                f"tables of different devices cannot be fitted together: "
                f"{' / '.join(identity(tables[0]))} and {' / '.join(identity(table))}"
            )


def grow_forest(
    rows: Floats, targets: Floats, seed: int, *, n_trees: int = N_TREES, min_leaf: int = 1
) -> Forest:
    """Fit with scikit-learn, then keep the trees as arrays: nothing is ever unpickled."""
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(
        n_trees, min_samples_leaf=min_leaf, random_state=seed, n_jobs=1
    ).fit(rows, targets)
    trees = [estimator.tree_ for estimator in model.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])

    def children(name: str) -> NDArray[np.int32]:
        arrays = []
        for root, tree in zip(roots, trees, strict=True):
            child = getattr(tree, name)
            arrays.append(np.where(child >= 0, child + root, -1))
        return np.concatenate(arrays).astype(np.int32)

    return Forest(
        left=children("children_left"),
        right=children("children_right"),
        # leaves name no feature; 0 keeps the look-up in range
        feature=np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        value=np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        roots=roots.astype(np.int32),
    )
