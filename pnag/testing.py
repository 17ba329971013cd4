"""What must hold for every problem that is searched: a suite to inherit from; it needs pytest.

class TestMyProblem(ProblemConformance):
    def problem(self):
        return Problem(MySpace(), MyCost(), MyAccuracy())
"""

from __future__ import annotations

import numpy as np
import pytest

from pnag.learning.settings import TrainSettings
from pnag.runs.run import Run, train_run
from pnag.search.problem import Problem
from profiler.errors import InfeasibleBudgetError

N_BUDGETS = 9
BRIEF = TrainSettings(
    n_evaluations=200, n_budgets=3, rounds=2, evaluator_steps=10, evaluator_full_steps=2,
    generator_steps=5, evaluator_hidden=16, generator_hidden=16,
)  # fmt: skip


class ProblemConformance:
    """Implement `problem`: it is searched, trained on briefly, and generated for."""

    def problem(self) -> Problem:
        raise NotImplementedError

    @pytest.fixture
    def run(self) -> Run:
        return train_run(self.problem(), BRIEF)

    def budgets_ms(self) -> list[float]:
        """Within the range: at its lower end a cost that is not additive may be out of aim."""
        low_ms, high_ms = self.problem().reachable_ms
        return [float(ms) for ms in np.linspace(low_ms, high_ms, N_BUDGETS + 2)[1:-1]]

    def test_the_reachable_range_holds_every_architecture(self) -> None:
        problem = self.problem()
        low_ms, high_ms = problem.reachable_ms
        assert 0 < low_ms < high_ms
        cost_ms = problem.cost(problem.space.sample(500, np.random.default_rng(0)))
        assert cost_ms.min() >= low_ms * (1 - 1e-9)

    def test_generated_architectures_stay_within_their_budgets(self, run: Run) -> None:
        problem = run.problem
        for made in run.generate(self.budgets_ms()):
            (cost_ms,) = problem.cost(made.tokens[None])
            assert made.feasible
            assert made.latency_ms == cost_ms <= made.budget_ms
            assert made.top1 == problem.accuracy.top1(made.tokens[None])[0]

    def test_generated_architectures_are_of_the_space(self, run: Run) -> None:
        space = run.problem.space
        for made in run.generate(self.budgets_ms()):
            assert (space.parse(made.arch) == made.tokens).all()

    def test_the_same_seed_generates_the_same(self, run: Run) -> None:
        first, second = (run.generate(self.budgets_ms(), seed=1) for _ in range(2))
        assert [made.arch for made in first] == [made.arch for made in second]

    def test_a_budget_that_nothing_meets_is_refused(self, run: Run) -> None:
        with pytest.raises(InfeasibleBudgetError, match="reachable"):
            run.generate([run.reachable_ms[0] / 2])
