import numpy as np

from pnag.search.archive import Archive
from tests.pnag.landscapes import tabular_problem


def test_unseen_drops_known_and_repeated_rows():
    archive = Archive(np.array([[0, 1]], np.int8), np.array([0.5]), np.array([1.0]))
    tokens = np.array([[0, 1], [1, 1], [1, 1], [0, 0]], np.int8)
    assert archive.unseen(tokens).tolist() == [[1, 1], [0, 0]]


def test_fronts_peel_and_elites_are_the_best_within_each_budget():
    problem = tabular_problem()
    space = problem.space
    archive = Archive.empty(5).extended(space.rows, problem)
    fronts = archive.fronts(3)
    assert len(set(np.concatenate(fronts))) == sum(map(len, fronts))
    budgets = np.quantile(space.latency_ms, [0.0, 0.2, 0.9])
    chosen, owner = archive.elites(budgets, 3)
    for index, budget in enumerate(budgets):
        mine = chosen[owner == index]
        assert (archive.cost_ms[mine] <= budget).all()
        best = archive.top1[archive.cost_ms <= budget].max()
        assert archive.top1[mine].max() == best


def test_elites_of_a_budget_below_all_are_none():
    problem = tabular_problem()
    archive = Archive.empty(5).extended(problem.space.rows[:50], problem)
    chosen, owner = archive.elites(np.array([0.5]), 4)
    assert len(chosen) == len(owner) == 0


def test_the_best_row_within_each_budget():
    archive = Archive(
        np.arange(5, dtype=np.int8)[:, None],
        np.array([0.7, 0.6, 0.9, 0.8, 0.65]),
        np.array([3.0, 1, 9, 8, 8.1]),
    )
    assert archive.best_within(np.array([0.5, 1.0, 2.9, 3.0, 8.5, 9.0])).tolist() == [
        -1, 1, 1, 0, 3, 2,
    ]  # fmt: skip
    assert [front.tolist() for front in archive.fronts(9)] == [[1, 0, 3, 2], [4]]
    assert archive.kept(archive.cost_ms < 5).tokens.tolist() == [[0], [1]]


def test_joined_archives_are_priced_anew():
    problem = tabular_problem()
    parts = [Archive.empty(5).extended(problem.space.rows[rows], problem) for rows in ([0], [3, 5])]
    joined = Archive.joined(parts, lambda tokens: 2 * problem.cost(tokens))
    assert joined.tokens.tolist() == problem.space.rows[[0, 3, 5]].tolist()
    assert joined.cost_ms.tolist() == (2 * problem.space.latency_ms[[0, 3, 5]]).tolist()
