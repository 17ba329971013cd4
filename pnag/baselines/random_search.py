"""Random search: as many architectures as there are evaluations."""

from __future__ import annotations

import numpy as np

from pnag.search.archive import Archive
from pnag.search.problem import Problem


def random_search(problem: Problem, n_evaluations: int, rng: np.random.Generator) -> Archive:
    """Every token uniform, as the space samples."""
    empty = Archive.empty(len(problem.space.positions))
    return empty.extended(problem.space.sample(n_evaluations, rng), problem)
