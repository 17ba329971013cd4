"""c(α) as a sum over ops, or as the longer of two, vectorised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.graph.ops import OpConfig
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import (
    EXPANDS,
    KERNELS,
    N_SLOTS,
    N_STAGES,
    SLOTS_PER_STAGE,
    MobileNetV3Space,
)


@dataclass(frozen=True)
class AdditiveCost:
    """c(α) = fixed + Σ over active slots of block[slot, expand, kernel].

    Attributes:
        block: [20, 3, 3], indexed by slot (stage-major), expand choice, kernel choice.
        relative_quantiles: conformal half-widths by coverage, as fractions of c(α).
    """

    fixed: float
    block: Floats
    unit: str = "ms"
    relative_quantiles: Mapping[float, float] = field(default_factory=dict)

    @cached_property
    def _gather(self) -> Floats:
        """[20, 16] indexed by slot and 4·(expand+1) + (kernel+1); dead blocks cost 0."""
        table = np.zeros((N_SLOTS, len(EXPANDS) + 1, len(KERNELS) + 1))
        table[:, 1:, 1:] = self.block
        return table.reshape(N_SLOTS, -1)

    def __call__(self, tokens: Tokens) -> Floats:
        by_stage = np.asarray(tokens).reshape(-1, N_STAGES, 1 + 2 * SLOTS_PER_STAGE)
        expands = by_stage[:, :, 1::2].reshape(-1, N_SLOTS)
        kernels = by_stage[:, :, 2::2].reshape(-1, N_SLOTS)
        choice = 4 * (expands + 1) + (kernels + 1)
        total = np.full(len(choice), self.fixed)
        for slot, row in enumerate(self._gather):
            total += row[choice[:, slot]]
        return total

    def relative_interval(self, confidence: float) -> float:
        return _half_width(self.relative_quantiles, confidence)


@dataclass(frozen=True)
class LaunchCost:
    """c(α) = max(launch(α), work(α)) over the tokens of one space.

    c(α) ≤ B exactly if both additive parts are ≤ B: a budget on it is two additive budgets.
    """

    launch: AdditiveCost
    work: AdditiveCost
    relative_quantiles: Mapping[float, float] = field(default_factory=dict)
    unit: str = "ms"

    @property
    def parts(self) -> tuple[AdditiveCost, AdditiveCost]:
        return self.launch, self.work

    def __call__(self, tokens: Tokens) -> Floats:
        return np.maximum(self.launch(tokens), self.work(tokens))

    def relative_interval(self, confidence: float) -> float:
        return _half_width(self.relative_quantiles, confidence)


def _half_width(relative_quantiles: Mapping[float, float], confidence: float) -> float:
    known = sorted(c for c in relative_quantiles if c >= confidence)
    if not known:
        raise InvalidInputError(
            f"no interval for confidence {confidence:g}: the table was not calibrated on "
            "enough measured networks (pnag profile --networks 30)"
        )
    return relative_quantiles[known[0]]


def additive_cost(
    space: MobileNetV3Space,
    op_cost: Callable[[OpConfig], float],
    *,
    intercept: float = 0.0,
    unit: str = "ms",
    relative_quantiles: Mapping[float, float] | None = None,
    batch_size: int = 1,
) -> AdditiveCost:
    """Tabulate any per-op cost over a space: a latency table, a regression, MAdds, parameters.

    `batch_size` is that of the ops which `op_cost` is asked for.
    """
    block = np.array(
        [
            [
                [op_cost(space.block_op(slot, e, k, batch_size=batch_size)) for k in KERNELS]
                for e in EXPANDS
            ]
            for slot in range(N_SLOTS)
        ],
        dtype=np.float64,
    )
    ends = [*space.stem_ops(batch_size=batch_size), *space.head_ops(batch_size=batch_size)]
    fixed = intercept + sum(op_cost(op) for op in ends)
    return AdditiveCost(fixed, block, unit, dict(relative_quantiles or {}))


def madds_cost(space: MobileNetV3Space) -> AdditiveCost:
    """Multiply-adds per image as a cost function."""
    return additive_cost(space, lambda op: float(op.madds), unit="madds")


def params_cost(space: MobileNetV3Space) -> AdditiveCost:
    """Trainable parameters as a cost function."""
    return additive_cost(space, lambda op: float(op.params), unit="params")
