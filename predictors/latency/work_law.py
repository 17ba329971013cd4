"""A law of latency in the work done: how an op's latency follows from its shape.

    law(op) = exp(offset[kind]) · Σ_terms cost[term] · work[term](op)

Work is multiply-adds by type, tensor elements moved, parameters read and a fixed overhead, each
also divided among the threads. Non-negative costs, fitted by relative error, keep the law
sensible outside what was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from predictors.latency.features import work_matrix
from profiler.graph.op import Op

CHANNEL_BLOCKS = (1, 4, 8, 16, 32)
N_FOLDS = 8


@dataclass(frozen=True)
class WorkLaw:
    """Costs of work on one device.

    Attributes:
        channel_block: channels that the device's kernels process at once.
        costs: [2 · terms] ms per amount of work, serial then divided among threads.
        offsets: mean log deviation by kind.
    """

    channel_block: int
    costs: Floats
    offsets: dict[str, float]

    def predict_ms(self, ops: Sequence[Op], threads: Floats) -> Floats:
        """[n] latencies in ms on [n] threads.

        Raises:
            KeyError: an op of a kind that was not fitted.
        """
        base = work_matrix(ops, threads, self.channel_block) @ self.costs
        offsets = np.array([self.offsets[op.kind] for op in ops])
        return np.asarray(base * np.exp(offsets), np.float64)


def fit_work_law(ops: Sequence[Op], threads: Floats, latency_ms: Floats) -> WorkLaw:
    """Fit to [n] measured latencies in ms; deterministic."""
    data = _Measured(tuple(ops), threads, latency_ms)
    channel_block = data.best_channel_block()
    costs = data.fit_costs(channel_block, np.arange(len(ops)))
    deviation = np.log(latency_ms / (data.work_by_block[channel_block] @ costs))
    kinds = np.array([op.kind for op in ops])
    offsets = {str(kind): float(deviation[kinds == kind].mean()) for kind in np.unique(kinds)}
    return WorkLaw(channel_block, costs, offsets)


@dataclass(frozen=True)
class _Measured:
    """The ops of a fit: [n] threads and latency in ms of each."""

    ops: tuple[Op, ...]
    threads: Floats
    latency_ms: Floats

    @cached_property
    def work_by_block(self) -> dict[int, Floats]:
        return {block: work_matrix(self.ops, self.threads, block) for block in CHANNEL_BLOCKS}

    def fit_costs(self, channel_block: int, rows: NDArray[np.intp]) -> Floats:
        """[2 · terms] non-negative costs of least squared relative error on `rows`."""
        from scipy.optimize import nnls

        amounts = self.work_by_block[channel_block][rows]
        scale = np.where(amounts.max(axis=0) > 0, amounts.max(axis=0), 1.0)
        relative = amounts / scale / self.latency_ms[rows, None]
        solution, _ = nnls(relative, np.ones(len(rows)))
        return np.asarray(solution / scale, np.float64)

    def best_channel_block(self) -> int:
        """The block of least cross-validated relative error; the smaller on a tie.

        Kinds of few ops are not judged by: without one of them, another may be unpredictable.
        """
        everything = np.arange(len(self.ops))
        count = Counter(op.kind for op in self.ops)
        judged = np.array([count[op.kind] > N_FOLDS for op in self.ops])
        fold = everything % N_FOLDS
        errors = dict.fromkeys(CHANNEL_BLOCKS, 0.0)
        for block in CHANNEL_BLOCKS:
            for held_out in range(N_FOLDS):
                test = everything[(fold == held_out) & judged]
                train = everything[fold != held_out]
                if len(test) and len(train):
                    predicted = self.work_by_block[block][test] @ self.fit_costs(block, train)
                    errors[block] += float(np.abs(predicted / self.latency_ms[test] - 1).sum())
        # rounded, since blocks that divide all channels differ only by floating-point noise
        return min(CHANNEL_BLOCKS, key=lambda block: (round(errors[block], 6), block))
