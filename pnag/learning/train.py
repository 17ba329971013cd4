"""Training: rounds of proposing and evaluating architectures, fitting R, then fitting π."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from pnag.learning.evaluator import Evaluator
from pnag.learning.generator import Generator, log_likelihood, mean_entropy
from pnag.learning.ranking import mean_pairwise_hinge
from pnag.learning.rewards import reward_named
from pnag.learning.settings import TrainSettings
from pnag.search.archive import Archive
from pnag.search.budget import BudgetGrid, budgets_at
from pnag.search.decoding import decode, producible, replay
from pnag.search.policies import LstmPolicy, MutationPolicy
from pnag.search.problem import Problem
from predictors.base import Floats
from profiler.spaces.base import Tokens

FILLING = 4  # draws for each architecture that the generator's proposals lack


@dataclass
class Learner:
    """One evaluator and generator with what they learnt from; all that training changes.

    Attributes:
        budgets_ms: the range of budgets to learn; a single point for an independent search.
    """

    budgets_ms: tuple[float, float]
    evaluator: Evaluator
    generator: Generator
    archive: Archive
    rng: np.random.Generator
    rounds_done: int = 0

    @cached_property
    def policy(self) -> LstmPolicy:
        """The generator as it stands, for sampling."""
        return self.generator.policy()

    def forget_policy(self) -> None:
        """The generator has changed."""
        self.__dict__.pop("policy", None)

    @property
    def grid(self) -> BudgetGrid:
        return self.evaluator.grid

    def draw_budgets(self, n: int) -> Floats:
        """[n] continuous budgets, one in each of n equal parts of the range."""
        return budgets_at(*self.budgets_ms, (np.arange(n) + self.rng.random(n)) / n)


def new_learners(problem: Problem, settings: TrainSettings) -> list[Learner]:
    """One learner of all budgets, or one of each of the K budgets alone."""
    low, high = problem.reachable_ms
    grid = BudgetGrid.evenly(low, high, settings.n_budgets)
    if settings.strategy == "joint":
        parts = [((low, high), grid)]
    else:
        parts = [((b, b), BudgetGrid(np.array([b]))) for b in grid.anchors_ms.tolist()]
    seeds = np.random.SeedSequence(settings.seed).spawn(len(parts))
    learners = []
    for (budgets_ms, own_grid), seed in zip(parts, seeds, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed.generate_state(1)[0]))
            learners.append(
                Learner(
                    budgets_ms,
                    Evaluator(
                        problem.space, own_grid, n_hidden=settings.evaluator_hidden,
                        span_ms=high - low,
                    ),
                    Generator(
                        problem.graph,
                        len(own_grid.anchors_ms),
                        n_hidden=settings.generator_hidden,
                        sees_tightness=settings.sees_tightness,
                    ),
                    Archive.empty(len(problem.space.positions)),
                    np.random.default_rng(seed),
                )
            )  # fmt: skip
    return learners


def run_round(
    problem: Problem, learner: Learner, settings: TrainSettings, n_new: int
) -> Iterator[dict[str, float]]:
    """One round; yields metrics after each of its `steps_per_round`."""
    proposed = propose(problem, learner, settings, n_new)
    learner.archive = learner.archive.extended(proposed, problem)
    yield {"evaluations": len(learner.archive)}
    yield from fit_evaluator(learner, settings)
    yield from fit_generator(problem, learner, settings)
    learner.forget_policy()
    learner.rounds_done += 1


def steps_per_round(settings: TrainSettings) -> int:
    """How often `run_round` yields."""
    return 1 + settings.evaluator_steps + settings.evaluator_full_steps + settings.generator_steps


# --- Proposals ---------------------------------------------------------------------------


def propose(problem: Problem, learner: Learner, settings: TrainSettings, n: int) -> Tokens:
    """At most [n, L] unseen architectures to evaluate next.

    In the first round both ends of the space, which are hardly ever drawn, and what is drawn
    below uniform budgets; later by the generator, a half of them improved by local search on R.
    In a small space it soon knows all that it proposes: what is missing is drawn below its budgets.
    """
    rng, archive = learner.rng, learner.archive
    budgets = budgets_at(*problem.reachable_ms, rng.random(2 * n))
    if not len(archive) or not settings.active:
        drawn = problem.sample_within(budgets, rng)
    else:
        budgets = rng.permutation(learner.draw_budgets(2 * n))
        start = learner.policy.start(learner.grid.weights(budgets))
        drawn = decode(problem.constraints, budgets[:, None], start, rng)
        if settings.refine_steps:
            drawn[::2] = refine(problem, learner, drawn[::2], budgets[::2], settings.refine_steps)
    fresh = rng.permutation(archive.unseen(drawn))
    if not len(archive):
        fresh = archive.unseen(np.concatenate([problem.ends, fresh]))
    elif len(fresh) < n:
        drawn = problem.sample_within(learner.draw_budgets(FILLING * n), rng)
        fresh = archive.unseen(np.concatenate([fresh, rng.permutation(drawn)]))
    return fresh[:n]


def refine(
    problem: Problem, learner: Learner, tokens: Tokens, budgets: Floats, n_steps: int
) -> Tokens:
    """Hill climbing on R(α|B) from [n, L] tokens, within [n] budgets.

    Each step makes one mutated child per row, and keeps it if R prefers it.
    """
    rng, n_positions = learner.rng, tokens.shape[1]
    best = tokens.copy()
    score = learner.evaluator.score_pairs(best, problem.cost(best), budgets)
    for _ in range(n_steps):
        redrawn = rng.choice([1.5, 3.0, 6.0], size=(len(best), 1))  # tokens, in the mean
        redraw = rng.random(best.shape) < redrawn / n_positions
        policy = MutationPolicy(best, redraw, problem.graph.n_choices)
        child = decode(problem.constraints, budgets[:, None], policy, rng)
        child_score = learner.evaluator.score_pairs(child, problem.cost(child), budgets)
        better = child_score > score
        best[better], score[better] = child[better], child_score[better]
    return best


# --- Evaluator ---------------------------------------------------------------------------


def fit_evaluator(learner: Learner, settings: TrainSettings) -> Iterator[dict[str, float]]:
    """Adam on equation 3 under continuous budgets, drawn anew in every step.

    Most steps see all pairs of a batch, the last ones all pairs of the archive.
    """
    evaluator, archive = learner.evaluator, learner.archive
    rank = reward_named(settings.reward)
    n_steps = settings.evaluator_steps + settings.evaluator_full_steps
    optimiser, schedule = _optimiser(evaluator, settings.evaluator_rate, n_steps)
    one_hot = evaluator.one_hot(archive.tokens)
    for step in range(n_steps):
        full = step >= settings.evaluator_steps
        size = len(archive) if full else min(len(archive), settings.evaluator_batch)
        rows = learner.rng.choice(len(archive), size=size, replace=False, shuffle=False)
        top1, cost_ms = archive.top1[rows], archive.cost_ms[rows]
        budgets = learner.draw_budgets(2 if full else 4)
        ranks = np.stack([rank(top1, cost_ms, float(budget)) for budget in budgets])
        loss = mean_pairwise_hinge(evaluator(one_hot[rows], cost_ms, budgets), ranks)
        _descend(evaluator, optimiser, schedule, loss)
        yield {"evaluator_loss": loss.item()}


# --- Generator ---------------------------------------------------------------------------


def fit_generator(
    problem: Problem, learner: Learner, settings: TrainSettings
) -> Iterator[dict[str, float]]:
    """Policy gradient with a population baseline, entropy, and imitation of the best known."""
    optimiser, schedule = _optimiser(
        learner.generator, settings.generator_rate, settings.generator_steps
    )
    done = learner.rounds_done * settings.generator_steps
    total = settings.rounds * settings.generator_steps
    for step in range(settings.generator_steps):
        entropy = settings.entropy * (1 - (done + step) / total)
        loss = torch.zeros(())
        if settings.policy_gradient:
            surrogate = policy_gradient(problem, learner, settings, entropy)
            loss = loss + settings.policy_gradient * surrogate
        if settings.imitation:
            loss = loss + settings.imitation * imitation(problem, learner, settings)
        _descend(learner.generator, optimiser, schedule, loss)
        yield {"generator_loss": loss.item(), "entropy_weight": entropy}


def policy_gradient(
    problem: Problem, learner: Learner, settings: TrainSettings, entropy: float
) -> Tensor:
    """Minus a surrogate with the gradient of E[R(α|B)] + λ H (equation 2).

    The loss fixes R only up to a constant and a scale per budget, so the samples of a budget
    are compared among themselves: their mean is the baseline, their spread the unit.
    """
    n_samples = settings.samples_per_budget
    budgets = np.repeat(learner.draw_budgets(settings.budgets_per_step), n_samples)
    mixing, bounds = learner.grid.weights(budgets), budgets[:, None]
    if not settings.constrained:
        bounds = np.full_like(bounds, np.inf)
    start = learner.generator.policy().start(mixing)
    tokens = decode(problem.constraints, bounds, start, learner.rng)
    reward = learner.evaluator.score_pairs(tokens, problem.cost(tokens), budgets)
    by_budget = reward.reshape(-1, n_samples)
    advantage = by_budget - by_budget.mean(axis=1, keepdims=True)
    if settings.normalise_reward:
        advantage = advantage / (by_budget.std(axis=1, keepdims=True) + 1e-6)
    trajectory = replay(problem.constraints, tokens, bounds)
    log_p = learner.generator.log_probabilities(trajectory, torch.from_numpy(mixing))
    gain = torch.from_numpy(advantage.reshape(-1)) * log_likelihood(log_p, trajectory)
    return -(gain.mean() + entropy * mean_entropy(log_p, trajectory))


def imitation(problem: Problem, learner: Learner, settings: TrainSettings) -> Tensor:
    """Minus the mean log-likelihood of the best evaluated architectures for random budgets."""
    budgets = learner.draw_budgets(settings.budgets_per_step)
    chosen, owner = learner.archive.elites(budgets, settings.n_elites)
    tokens, budgets = learner.archive.tokens[chosen], budgets[owner]
    # where decoding only approximates the cost, it may not be able to make an elite
    possible = producible(problem.constraints, tokens, budgets[:, None])
    tokens, budgets = tokens[possible], budgets[possible]
    if not len(tokens):
        return torch.zeros(())
    trajectory = replay(problem.constraints, tokens, budgets[:, None])
    mixing = torch.from_numpy(learner.grid.weights(budgets))
    log_p = learner.generator.log_probabilities(trajectory, mixing)
    return -log_likelihood(log_p, trajectory).mean()


def _optimiser(
    module: nn.Module, rate: float, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam with a rate that rises over the first tenth and falls to zero as a cosine."""
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    rise = max(1, n_steps // 10)

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def _descend(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Tensor,
) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()
    schedule.step()
