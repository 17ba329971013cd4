import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pnag.learning.ranking import mean_pairwise_hinge, pairwise_hinge
from pnag.learning.rewards import pareto_ranks


def pairwise_hinge_by_pairs(scores, ranks):
    """The same loss and gradient by its definition, in O(M^2)."""
    difference = scores[:, None] - scores[None, :]
    sign = np.where(ranks[:, None] <= ranks[None, :], 1.0, -1.0)
    hinge = 1 - sign * difference
    active = hinge > 0
    np.fill_diagonal(active, False)
    pull = np.where(active, sign, 0.0)
    return float(hinge[active].sum()), pull.sum(axis=0) - pull.sum(axis=1)


@st.composite
def scored_ranks(draw):
    """Scores and ranks with ties in both, and score differences of exactly 1 (the kink)."""
    m = draw(st.integers(1, 40))
    score = st.integers(-24, 24).map(lambda n: n / 8)  # exact in floating point, as are sums
    scores = draw(st.lists(score, min_size=m, max_size=m))
    ranks = draw(st.lists(st.integers(0, m // 2), min_size=m, max_size=m))
    return np.array(scores, dtype=np.float64), np.array(ranks, dtype=np.int64)


@settings(max_examples=300, deadline=None)
@given(scored_ranks())
def test_the_fast_loss_is_exactly_the_sum_over_all_pairs(case):
    scores, ranks = case
    loss, gradient = pairwise_hinge(scores, ranks)
    expected_loss, expected_gradient = pairwise_hinge_by_pairs(scores, ranks)
    assert loss == expected_loss
    np.testing.assert_array_equal(gradient, expected_gradient)


def test_the_fast_loss_on_many_real_scores():
    rng = np.random.default_rng(0)
    for spread, n_ranks in [(0.1, 2000), (1.0, 50), (30.0, 2000), (1e4, 7)]:
        scores = spread * rng.normal(size=1500)
        ranks = rng.integers(0, n_ranks, size=1500)
        loss, gradient = pairwise_hinge(scores, ranks)
        expected_loss, expected_gradient = pairwise_hinge_by_pairs(scores, ranks)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
        np.testing.assert_array_equal(gradient, expected_gradient)


def literal_loss(scores, top1, cost, budget):
    """Equations 3 and 4 word by word, one pair after the other."""
    total = scores.new_zeros(())
    for i in range(len(scores)):
        for j in range(len(scores)):
            if i == j:
                continue
            if cost[i] <= budget and cost[j] <= budget:
                d = 1 if top1[i] >= top1[j] else -1
            else:
                d = 1 if cost[i] <= cost[j] else -1
            total = total + torch.clamp(1 - d * (scores[i] - scores[j]), min=0)
    return total / (len(scores) * (len(scores) - 1))


def test_mean_loss_and_autograd_equal_the_equations():
    rng = np.random.default_rng(0)
    top1 = rng.integers(0, 8, 30) / 10  # many ties
    cost = rng.integers(1, 9, 30).astype(float)
    budgets = [2.0, 5.0, 8.0]
    scores = torch.randn(3, 30, dtype=torch.float64, generator=torch.manual_seed(1))
    scores.requires_grad_()
    expected = sum(literal_loss(scores[k], top1, cost, b) for k, b in enumerate(budgets)) / 3
    (expected_gradient,) = torch.autograd.grad(expected, scores)
    ranks = np.stack([pareto_ranks(top1, cost, b) for b in budgets])
    loss = mean_pairwise_hinge(scores, ranks)
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-15)


def test_one_architecture_alone_costs_nothing():
    scores = torch.ones(2, 1, requires_grad=True)
    mean_pairwise_hinge(scores, np.zeros((2, 1), np.int64)).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0.0], [0.0]]


def test_a_perfect_order_with_margin_costs_nothing():
    ranks = np.arange(50)[None]
    scores = torch.arange(50, 0, -1, dtype=torch.float64)[None] * 2
    assert mean_pairwise_hinge(scores, ranks).item() == 0.0


def test_tied_architectures_cost_two_per_pair_however_close():
    loss, gradient = pairwise_hinge(np.array([0.0, 0.5, 0.9]), np.zeros(3, np.int64))
    assert loss == 6.0
    assert gradient.tolist() == [0, 0, 0]
