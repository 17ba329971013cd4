"""Problems in spaces that are neither MobileNetV3 nor a table."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.problem import Problem
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.spaces.base import DEAD, Condition, TokenPosition

CHOICES = (3, 2, 4, 3)
PRICE_MS = [np.array([1.0, 2.0, 4.0]), np.array([0.5, 3.0]), np.arange(4.0), np.array([5, 1, 2.0])]
VALUE = [np.array([0.0, 0.1, 0.12]), np.array([0.0, 0.2]), np.arange(4) / 20, np.arange(3) / 30]
EVERY = np.array(list(itertools.product(*map(range, CHOICES))), np.int8)
SMALL = TrainSettings(
    n_evaluations=72, rounds=2, evaluator_steps=20, evaluator_full_steps=1, generator_steps=20,
    evaluator_hidden=16, generator_hidden=16, n_budgets=2,
)  # fmt: skip


@dataclass(frozen=True)
class FreeSpace:
    """Four free decisions."""

    name: str = "free"
    positions: tuple[TokenPosition, ...] = tuple(
        TokenPosition(f"p{i}", tuple(range(n))) for i, n in enumerate(CHOICES)
    )

    def sample(self, n, rng):
        return rng.integers(CHOICES, size=(n, len(CHOICES)), dtype=np.int8)

    def parse(self, text):
        return np.array(list(map(int, text.split("-"))), np.int8)

    def format(self, tokens):
        return "-".join(map(str, tokens))


@dataclass(frozen=True)
class Price:
    """Additive; with `coupling` not."""

    coupling: float = 0.0
    unit: str = "ms"
    scale: float = 1.0

    def __call__(self, tokens):
        total = 0.7 + sum(PRICE_MS[at][tokens[:, at]] for at in range(len(CHOICES)))
        return self.scale * (total + self.coupling * tokens[:, 0] * tokens[:, 2])

    def relative_interval(self, confidence):
        raise InvalidInputError("no interval")


class Value:
    def top1(self, tokens):
        return 0.3 + sum(VALUE[at][tokens[:, at]] for at in range(len(CHOICES)))


def test_an_additive_cost_lies_exactly_on_the_chain():
    problem = Problem(FreeSpace(), Price(), Value())
    np.testing.assert_allclose(
        problem.constraints.path_costs(EVERY)[:, 0], problem.cost(EVERY), rtol=1e-12
    )
    assert problem.reachable_ms == pytest.approx((0.7 + 1 + 0.5 + 0 + 1, 0.7 + 4 + 3 + 3 + 5))


def test_the_dearest_architecture_is_within_reach_to_the_last_bit():
    for scale in np.random.default_rng(0).random(50):
        cost = Price(scale=scale)
        assert Problem(FreeSpace(), cost, Value()).reachable_ms[1] >= cost(EVERY).max()


@pytest.mark.parametrize("coupling", [0.0, 0.4])
def test_no_budget_is_exceeded_and_the_optimum_is_near(coupling):
    problem = Problem(FreeSpace(), Price(coupling), Value())
    run = train_run(problem, SMALL)
    cost, top1 = problem.cost(EVERY), problem.accuracy.top1(EVERY)
    budgets = [4.0, 6.0, 8.0, 10.0, 14.0]
    for made in run.generate(budgets, n_samples=64):
        best = top1[cost <= made.budget_ms].max()
        assert made.latency_ms <= made.budget_ms
        assert made.top1 >= best - 0.05
    with pytest.raises(InfeasibleBudgetError, match="reachable"):
        run.generate([1.0])


@dataclass(frozen=True)
class Curved:
    """A power of the additive price, whose best additive fit lies far off at the ends."""

    power: float
    unit: str = "ms"

    def __call__(self, tokens):
        return 1 + (Price()(tokens) - 3.2) ** self.power

    def relative_interval(self, confidence):
        raise InvalidInputError("no interval")


@pytest.mark.parametrize("power", [0.3, 0.5, 2.0, 3.0])
def test_all_of_the_range_is_reached_where_the_fit_is_poor(power):
    problem = Problem(FreeSpace(), Curved(power), Value())
    run = train_run(problem, SMALL)
    low_ms, high_ms = problem.reachable_ms
    for made in run.generate(np.linspace(low_ms, high_ms, 20).tolist(), pure=True):
        assert made.latency_ms <= made.budget_ms
    cost = problem.cost(EVERY)
    assert cost.min() <= low_ms and high_ms >= cost.max()


@dataclass(frozen=True)
class Wide(FreeSpace):
    """Fourteen decisions: too many to come upon the few cheapest architectures by chance."""

    positions: tuple[TokenPosition, ...] = tuple(
        TokenPosition(f"p{i}", (0, 1, 2)) for i in range(14)
    )

    def sample(self, n, rng):
        return rng.integers(3, size=(n, 14), dtype=np.int8)


class Cubic:
    unit = "ms"

    def __call__(self, tokens):
        return 1.0 + tokens.sum(axis=1, dtype=np.float64) ** 3

    def relative_interval(self, confidence):
        raise InvalidInputError("no interval")

    def top1(self, tokens):
        return 0.5 + tokens.sum(axis=1) / 80


def test_a_frontier_has_what_decoding_under_a_poor_fit_reaches():
    problem = Problem(Wide(), Cubic(), Cubic())
    assert problem.constraints.lowest_bound < 0 < problem.reachable_ms[0]
    frontier = train_run(problem, SMALL).frontier()
    assert frontier.points[-1].latency_ms <= problem.reachable_ms[1] == 1 + 28**3
    assert len(frontier) > 5


@dataclass(frozen=True)
class Deep:
    """One to three layers of three widths, in a table's 39 rows or by conditions."""

    name: str = "deep"
    positions: tuple[TokenPosition, ...] = (
        TokenPosition("depth", (1, 2, 3)),
        TokenPosition("width1", (8, 16, 32)),
        TokenPosition("width2", (8, 16, 32), Condition(0, (1, 2))),
        TokenPosition("width3", (8, 16, 32), Condition(0, (2,))),
    )

    def sample(self, n, rng):
        tokens = rng.integers(0, 3, (n, 4), dtype=np.int8)
        tokens[:, 1:][np.arange(3) > tokens[:, :1]] = DEAD
        return tokens

    def parse(self, text):
        return np.array([int(token) for token in text.split()], np.int8)

    def format(self, tokens):
        return " ".join(map(str, tokens))


class Widths:
    unit = "ms"

    def __call__(self, tokens):
        return 1.0 + np.where(tokens[:, 1:] == DEAD, 0.0, 2.0 ** tokens[:, 1:]).sum(axis=1)

    def relative_interval(self, confidence):
        raise InvalidInputError("no interval")

    def top1(self, tokens):
        return 0.9 - 1 / (1 + self(tokens))


def test_a_space_with_dead_positions_is_searched_as_it_says():
    problem = Problem(Deep(), Widths(), Widths())
    every = np.unique(Deep().sample(5000, np.random.default_rng(0)), axis=0)
    assert len(every) == 3 + 9 + 27
    cost = problem.cost(every)
    np.testing.assert_allclose(problem.constraints.path_costs(every)[:, 0], cost, rtol=1e-9)
    assert problem.reachable_ms == pytest.approx((2.0, 13.0))
    drawn = problem.sample_within(np.full(2000, 5.5), np.random.default_rng(1))
    feasible = {row.tobytes() for row in every[cost <= 5.5]}
    assert {row.tobytes() for row in drawn} == feasible
