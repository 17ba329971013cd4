"""Exhaustive local search in MobileNetV3: every change of one block, and of two at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnag.search.problem import Problem
from profiler.spaces.base import DEAD, SearchSpace, Tokens

Blocks = NDArray[np.int8]  # [n, 20]; 0 is no block, else 1 + 3 · expand choice + kernel choice
N_STATES = 10


@dataclass(frozen=True)
class Slots:
    """Where the tokens of [20] blocks stand.

    Attributes:
        stages: the position of the depth that a block is under.
        optional: whether that depth leaves the block out.
    """

    n_positions: int
    expands: NDArray[np.intp]
    kernels: NDArray[np.intp]
    stages: NDArray[np.intp]
    optional: NDArray[np.bool_]

    @classmethod
    def of(cls, space: SearchSpace) -> Slots:
        named = [(at, p, p.active_if) for at, p in enumerate(space.positions) if p.active_if]
        blocks = [(at, condition) for at, p, condition in named if p.name.endswith(".expand")]
        n_depths = [len(space.positions[condition.position].choices) for _, condition in blocks]
        return cls(
            len(space.positions),
            np.array([at for at, _ in blocks]),
            np.array([at for at, p, _ in named if p.name.endswith(".kernel")]),
            np.array([condition.position for _, condition in blocks]),
            np.array([len(c.choices) < n for (_, c), n in zip(blocks, n_depths, strict=True)]),
        )

    def blocks(self, tokens: Tokens) -> Blocks:
        """[n, 20] blocks of [n, L] tokens."""
        expand, kernel = tokens[:, self.expands], tokens[:, self.kernels]
        blocks: Blocks = np.where(expand == DEAD, 0, 1 + 3 * expand + kernel).astype(np.int8)
        return blocks

    def tokens(self, blocks: Blocks) -> Tokens:
        """[n, L] tokens of [n, 20] blocks."""
        tokens = np.full((len(blocks), self.n_positions), DEAD, np.int8)
        active = blocks > 0
        for depth in np.unique(self.stages):
            tokens[:, depth] = active[:, (self.stages == depth) & self.optional].sum(axis=1)
        expand, kernel = np.divmod(blocks - 1, 3)
        tokens[:, self.expands] = np.where(active, expand, DEAD)
        tokens[:, self.kernels] = np.where(active, kernel, DEAD)
        return tokens

    def neighbours(self, blocks: Blocks) -> Blocks:
        """All valid changes of one or two of [20] blocks."""
        slot, state = np.meshgrid(np.arange(len(blocks)), np.arange(N_STATES, dtype=np.int8))
        changed = (state != blocks[slot]) & ((state > 0) | self.optional[slot])
        slots, states = slot[changed], state[changed]
        first, second = np.triu_indices(len(slots))  # with the diagonal: one change alone
        near = np.repeat(blocks[None], len(first), axis=0)
        rows = np.arange(len(first))
        near[rows, slots[first]] = states[first]
        near[rows, slots[second]] = states[second]
        follows = self.optional[:-1] & (self.stages[:-1] == self.stages[1:])
        gap = follows & (near[:, :-1] == 0) & (near[:, 1:] > 0)
        valid: Blocks = near[~gap.any(axis=1)]
        return valid


def local_optimum(problem: Problem, tokens: Tokens, budget_ms: float) -> Tokens:
    """[L] the end of steepest ascent from [L] tokens within the budget.

    At the end no change of one or two blocks (their expand and kernel, or whether they are
    there) improves the accuracy.
    """
    slots, current = Slots.of(problem.space), tokens
    top1 = float(problem.accuracy.top1(current[None])[0])
    while True:
        near = slots.tokens(slots.neighbours(slots.blocks(current[None])[0]))
        near = near[problem.cost(near) <= budget_ms]
        near_top1 = problem.accuracy.top1(near)
        if not len(near) or near_top1.max() <= top1:
            return current
        current, top1 = near[near_top1.argmax()], float(near_top1.max())
