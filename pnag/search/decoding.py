"""Constrained decoding: architectures drawn choice by choice, none beyond its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnag.search.constraints import ROUNDING, Bools, Constraints
from pnag.search.independence import Streams
from pnag.search.policies import Policy
from predictors.base import Floats
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.decisions import ROOT, Ints


@dataclass(frozen=True)
class Trajectory:
    """Given architectures as decisions under bounds; T is the longest path.

    Attributes:
        positions, choices: [n, T]; finished rows hold position L.
        opened: [n, T, C] choices that were open. tightness: [n, T].
    """

    positions: Ints
    choices: Ints
    opened: Bools
    tightness: Floats

    @property
    def live(self) -> Bools:
        """[n, T] decisions that were taken at all."""
        return np.asarray(self.opened.any(axis=-1))


def replay(constraints: Constraints, tokens: Tokens, bounds: Floats) -> Trajectory:
    """The decisions that give [n, L] tokens under [n, n_bounds] bounds, or [n, 1] for all."""
    nodes, choices = constraints.graph.walk(tokens)
    spent = np.cumsum(constraints.edges[nodes, choices], axis=1)
    spent = np.concatenate([np.zeros_like(spent[:, :1]), spent[:, :-1]], axis=1)
    slack = bounds[:, None, :] * (1 + ROUNDING) - spent
    return Trajectory(
        constraints.graph.position[nodes],
        choices,
        constraints.open_choices(nodes, slack),
        constraints.tightness(nodes, slack),
    )


def producible(constraints: Constraints, tokens: Tokens, bounds: Floats) -> Bools:
    """[n] whether decoding under the bounds can make [n, L] tokens.

    Under one bound it can if they are within it; under several a few that are may be closed.
    """
    within = np.asarray((constraints.path_costs(tokens) <= bounds).all(axis=1))
    if constraints.n_bounds == 1 or not len(tokens):
        return within
    trajectory = replay(constraints, tokens, bounds)
    opened = np.take_along_axis(trajectory.opened, trajectory.choices[:, :, None], axis=2)
    finished = trajectory.positions == constraints.graph.n_positions
    return np.asarray(within & (opened[:, :, 0] | finished).all(axis=1))


def decode(
    constraints: Constraints,
    bounds: Floats,
    policy: Policy,
    rng: np.random.Generator | Streams | None,
) -> Tokens:
    """[n, L] architectures drawn from softmax(logits), none beyond [n, n_bounds] bounds.

    Bounds of [n, 1] hold for all costs. Without `rng` the most preferred choice is taken. Every
    row must have a feasible completion.
    """
    graph = constraints.graph
    n, start = len(bounds), graph.n_positions * graph.n_choices
    rows = np.arange(n)
    tokens = np.full((n, graph.n_positions + 1), DEAD, dtype=np.int8)  # last column: finished
    node = np.full(n, ROOT, dtype=np.int64)
    previous = np.full(n, start, dtype=np.int64)
    slack = bounds * (1 + ROUNDING)
    while (node != graph.terminal).any():
        position = graph.position[node]
        logits = policy.logits(position, previous, constraints.tightness(node, slack))
        if rng is not None:
            uniform = rng.random(logits.shape, dtype=np.float32)
            logits = logits - np.log(-np.log(np.maximum(uniform, 1e-12)))  # Gumbel noise
        opened = constraints.open_choices(node, slack)
        choice = np.where(opened, logits, -np.inf).argmax(axis=1)
        tokens[rows, position] = choice
        slack = slack - constraints.edges[node, choice]
        previous = np.minimum(position * graph.n_choices + choice, start)
        node = graph.following[node, choice]
    return tokens[:, :-1]
