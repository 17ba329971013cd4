"""Closed-form problems: accuracies and costs whose best architectures are known or computable."""

import itertools

import numpy as np

from pnag.search.problem import Problem
from predictors.cost import AdditiveCost, Term
from predictors.tabular import TabularAccuracy, TabularCost
from profiler.spaces.base import TokenPosition
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import N_SLOTS
from profiler.spaces.tabular import TabularSpace


def block_cost(fixed, block, unit="ms", relative_quantiles=None):
    """An additive cost of MobileNetV3 from [20, 3, 3] costs by slot, expand and kernel."""
    slots = [part.positions for part in MobileNetV3Space().segments() if part.positions]
    terms = tuple(Term(at, values) for at, values in zip(slots, block, strict=True))
    return AdditiveCost(fixed, terms, unit, relative_quantiles or {})


class SaturatingAccuracy:
    """Capacity of the active blocks with diminishing returns: 0.6 + 0.2 (1 - exp(-Σ gain))."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        gain = np.cumsum(rng.uniform(0.01, 0.03, (N_SLOTS, 3, 3)), axis=1)
        self.capacity = block_cost(0.0, np.cumsum(gain, axis=2), unit="nats")

    def top1(self, tokens):
        return 0.6 + 0.2 * (1 - np.exp(-self.capacity(tokens) / 2))


def synthetic_cost(space, seed=0):
    """A block table shaped like a measured one: proportional to MAdds, with 10 % scatter."""
    from predictors.cost import madds_cost

    madds = madds_cost(space)
    block = np.stack([term.values for term in madds.terms])
    scatter = np.random.default_rng(seed).normal(1, 0.1, block.shape)
    return block_cost(madds.fixed / 1e7, block * scatter / 1e7, "ms", {0.9: 0.02, 0.95: 0.03})


def mobilenet_problem(seed=0):
    space = MobileNetV3Space()
    return Problem(space, synthetic_cost(space, seed), SaturatingAccuracy(seed))


def grid_space(n_positions=5, n_choices=4, seed=0, keep=1.0):
    """All (or a random share) of n_choices ** n_positions rows; costs and accuracies interact."""
    rng = np.random.default_rng(seed)
    rows = np.array(list(itertools.product(range(n_choices), repeat=n_positions)), np.int8)
    rows = rows[rng.random(len(rows)) < keep]
    price = np.cumsum(rng.uniform(0.5, 2.0, (n_positions, n_choices)), axis=1)
    value = np.cumsum(rng.uniform(0.0, 0.3, (n_positions, n_choices)), axis=1)
    at = np.arange(n_positions)
    latency_ms = 1 + price[at, rows].sum(axis=1)
    total = value[at, rows].sum(axis=1) + 0.3 * np.sin(rows[:, 0] * rows[:, 1] + rows[:, 2])
    top1 = 0.4 + 0.5 * (1 - np.exp(-total))
    choices = tuple(str(choice) for choice in range(n_choices))
    positions = tuple(TokenPosition(f"op{i}", choices) for i in range(n_positions))
    return TabularSpace("tabular:grid", positions, rows, top1, latency_ms)


def tabular_problem(**options):
    space = grid_space(**options)
    return Problem(space, TabularCost(space), TabularAccuracy(space))


def write_tabular(path, space):
    """The rows of a tabular space of three positions as the CSV file that it could be read from."""
    lines = ["a,b,c,top1,latency_ms"]
    for row, top1, latency_ms in zip(space.rows, space.top1, space.latency_ms, strict=True):
        lines.append(",".join(map(str, [*row, top1, latency_ms])))
    path.write_text("\n".join(lines) + "\n")
    return path
