import numpy as np
import pytest

from benchmarks.baselines.annealing import anneal
from benchmarks.baselines.local_search import Slots, local_optimum
from benchmarks.baselines.nas_mo import HARD, SOFT, nas_mo
from benchmarks.baselines.nsga2 import nsga2
from benchmarks.measures import best_within
from pnag.baselines.evolution import regularised_evolution
from pnag.baselines.random_search import random_search
from tests.pnag.landscapes import mobilenet_problem, tabular_problem

pytestmark = pytest.mark.slow

PROBLEM = mobilenet_problem()
SLOTS = Slots.of(PROBLEM.space)
LOW, HIGH = PROBLEM.reachable_ms
BUDGETS = LOW + (HIGH - LOW) * np.array([0.3, 0.6])


def best(archive):
    return best_within(archive.cost_ms, archive.top1, BUDGETS)


def test_blocks_and_tokens_are_inverse():
    tokens = PROBLEM.space.sample(300, np.random.default_rng(0))
    assert (SLOTS.tokens(SLOTS.blocks(tokens)) == tokens).all()


def test_neighbours_differ_in_one_or_two_blocks_and_are_valid():
    (start,) = SLOTS.blocks(PROBLEM.space.sample(1, np.random.default_rng(0)))
    near = SLOTS.neighbours(start)
    changed = (near != start).sum(axis=1)
    assert set(changed.tolist()) == {1, 2}
    PROBLEM.graph.walk(SLOTS.tokens(near))
    # an always present block has 8 other states, alone and with each other one
    assert (changed == 1).sum() >= 10 * 8


def test_a_local_optimum_is_within_the_budget_and_no_neighbour_is_better():
    start = PROBLEM.sample_within(BUDGETS[:1], np.random.default_rng(0))[0]
    found = local_optimum(PROBLEM, start, float(BUDGETS[0]))
    assert PROBLEM.cost(found[None])[0] <= BUDGETS[0]
    near = SLOTS.tokens(SLOTS.neighbours(SLOTS.blocks(found[None])[0]))
    near = near[PROBLEM.cost(near) <= BUDGETS[0]]
    top1 = PROBLEM.accuracy.top1(found[None])[0]
    assert PROBLEM.accuracy.top1(near).max() <= top1
    assert top1 > PROBLEM.accuracy.top1(start[None])[0]


@pytest.mark.parametrize(
    "search",
    [
        lambda: nsga2(PROBLEM, 800, 0, population_size=40),
        lambda: regularised_evolution(PROBLEM, BUDGETS, 800, np.random.default_rng(0)),
        lambda: nas_mo(PROBLEM, BUDGETS, 800, np.random.default_rng(0)),
        lambda: nas_mo(PROBLEM, BUDGETS, 800, np.random.default_rng(0), exponents=HARD),
        lambda: random_search(PROBLEM, 800, np.random.default_rng(0)),
    ],
    ids=["nsga2", "evolution", "nas_mo", "nas_mo_hard", "random"],
)
def test_a_search_spends_its_evaluations_and_states_the_truth(search):
    archive = search()
    assert len(archive) == 800
    assert (archive.cost_ms == PROBLEM.cost(archive.tokens)).all()
    np.testing.assert_allclose(archive.top1, PROBLEM.accuracy.top1(archive.tokens), rtol=1e-12)


def test_searches_beat_chance():
    chance = best(random_search(PROBLEM, 800, np.random.default_rng(0)))
    evolved = best(regularised_evolution(PROBLEM, BUDGETS, 800, np.random.default_rng(0)))
    frontier = best(nsga2(PROBLEM, 800, 0, population_size=40))
    annealed = best(anneal(PROBLEM, np.repeat(BUDGETS, 8), 300, np.random.default_rng(0)))
    assert (evolved > chance).all()
    assert (annealed > chance).all()
    assert (frontier > chance).all()


def test_evolution_finds_the_best_rows_of_a_small_table():
    problem = tabular_problem(n_positions=4, n_choices=3)
    space = problem.space
    budgets = np.quantile(space.latency_ms, [0.3, 0.8])
    archive = regularised_evolution(
        problem, budgets, 600, np.random.default_rng(0), population_size=30, tournament_size=5
    )
    exact = best_within(space.latency_ms, space.top1, budgets)
    assert best_within(archive.cost_ms, archive.top1, budgets) == pytest.approx(exact)


def test_only_the_hard_reward_of_nas_mo_depends_on_the_budget():
    """Under the soft one the budget is a factor, which normalised rewards do not feel."""

    def spread(exponents):
        per_budget = []
        for budget in LOW + (HIGH - LOW) * np.array([0.15, 0.85]):
            rng = np.random.default_rng(0)
            archive = nas_mo(PROBLEM, np.array([budget]), 640, rng, exponents=exponents)
            per_budget.append(archive.cost_ms[-160:].mean())
        return per_budget[1] - per_budget[0]

    assert spread(SOFT) == pytest.approx(0, abs=1e-6)
    assert spread(HARD) > 0.1 * (HIGH - LOW)
