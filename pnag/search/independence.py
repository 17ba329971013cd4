"""Rows that come out alike whatever rows are beside them: their chance, and their rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats

TILE = 32  # rows of a matrix product: for other numbers BLAS may add in another order

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Streams:
    """Uniform numbers for equal groups of rows, each group from a generator of its own."""

    generators: tuple[np.random.Generator, ...]

    @classmethod
    def of_budgets(cls, seed: int, budgets_ms: Floats, repeats: Sequence[int]) -> Streams:
        """One group a budget; `repeats` tells budgets apart that are given more than once."""
        bits = np.asarray(budgets_ms, np.float64).view(np.uint64).tolist()
        pairs = zip(bits, repeats, strict=True)
        return cls(tuple(np.random.default_rng([seed, *pair]) for pair in pairs))

    def random(self, size: tuple[int, ...], *, dtype: type[np.float32]) -> Floats32:
        """As a generator's; the first axis are the rows of all groups."""
        numbers = np.empty(size, dtype)
        groups = numbers.reshape(len(self.generators), -1)
        for generator, group in zip(self.generators, groups, strict=True):
            generator.random(dtype=dtype, out=group)
        return numbers


def occurrences(requests: Iterable[Hashable]) -> list[int]:
    """How often each request was made before."""
    seen: Counter[Hashable] = Counter()
    counts = []
    for request in requests:
        counts.append(seen[request])
        seen[request] += 1
    return counts


def product(rows: Floats32, matrix: Floats32) -> Floats32:
    """rows [n, k] @ matrix [k, m], tile by tile."""
    n = len(rows)
    tiles: Floats32 = _filled(rows).reshape(-1, TILE, rows.shape[1]) @ matrix
    return tiles.reshape(-1, matrix.shape[1])[:n]


def _filled(rows: NDArray[Any]) -> NDArray[Any]:
    """With repetitions of the first row, up to whole tiles."""
    missing = -len(rows) % TILE
    return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows
