"""In how many rows features are 1 together, four at a time.

A least-squares system of products of two binary features sums, over rows, products of four. Of the
same four every such product is the same, so that a third of the system's half is all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats

BLOCK = 8  # of features whose pairs are multiplied with all others at once


@dataclass(frozen=True)
class QuadCounts:
    """Counts over n rows of d binary features x.

    Attributes:
        counts: flat. For each j in turn [j + 1, ...]: of x_i x_j, i ≤ j, with each pair x_k x_m,
            f ≤ k ≤ m, in the order of `np.triu_indices`, where f is the first of j's block.
    """

    d: int
    n: int
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, d: int, features: Iterable[Floats]) -> QuadCounts:
        """Of features, chunk by chunk of [n, d]. Single precision is exact up to 2²⁴ rows a
        chunk, and twice as fast."""
        pair_starts, starts = _pair_starts(d), _starts(d)
        counts, n = np.zeros(starts[-1], np.int32), 0
        for chunk in features:
            x = chunk.astype(np.float32)
            pairs = _pairs(x)
            for first in range(0, d, BLOCK):
                end = min(first + BLOCK, d)
                ended = [x[:, : j + 1] * x[:, j, None] for j in range(first, end)]
                both = np.concatenate(ended, axis=1).T @ pairs[:, pair_starts[first] :]
                counts[starts[first] : starts[end]] += both.astype(np.int32).ravel()
            n += len(x)
        return cls(d, n, counts)

    def without(self, others: QuadCounts) -> QuadCounts:
        """Of all rows but some, which `others` counts."""
        return QuadCounts(self.d, self.n - others.n, self.counts - others.counts)

    def matrix(self) -> Floats:
        """[D, D] of each two functions among 1, x_i, and x_i x_j with i ≤ j."""
        d, pair_starts = self.d, _pair_starts(self.d)
        single, pair = slice(1, 1 + d), slice(1 + d, None)
        matrix = np.empty((1 + d + pair_starts[-1],) * 2)
        of_pairs = matrix[pair, pair]
        for row, at in enumerate(self._rows()):
            of_pairs[row, row:] = of_pairs[row:, row] = self.counts[at]
        squares = pair_starts[:-1]  # x_i x_i is x_i
        matrix[single, pair] = of_pairs[squares]
        matrix[pair, single] = of_pairs[squares].T
        matrix[single, single] = of_pairs[np.ix_(squares, squares)]
        matrix[0] = matrix[:, 0] = np.diag(matrix)  # 1 times a function is it; of 1 see below
        matrix[0, 0] = self.n
        return matrix

    def _rows(self) -> Iterable[NDArray[np.int64]]:
        """For each pair (i, j) in turn, where the counts with it and each pair (k, m) from it on
        are."""
        pair_starts, starts = _pair_starts(self.d), _starts(self.d)
        firsts, lasts = np.triu_indices(self.d)
        for row, (i, j) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
            k, m = firsts[row:], lasts[row:]  # i ≤ k ≤ m and i ≤ j, so that i comes first
            second, other = np.minimum(j, k), np.maximum(j, k)
            third, fourth = np.minimum(other, m), np.maximum(other, m)
            begin = pair_starts[second - second % BLOCK]
            pair = pair_starts[third] + fourth - third
            yield starts[second] + i * (pair_starts[-1] - begin) + pair - begin


def _pair_starts(d: int) -> NDArray[np.int64]:
    """[d + 1] where the pairs (j, ...) of `np.triu_indices` begin, and how many pairs there are."""
    return np.concatenate([[0], np.cumsum(np.arange(d, 0, -1))])


def _starts(d: int) -> NDArray[np.int64]:
    """[d + 1] where the counts of j begin, and how many counts there are."""
    pairs, j = _pair_starts(d), np.arange(d)
    return np.concatenate([[0], np.cumsum((j + 1) * (pairs[-1] - pairs[j - j % BLOCK]))])


def _pairs(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, d (d + 1) / 2] x_i x_j with i ≤ j, of x [n, d]."""
    n, d = x.shape
    starts = _pair_starts(d)
    pairs = np.empty((n, starts[-1]), np.float32)
    for i in range(d):
        np.multiply(x[:, i, None], x[:, i:], out=pairs[:, starts[i] : starts[i + 1]])
    return pairs
