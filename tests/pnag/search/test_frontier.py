import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnag.search.frontier import Frontier, FrontierPoint, hypervolume, non_dominated

POINTS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=30).map(
    lambda pairs: np.array(pairs, dtype=float)
)


@given(POINTS)
def test_hypervolume_counts_the_dominated_unit_cells(points):
    cost, value = points.T
    cells = 0
    for x in range(21):  # the cell right of x, below y + 1
        for y in range(20):
            cells += bool(((cost <= x) & (value >= y + 1)).any())
    assert hypervolume(cost, value, 21.0, 0.0) == pytest.approx(cells)


@given(POINTS)
def test_non_dominated_is_the_definition(points):
    cost, value = points.T
    kept = non_dominated(cost, value)
    for i in range(len(points)):
        no_worse = (cost <= cost[i]) & (value >= value[i])
        better = no_worse & ((cost < cost[i]) | (value > value[i]))
        equal = no_worse & ~better
        assert (i in kept) == (not better.any() and i == np.flatnonzero(equal)[0])
    assert (np.diff(cost[kept]) > 0).all()


def test_points_beyond_the_reference_add_nothing():
    assert hypervolume(np.array([5.0, 1.0]), np.array([0.9, 0.1]), 4.0, 0.2) == 0.0


def test_a_frontier_is_sorted_and_non_dominated():
    points = [FrontierPoint("a", 3, 0.7), FrontierPoint("b", 2, 0.6), FrontierPoint("c", 3, 0.65)]
    frontier = Frontier.of(points)
    assert [point.arch for point in frontier] == ["b", "a"]
    assert len(frontier) == 2
    assert frontier.hypervolume(worst_latency_ms=4, worst_top1=0.5) == pytest.approx(0.1 + 0.2)
