"""The additive cost nearest to any other cost of MobileNetV3 architectures."""

from __future__ import annotations

import numpy as np

from predictors.base import Floats
from predictors.cost import AdditiveCost
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import EXPANDS, KERNELS, N_SLOTS, N_STAGES, SLOTS_PER_STAGE

N_BLOCKS = len(EXPANDS) * len(KERNELS)


def fit_additive(tokens: Tokens, costs: Floats, unit: str) -> AdditiveCost:
    """Least squares over [n, 45] architectures and their [n] costs; of many fits the smallest.

    Use it to aim, never to judge: it differs from the cost it was fitted to.
    """
    by_stage = np.asarray(tokens).reshape(-1, N_STAGES, 1 + 2 * SLOTS_PER_STAGE).astype(np.int64)
    expand = by_stage[:, :, 1::2].reshape(-1, N_SLOTS)
    kernel = by_stage[:, :, 2::2].reshape(-1, N_SLOTS)
    row, slot = np.nonzero(expand >= 0)
    present = np.zeros((len(costs), 1 + N_SLOTS * N_BLOCKS))
    present[:, 0] = 1
    which = len(KERNELS) * expand[row, slot] + kernel[row, slot]
    present[row, 1 + slot * N_BLOCKS + which] = 1
    solution = np.linalg.lstsq(present, costs, rcond=None)[0].astype(np.float64)
    block = solution[1:].reshape(N_SLOTS, len(EXPANDS), len(KERNELS))
    return AdditiveCost(float(solution[0]), block, unit)
