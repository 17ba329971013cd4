"""What prefers one open choice to another while decoding: chance, a parent, the generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pnag.search.constraints import Bools
from pnag.search.independence import product
from predictors.base import Floats
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.decisions import Ints

Floats32 = NDArray[np.float32]


class Policy(Protocol):
    """Prefers choices during one decoding pass; may carry state from step to step."""

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        """[n, C] preferences of n rows for the choices at their positions.

        Args:
            previous: [n] position · C + choice of the last decision; L · C before the first.
                Finished rows are at position L, and what they are given does not matter.
        """
        ...


@dataclass(frozen=True)
class UniformPolicy:
    """Every open choice is equally likely."""

    n_choices: int

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        return np.zeros((len(positions), self.n_choices), np.float32)


@dataclass(frozen=True)
class MutationPolicy:
    """Repeats its parents' tokens, except where `redraw` says so; those are drawn uniformly.

    Where a parent's token is closed or its position was dead, the draw is uniform too: the
    child is valid and within its bounds whatever changed before.
    """

    parents: Tokens  # [n, L]
    redraw: Bools  # [n, L]
    n_choices: int

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        rows = np.arange(len(positions))
        at = np.minimum(positions, self.parents.shape[1] - 1)
        kept = np.where(self.redraw[rows, at], DEAD, self.parents[rows, at])
        chosen = kept[:, None] == np.arange(self.n_choices)
        return np.where(chosen, np.float32(1e6), np.float32(0))


@dataclass
class LstmPolicy:
    """The generator, in plain numpy: torch's overhead per call would dominate such small steps.

    Weights are already multiplied into gate space (order i, f, g, o), sigmoid gates halved, so
    that one tanh per step gives all gates: sigmoid(x) = (1 + tanh(x / 2)) / 2. H hidden units.
    """

    previous: Floats32  # [L · C + 1, 4H]; last: start
    position: Floats32  # [L + 1, 4H]; last: finished
    budget: Floats32  # [K, 4H]
    tightness: Floats32  # [4H]
    recurrent: Floats32  # [H, 4H]
    head: Floats32  # [L + 1, H, C]
    head_bias: Floats32  # [L + 1, C]

    def start(self, budget_weights: Floats32, *, temperature: float = 1.0) -> _LstmDecoding:
        """A decoding pass for [n, K] interpolation weights of n budgets."""
        state = np.zeros((len(budget_weights), len(self.recurrent)), np.float32)
        gates = product(budget_weights, self.budget)
        return _LstmDecoding(self, gates, 1 / temperature, state, state)


@dataclass
class _LstmDecoding:
    weights: LstmPolicy
    budget_gates: Floats32  # [n, 4H]
    sharpness: float
    hidden: Floats32  # [n, H]
    cell: Floats32  # [n, H]

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        weights = self.weights
        gates = product(self.hidden, weights.recurrent)
        gates += weights.previous[previous]
        gates += weights.position[positions]
        gates += self.budget_gates
        gates += tightness.astype(np.float32)[:, None] * weights.tightness
        np.tanh(gates, out=gates)
        h = self.hidden.shape[1]
        i, f, g, o = gates[:, :h], gates[:, h : 2 * h], gates[:, 2 * h : 3 * h], gates[:, 3 * h :]
        self.cell = (0.5 * f + 0.5) * self.cell + (0.5 * i + 0.5) * g
        self.hidden = (0.5 * o + 0.5) * np.tanh(self.cell)
        logits = (self.hidden[:, None, :] @ weights.head[positions])[:, 0]
        logits += weights.head_bias[positions]
        return logits * np.float32(self.sharpness)
