"""The pairwise hinge loss over all pairs, exactly, in O(M log M) (equation 3).

Under one budget the dominance rule is a total preorder, so d(i, j) depends on ranks alone:

    loss = Σ_{i ≠ j} max(0, 1 - d(i, j) (s_i - s_j)),    d = +1 if i ranks as well or better

Two architectures of equal rank dominate each other (d = +1 both ways, by the ≥ of the rule).
An ordered pair with i strictly better occurs twice, as (i, j) and as (j, i), with equal terms.
Every sum needed is over "elements after place l in rank order whose score exceeds s_i - 1":
counting in two dimensions, which a wavelet matrix (Claude, Navarro & Ordóñez 2015) answers in
log2 M steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WaveletMatrix:
    """A sequence of M integers in [1, M], each with a weight, for counting by place and value.

    Attributes:
        n_zeros: elements with a zero bit, per level from the highest bit.
        zeros_before: per level, [M + 1] zeros before each place.
        weight_before: per level, [M + 1] weight of the ones before each place.
    """

    n_zeros: tuple[int, ...]
    zeros_before: tuple[Ints32, ...]
    weight_before: tuple[Floats, ...]

    @classmethod
    def of(cls, values: Ints32, weights: Floats) -> WaveletMatrix:
        n_zeros, zeros_before, weight_before = [], [], []
        for bit in reversed(range(len(values).bit_length())):
            one = (values >> bit) & 1 == 1
            zeros = np.zeros(len(values) + 1, np.int32)
            np.cumsum(~one, out=zeros[1:])
            carried = np.zeros(len(values) + 1)
            np.cumsum(np.where(one, weights, 0.0), out=carried[1:])
            n_zeros.append(int(zeros[-1]))
            zeros_before.append(zeros)
            weight_before.append(carried)
            order = np.concatenate([np.flatnonzero(~one), np.flatnonzero(one)])
            values, weights = values[order], weights[order]
        return cls(tuple(n_zeros), tuple(zeros_before), tuple(weight_before))

    def above(self, left: Ints32, right: Ints32, bound: Ints32) -> tuple[Floats, Floats]:
        """Count and weight [q] of the elements in places [left, right) with value > bound."""
        count, weight = np.zeros(len(left), np.int32), np.zeros(len(left))
        n_levels = len(self.n_zeros)
        for level in range(n_levels):
            zeros, carried = self.zeros_before[level], self.weight_before[level]
            left_zeros, right_zeros = zeros[left], zeros[right]
            # where the bound's bit is 0, all ones of this level exceed it and are counted
            exceed = (bound >> (n_levels - 1 - level)) & 1 == 0
            count += np.where(exceed, (right - right_zeros) - (left - left_zeros), 0)
            weight += np.where(exceed, carried[right] - carried[left], 0.0)
            shift = np.int32(self.n_zeros[level])
            left = np.where(exceed, left_zeros, shift + left - left_zeros)
            right = np.where(exceed, right_zeros, shift + right - right_zeros)
        return count.astype(np.float64), weight


def pairwise_hinge(scores: Floats, ranks: NDArray[np.int64]) -> tuple[float, Floats]:
    """Loss and gradient [M] for scores [M] under ranks [M] (0 is best, equal ranks tie).

    The sum over all M (M - 1) ordered pairs; at a kink the gradient is that of max(0, x) = 0.
    """
    order = np.argsort(ranks, kind="stable")
    score, rank = scores[order], ranks[order]
    m = len(score)
    by_score = np.argsort(score, kind="stable")
    ascending = score[by_score]
    place = np.empty(m, np.int32)
    place[by_score] = np.arange(1, m + 1, dtype=np.int32)
    matrix = WaveletMatrix.of(place, score)
    # tied groups are places [first, after) in rank order
    first = np.searchsorted(rank, rank, side="left").astype(np.int32)
    after = np.searchsorted(rank, rank, side="right").astype(np.int32)
    # s_j > s_i - 1 <=> place_j > lower_i, and s_i < s_j + 1 <=> place_i <= upper_j
    lower = np.searchsorted(ascending, score - 1, side="right").astype(np.int32)
    upper = np.searchsorted(ascending, score + 1, side="left").astype(np.int32)

    end = np.full(m, m, np.int32)
    n_worse, worse_sum = matrix.above(after, end, lower)
    loss = 2 * float(np.sum(n_worse * (1 - score) + worse_sum))
    n_above_upper, _ = matrix.above(np.zeros(m, np.int32), first, upper)
    gradient = 2 * ((first - n_above_upper) - n_worse)

    tied = np.flatnonzero(after - first > 1)
    if len(tied):
        left, right = first[tied], after[tied]
        n_close, close_sum = matrix.above(left, right, lower[tied])
        # less one each: an element does not pair with itself
        loss += float(np.sum(n_close * (1 - score[tied]) + close_sum)) - len(tied)
        n_beyond, _ = matrix.above(left, right, upper[tied])
        gradient[tied] += (right - left - n_beyond) - n_close
    out = np.empty(m)
    out[order] = gradient
    return loss, out


class _MeanPairwiseHinge(torch.autograd.Function):
    """Autograd around `pairwise_hinge`: the gradient comes with the loss."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, ranks: NDArray[np.int64]) -> Tensor:
        n_budgets, m = scores.shape
        total, gradients = 0.0, np.empty((n_budgets, m))
        values = scores.detach().to(torch.float64).numpy()
        for k in range(n_budgets):
            loss, gradients[k] = pairwise_hinge(values[k], ranks[k])
            total += loss
        n_pairs = max(1, n_budgets * m * (m - 1))  # one architecture alone makes no pair
        ctx.save_for_backward(torch.from_numpy(gradients / n_pairs).to(scores.dtype))
        return scores.new_tensor(total / n_pairs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None


def mean_pairwise_hinge(scores: Tensor, ranks: NDArray[np.int64]) -> Tensor:
    """Equation 3: the mean over K budgets and all M (M - 1) pairs, of scores and ranks [K, M]."""
    # torch's own `apply` carries no types
    loss: Tensor = _MeanPairwiseHinge.apply(scores, ranks)  # type: ignore[no-untyped-call]
    return loss
