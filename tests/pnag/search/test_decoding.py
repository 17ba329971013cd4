import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnag.search.constraints import MOST_KEPT, Constraints
from pnag.search.decoding import decode, producible, replay
from pnag.search.independence import Streams
from pnag.search.policies import MutationPolicy, UniformPolicy
from predictors.cost import AdditiveCost, Term, madds_cost, params_cost
from profiler.errors import InvalidInputError
from profiler.spaces.base import DEAD
from profiler.spaces.decisions import decision_graph
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.pnag.landscapes import grid_space, mobilenet_problem, tabular_problem

SPACE = MobileNetV3Space()
GRAPH = decision_graph(SPACE)
UNIFORM = UniformPolicy(3)
MADDS, PARAMS = madds_cost(SPACE), params_cost(SPACE)
MADDS_ONLY = Constraints.of(GRAPH, [MADDS.edge_costs(GRAPH)])
BOTH = Constraints.of(GRAPH, [MADDS.edge_costs(GRAPH), PARAMS.edge_costs(GRAPH)])
FEW_MADDS = AdditiveCost(  # of a block the dearer, the fewer it has
    1.0, tuple(Term(t.positions, 2 * t.values.max() - t.values) for t in MADDS.terms)
)
OPPOSED = Constraints.of(GRAPH, [MADDS.edge_costs(GRAPH), FEW_MADDS.edge_costs(GRAPH)])


def test_the_mobilenet_graph_holds_every_architecture_and_its_cost():
    tokens = SPACE.sample(500, np.random.default_rng(0))
    nodes, choices = GRAPH.walk(tokens)
    assert len(GRAPH.position) == 5 * 37 + 1
    spent = MADDS.edge_costs(GRAPH)[nodes, choices].sum(axis=1)
    np.testing.assert_allclose(spent, MADDS(tokens), rtol=1e-12)


def test_reachable_costs_are_those_of_the_smallest_and_largest_network():
    low, high = MADDS_ONLY.reachable[0]
    assert (round(low / 1e6, 1), round(high / 1e6, 1)) == (121.3, 566.2)


def test_tokens_off_the_graph_are_refused():
    tokens = SPACE.sample(1, np.random.default_rng(0))
    tokens[0, 1] = DEAD
    with pytest.raises(InvalidInputError, match="not an architecture"):
        GRAPH.walk(tokens)


def test_a_cost_of_another_space_is_refused():
    foreign = AdditiveCost(0.0, (Term((1, 4), np.ones((3, 3))),))
    with pytest.raises(InvalidInputError, match="not one of this space"):
        foreign.edge_costs(GRAPH)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_no_architecture_exceeds_its_budget_and_every_path_ends(share, seed):
    low, high = MADDS_ONLY.reachable[0]
    budget = low + share * (high - low)
    tokens = decode(MADDS_ONLY, np.full((50, 1), budget), UNIFORM, np.random.default_rng(seed))
    assert (MADDS(tokens) <= budget * (1 + 1e-11)).all()
    for row in tokens[:5]:
        assert (SPACE.parse(SPACE.format(row)) == row).all()


def test_masking_is_exact_on_a_small_space():
    """A choice is open if and only if some row with that prefix fits the budget."""
    problem = tabular_problem(n_positions=4, n_choices=3, keep=0.6)
    space, constraints = problem.space, problem.constraints
    nodes, _ = problem.graph.walk(space.rows)
    for budget in np.quantile(space.latency_ms, [0.01, 0.3, 0.7]):
        trajectory = replay(constraints, space.rows, np.full((len(space.rows), 1), budget))
        for row, opened in zip(space.rows, trajectory.opened, strict=True):
            for step in range(4):
                same = (space.rows[:, :step] == row[:step]).all(axis=1)
                fits = same & (space.latency_ms <= budget)
                expected = sorted(set(space.rows[fits, step].tolist()))
                assert np.flatnonzero(opened[step]).tolist() == expected
    assert nodes.shape == space.rows.shape


def test_only_rows_of_a_tabular_space_are_generated():
    space = grid_space(keep=0.3)
    graph = decision_graph(space)
    free = Constraints.of(graph, [np.zeros(graph.successor.shape)])
    unbounded = np.full((500, 1), np.inf)
    tokens = decode(free, unbounded, UniformPolicy(4), np.random.default_rng(0))
    assert len(space.row_index(tokens)) == 500


@pytest.mark.parametrize("shares", [(0.5, 0.1), (0.1, 0.5), (0.3, 0.3), (1.0, 0.02)])
def test_two_bounds_hold_together(shares):
    ranges = BOTH.reachable
    bounds = ranges[:, 0] + np.array(shares) * (ranges[:, 1] - ranges[:, 0])
    tokens = decode(BOTH, np.tile(bounds, (300, 1)), UNIFORM, np.random.default_rng(1))
    assert (MADDS(tokens) <= bounds[0] * (1 + 1e-11)).all()
    assert (PARAMS(tokens) <= bounds[1] * (1 + 1e-11)).all()


def test_kept_completions_under_two_bounds_are_real():
    """Every completion promised at the root is the cost of an architecture that decoding finds."""
    promised = OPPOSED.completion[0].reshape(-1, 2)
    promised = promised[np.isfinite(promised).all(axis=1)]
    assert len(promised) > MOST_KEPT
    for madds, other in promised[:: len(promised) // 10]:
        bound = np.array([[madds, other]])
        tokens = decode(OPPOSED, bound, UNIFORM, np.random.default_rng(0))
        assert MADDS(tokens)[0] <= madds * (1 + 1e-11)
        assert FEW_MADDS(tokens)[0] <= other * (1 + 1e-11)


def test_tightness_is_the_share_of_the_rest_that_fits():
    tokens = SPACE.sample(20, np.random.default_rng(3))
    low, high = MADDS_ONLY.reachable[0]
    loose = replay(MADDS_ONLY, tokens, np.full((20, 1), 2 * high))
    assert (loose.tightness[loose.live] == 1).all()
    half = replay(MADDS_ONLY, tokens, np.full((20, 1), (low + high) / 2))
    np.testing.assert_allclose(half.tightness[:, 0], 0.5, atol=1e-9)


def test_mutation_without_redraw_copies_and_with_it_stays_within_the_budget():
    problem = mobilenet_problem()
    rng = np.random.default_rng(0)
    low, high = problem.reachable_ms
    budgets = np.linspace(low * 1.05, high, 200)
    parents = problem.sample_within(budgets, rng)
    same = MutationPolicy(parents, np.zeros(parents.shape, bool), 3)
    assert (decode(problem.constraints, budgets[:, None], same, rng) == parents).all()
    some = MutationPolicy(parents, rng.random(parents.shape) < 0.2, 3)
    children = decode(problem.constraints, budgets[:, None], some, rng)
    assert (problem.cost(children) <= budgets * (1 + 1e-11)).all()
    assert (children != parents).any(axis=1).mean() > 0.9


def test_a_path_that_costs_all_of_its_bound_is_open():
    tokens = SPACE.sample(50, np.random.default_rng(6))
    trajectory = replay(MADDS_ONLY, tokens, MADDS_ONLY.path_costs(tokens))
    taken = np.take_along_axis(trajectory.opened, trajectory.choices[:, :, None], axis=2)[:, :, 0]
    assert (taken == (trajectory.positions < GRAPH.n_positions)).all()


def test_chance_may_draw_a_zero():
    class Zeros(Streams):
        def random(self, size, *, dtype):
            return np.zeros(size, dtype)

    tokens = decode(MADDS_ONLY, np.full((1, 1), np.inf), UNIFORM, Zeros(()))
    assert set(tokens[0].tolist()) == {0, DEAD}  # of equals the first


def test_under_one_bound_all_within_it_can_be_made():
    tokens = SPACE.sample(50, np.random.default_rng(4))
    factors = np.where(np.arange(50) % 2, 1.0, 0.999)[:, None]
    bounds = factors * MADDS_ONLY.path_costs(tokens)
    assert producible(MADDS_ONLY, tokens, bounds).tolist() == [False, True] * 25


def test_under_two_bounds_those_can_be_made_that_decoding_makes_where_it_prefers_them():
    """Of costs that rise where the other falls, so that few completions are kept of many."""
    tokens = SPACE.sample(300, np.random.default_rng(5))
    spent = OPPOSED.path_costs(tokens)
    preferred = MutationPolicy(tokens, np.zeros(tokens.shape, bool), 3)
    made = (decode(OPPOSED, spent * 1.001, preferred, None) == tokens).all(axis=1)
    assert producible(OPPOSED, tokens, spent * 1.001).tolist() == made.tolist()
    assert 0 < made.sum() < 300
    for factors in ([0.999, 1.1], [1.1, 0.999]):
        assert not producible(OPPOSED, tokens, spent * factors).any()
    assert producible(OPPOSED, tokens[:0], spent[:0]).shape == (0,)
