import numpy as np
import torch

from pnag.learning.generator import Generator, log_likelihood, mean_entropy
from pnag.search.decoding import decode, replay
from tests.pnag.landscapes import mobilenet_problem, tabular_problem


def generator_for(problem, n_budgets=3):
    torch.manual_seed(0)
    generator = Generator(problem.graph, n_budgets, n_hidden=16)
    with torch.no_grad():
        generator.head.normal_()
        generator.head_bias.normal_()
    return generator


def test_probabilities_of_all_feasible_architectures_sum_to_one():
    problem = tabular_problem(n_positions=4, n_choices=3, keep=0.7)
    generator, space = generator_for(problem, 1), problem.space
    budget = float(np.median(space.latency_ms))
    rows = space.rows[space.latency_ms <= budget]
    trajectory = replay(problem.constraints, rows, np.full((len(rows), 1), budget))
    mixing = torch.ones(len(rows), 1)
    log_p = generator.log_probabilities(trajectory, mixing)
    total = log_likelihood(log_p, trajectory).exp().sum().item()
    assert abs(total - 1) < 1e-5


def test_numpy_decoding_draws_from_the_torch_distribution():
    """The same greedy path, and frequencies that match the probabilities."""
    problem = tabular_problem(n_positions=3, n_choices=3)
    generator, space = generator_for(problem, 1), problem.space
    bounds = np.full((40_000, 1), float(np.quantile(space.latency_ms, 0.7)))
    mixing = np.ones((40_000, 1), np.float32)
    drawn = decode(
        problem.constraints, bounds, generator.policy().start(mixing), np.random.default_rng(0)
    )
    frequency = np.bincount(space.row_index(drawn), minlength=len(space.rows)) / len(drawn)
    feasible = np.flatnonzero(space.latency_ms <= bounds[0, 0])
    trajectory = replay(problem.constraints, space.rows[feasible], bounds[: len(feasible)])
    log_p = generator.log_probabilities(trajectory, torch.ones(len(feasible), 1))
    p = log_likelihood(log_p, trajectory).exp().detach().numpy()
    assert np.abs(frequency[feasible] - p).max() < 5 * np.sqrt(p.max() / 40_000)
    assert frequency.sum() == frequency[feasible].sum()


def test_greedy_decoding_takes_the_likeliest_open_choice_at_every_step():
    problem = mobilenet_problem()
    generator = generator_for(problem)
    low, high = problem.reachable_ms
    budgets = np.linspace(low * 1.01, high, 30)
    mixing = np.random.default_rng(0).dirichlet(np.ones(3), 30).astype(np.float32)
    tokens = decode(problem.constraints, budgets[:, None], generator.policy().start(mixing), None)
    trajectory = replay(problem.constraints, tokens, budgets[:, None])
    log_p = generator.log_probabilities(trajectory, torch.from_numpy(mixing)).detach().numpy()
    best = np.where(trajectory.opened, log_p, -np.inf).argmax(axis=-1)
    live = trajectory.live
    assert (best[live] == trajectory.choices[live]).all()


def test_entropy_of_an_untrained_generator_is_that_of_uniform_choices():
    problem = mobilenet_problem()
    generator = Generator(problem.graph, 3)  # heads start at zero
    tokens = problem.space.sample(50, np.random.default_rng(0))
    trajectory = replay(problem.constraints, tokens, np.full((50, 1), np.inf))
    log_p = generator.log_probabilities(trajectory, torch.full((50, 3), 1 / 3))
    torch.testing.assert_close(mean_entropy(log_p, trajectory), torch.tensor(np.log(3)).float())
    n_live = (tokens >= 0).sum(axis=1)
    expected = torch.from_numpy(-np.log(3) * n_live).float()
    torch.testing.assert_close(log_likelihood(log_p, trajectory), expected)


def test_dead_tokens_bear_no_gradient():
    problem = mobilenet_problem()
    generator = generator_for(problem)
    smallest = np.where(problem.space.sample(1, np.random.default_rng(0)) < 0, -1, 0)
    tokens = np.full((1, 45), -1, np.int8)
    for stage in range(5):
        tokens[0, 9 * stage : 9 * stage + 5] = 0
    assert smallest.shape == tokens.shape
    trajectory = replay(problem.constraints, tokens, np.full((1, 1), np.inf))
    assert trajectory.live.sum() == 25
    log_p = generator.log_probabilities(trajectory, torch.full((1, 3), 1 / 3))
    log_likelihood(log_p, trajectory).sum().backward()
    touched = generator.head_bias.grad.abs().sum(dim=1) > 0
    assert touched[:45].numpy().tolist() == (tokens[0] >= 0).tolist()
    assert not touched[45]
