"""NAS-MO: a recurrent controller for each budget alone, with MnasNet's reward.

Tan et al. 2019: REINFORCE on top1 · (cost / B)^w. Nothing constrains its samples.
"""

from __future__ import annotations

import numpy as np
import torch

from pnag.learning.generator import Generator, log_likelihood, mean_entropy
from pnag.learning.rewards import COST_EXPONENT
from pnag.search.archive import Archive
from pnag.search.decoding import decode, replay
from pnag.search.problem import Problem
from predictors.base import Floats

SOFT = (COST_EXPONENT, COST_EXPONENT)
HARD = (0.0, -1.0)


def nas_mo(
    problem: Problem,
    budgets_ms: Floats,
    n_evaluations: int,
    rng: np.random.Generator,
    *,
    batch_size: int = 16,
    rate: float = 2e-2,
    entropy: float = 0.1,
    exponents: tuple[float, float] = SOFT,
) -> Archive:
    """The evaluations are shared equally between the budgets.

    Args:
        exponents: w within the budget and beyond it; `SOFT` and `HARD` are those of the paper's
            section 3.1. Under `SOFT` the budget only scales the reward, and orders nothing.
    """
    share = n_evaluations // len(budgets_ms)
    archive = Archive.empty(len(problem.space.positions))
    for budget_ms in budgets_ms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            controller = Generator(problem.graph, 1, n_hidden=32)
        optimiser = torch.optim.Adam(controller.parameters(), lr=rate)
        for done in range(0, share, batch_size):
            n = min(batch_size, share - done)
            bounds, mixing = np.full((n, 1), np.inf), np.ones((n, 1), np.float32)
            start = controller.policy().start(mixing)
            tokens = decode(problem.constraints, bounds, start, rng)
            known = len(archive)
            archive = archive.extended(tokens, problem)
            top1, cost_ms = archive.top1[known:], archive.cost_ms[known:]
            exponent = np.where(cost_ms <= budget_ms, *exponents)
            reward = top1 * (cost_ms / budget_ms) ** exponent
            advantage = (reward - reward.mean()) / (reward.std() + 1e-9)
            trajectory = replay(problem.constraints, tokens, bounds)
            log_p = controller.log_probabilities(trajectory, torch.from_numpy(mixing))
            gain = torch.from_numpy(advantage.astype(np.float32)) * log_likelihood(
                log_p, trajectory
            )
            loss = -(gain.mean() + entropy * (1 - done / share) * mean_entropy(log_p, trajectory))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return archive
