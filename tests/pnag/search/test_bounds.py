"""Two currencies at once: a latency and a measured energy over rows whose optimum is known."""

from dataclasses import replace

import numpy as np
import pytest

from pnag.generate import generate_each
from pnag.generated import GeneratedArchitecture, UnmetBudget, refuse_unmet
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.bounds import bounded_costs, parse_budgets
from pnag.search.decoding import replay
from pnag.search.problem import Problem
from predictors.base import Margin
from predictors.cost import AdditiveCost
from predictors.tabular import TabularAccuracy, TabularCost, further_costs
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from tests.pnag.landscapes import grid_space

BRIEF = TrainSettings(
    n_evaluations=200, rounds=2, evaluator_steps=10, evaluator_full_steps=1, generator_steps=10,
    evaluator_hidden=16, generator_hidden=16, n_budgets=3,
)  # fmt: skip


def measured_problem():
    """Energies that fall where the latency rises, with scatter: few rows undercut another."""
    space = grid_space(n_positions=4, n_choices=4, keep=0.7)
    scatter = np.random.default_rng(3).uniform(0.5, 1.5, len(space.rows))
    energy_mj = 40 / space.latency_ms * scatter
    space = replace(space, costs={"energy_mj": energy_mj, "phone_ms": 2 * space.latency_ms})
    return Problem(space, TabularCost(space), TabularAccuracy(space), further_costs(space))


PROBLEM = measured_problem()
SPACE = PROBLEM.space
ENERGY_MJ = SPACE.costs["energy_mj"]


@pytest.fixture(scope="module")
def run():
    return train_run(PROBLEM, BRIEF)


def pairs():
    ends = [np.quantile(of_all, np.linspace(0.05, 1, 6)) for of_all in (SPACE.latency_ms,
            ENERGY_MJ)]  # fmt: skip
    return [(float(ms), float(mj)) for ms in ends[0] for mj in ends[1]]


def exact(ms, mj):
    within = (SPACE.latency_ms <= ms) & (mj >= ENERGY_MJ)
    return SPACE.top1[within].max() if within.any() else None


def test_a_choice_is_open_where_a_row_fits_both_bounds():
    """Of trade-offs that no weighting of the costs prefers as well."""
    constraints = PROBLEM.constraints_with(("energy",))
    for bounds in pairs():
        trajectory = replay(constraints, SPACE.rows, np.tile(bounds, (len(SPACE.rows), 1)))
        fits = (SPACE.latency_ms <= bounds[0]) & (bounds[1] >= ENERGY_MJ)
        for row, opened in zip(SPACE.rows[::7], trajectory.opened[::7], strict=True):
            for step in range(4):
                same = (SPACE.rows[:, :step] == row[:step]).all(axis=1)
                expected = sorted(set(SPACE.rows[fits & same, step].tolist()))
                assert np.flatnonzero(opened[step]).tolist() == expected


def test_each_pair_is_met_exactly_or_said_to_be_infeasible(run):
    asked = pairs()
    bounds = [{"energy": mj} for _, mj in asked]
    made = run.generate_each([ms for ms, _ in asked], bounds=bounds)
    assert {type(one) for one in made} == {GeneratedArchitecture, UnmetBudget}
    for (ms, mj), one in zip(asked, made, strict=True):
        best = exact(ms, mj)
        assert isinstance(one, UnmetBudget) == (best is None)
        if isinstance(one, UnmetBudget):
            assert one.reachable == {"energy": (ENERGY_MJ.min(), ENERGY_MJ.max())}
            assert one.bounds == {"energy": mj}
            least_ms = SPACE.latency_ms[mj >= ENERGY_MJ].min()
            assert one.reason.endswith(f"within the other bounds {least_ms:.6g} ms or more")
            continue
        spent = one.costs["energy"]
        assert spent.value == ENERGY_MJ[SPACE.row_index(one.tokens[None])[0]] <= mj
        assert one.feasible and one.latency_ms <= ms
        assert (spent.unit, spent.bound, spent.used) == ("mJ", mj, spent.value / mj)
        assert one.nearest_bound == max(
            ("latency", one.latency_ms / ms), ("energy", spent.value / mj), key=lambda b: b[1]
        )
        assert one.top1 <= best and list(one.costs) == ["latency", "energy", "phone"]


def test_no_sample_is_over_either_bound(run):
    asked = [pair for pair in pairs() if exact(*pair)]
    request = np.repeat(asked, 20, axis=0)
    made = refuse_unmet(
        generate_each(
            PROBLEM, run.learners, request[:, 0].tolist(), n_samples=1,
            bounds=[{"energy": mj} for mj in request[:, 1]],
        )
    )  # fmt: skip
    tokens = np.stack([one.tokens for one in made])
    spent = np.stack([PROBLEM.cost(tokens), PROBLEM.further["energy"](tokens)], axis=1)
    assert (spent <= request).all()


def test_a_pair_is_answered_alike_whatever_is_asked_beside_it(run):
    ms, (tight, loose) = float(np.median(SPACE.latency_ms)), np.quantile(ENERGY_MJ, [0.5, 0.9])
    options = {"n_samples": 1, "pure": True}
    both = run.generate([ms, ms], bounds=[{"energy": loose}, {"energy": tight}], **options)
    (alone,) = run.generate([ms], bounds={"energy": tight}, **options)
    assert both[1].arch == alone.arch


def test_the_interval_of_each_latency_counts_and_no_energy_has_one():
    """A latency without an interval is refused."""
    with pytest.raises(InvalidInputError, match="no interval for confidence"):
        bounded_costs(PROBLEM, [9.0], {"phone": 5.0}, 0.9)

    class Sure:
        unit = "ms"

        def __call__(self, tokens):
            return PROBLEM.cost(tokens)

        def relative_interval(self, confidence):
            return 0.1

    problem = replace(PROBLEM, cost=Sure(), further={**PROBLEM.further, "phone": Sure()})
    costs = bounded_costs(problem, [9.0], {"phone": 5.0, "energy": 7.0}, 0.9)
    assert {cost.name: cost.margin for cost in costs} == {
        "latency": Margin(0.1), "energy": Margin(), "phone": Margin(0.1),
    }  # fmt: skip


def test_a_budget_counts_one_side_of_the_interval():
    cost = AdditiveCost(4.0, (), relative_quantiles={0.9: 0.1}, margins={0.9: Margin(0.05, 0.08)})
    (asked,) = bounded_costs(replace(PROBLEM, cost=cost, further={}), [9.0], confidence=0.9)
    assert (asked.margin, asked.half_width) == (Margin(0.05, 0.08), 0.1)
    assert asked.taken(np.array([4.0])) == pytest.approx([4.28])


def test_an_unknown_cost_is_refused_with_those_there_are(run):
    with pytest.raises(
        InvalidInputError, match="no cost 'power' here; there are: latency, energy, phone, madds"
    ):
        run.generate([9.0], bounds={"power": 3.0})
    with pytest.raises(InvalidInputError, match=r"^latency is what the budgets bound"):
        run.generate([9.0], bounds={"latency": 5.0})
    with pytest.raises(InfeasibleBudgetError, match="mJ of energy are reachable"):
        run.generate([9.0], bounds={"energy": 1e-3})


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["9ms", "12"], [(9, {}), (12, {})]),
        (["latency=9ms", "phone=0.04s"], [(9, {"phone": 40})]),
        (["9", "12", "energy=0.01J"], [(9, {"energy": 10}), (12, {"energy": 10})]),
        (["9,energy=5", "phone=8,12"], [(9, {"energy": 5}), (12, {"phone": 8})]),
    ],
)
def test_budgets_of_several_costs_are_read(texts, expected):
    budgets_ms, bounds = parse_budgets(texts, PROBLEM)
    assert list(zip(budgets_ms, bounds, strict=True)) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["energy=5"], "give a budget of the latency as well"),
        (["9", "energy=5", "energy=6"], "energy is bounded twice"),
        (["9,energy=5", "energy=6"], "energy is bounded twice"),
        (["9,12"], "bounds latency twice"),
        (["9", "energy=5ms"], "is not a positive number of mJ"),
        (["9", "watt=5"], "there is no cost 'watt'"),
        (["9,energy="], "energy bound .* is not a positive"),
        (["9", "madds=1M"], "no networks to count MAdds"),
    ],
)
def test_bad_budgets_of_several_costs_are_one_line(texts, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_budgets(texts, PROBLEM)
