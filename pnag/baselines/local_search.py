"""Exhaustive local search in MobileNetV3: every change of one block, and of two at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.search.problem import Problem
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.mobilenetv3 import N_SLOTS, N_STAGES, SLOTS_PER_STAGE

Blocks = NDArray[np.int8]  # [n, 20]; 0 is no block, else 1 + 3 · expand choice + kernel choice
N_STATES = 10
FIRST_OPTIONAL = 2  # slots 0 and 1 of a stage always hold a block


def local_optimum(problem: Problem, tokens: Tokens, budget_ms: float) -> Tokens:
    """[L] the end of steepest ascent from [L] tokens within the budget.

    At the end no change of one or two blocks (their expand and kernel, or whether they are
    there) improves the accuracy.
    """
    current = tokens
    top1 = float(problem.accuracy.top1(current[None])[0])
    while True:
        near = to_tokens(neighbours(to_blocks(current[None])[0]))
        near = near[problem.cost(near) <= budget_ms]
        near_top1 = problem.accuracy.top1(near)
        if not len(near) or near_top1.max() <= top1:
            return current
        current, top1 = near[near_top1.argmax()], float(near_top1.max())


def neighbours(blocks: Blocks) -> Blocks:
    """All valid changes of one or two of [20] blocks."""
    slot, state = np.meshgrid(np.arange(N_SLOTS), np.arange(N_STATES, dtype=np.int8))
    changed = (state != blocks[slot]) & ((state > 0) | (slot % SLOTS_PER_STAGE >= FIRST_OPTIONAL))
    slots, states = slot[changed], state[changed]
    first, second = np.triu_indices(len(slots))  # with the diagonal: one change alone
    near = np.repeat(blocks[None], len(first), axis=0)
    rows = np.arange(len(first))
    near[rows, slots[first]] = states[first]
    near[rows, slots[second]] = states[second]
    by_stage = near.reshape(-1, N_STAGES, SLOTS_PER_STAGE) > 0
    gap = by_stage[:, :, FIRST_OPTIONAL + 1] & ~by_stage[:, :, FIRST_OPTIONAL]
    return near[~gap.any(axis=1)]


def to_blocks(tokens: Tokens) -> Blocks:
    """[n, 20] blocks of [n, 45] tokens."""
    by_stage = np.asarray(tokens).reshape(-1, N_STAGES, 1 + 2 * SLOTS_PER_STAGE)
    expand, kernel = by_stage[:, :, 1::2], by_stage[:, :, 2::2]
    blocks = np.where(expand == DEAD, 0, 1 + 3 * expand + kernel)
    return blocks.reshape(-1, N_SLOTS).astype(np.int8)


def to_tokens(blocks: Blocks) -> Tokens:
    """[n, 45] tokens of [n, 20] blocks."""
    by_stage = blocks.reshape(-1, N_STAGES, SLOTS_PER_STAGE)
    tokens = np.full((len(by_stage), N_STAGES, 1 + 2 * SLOTS_PER_STAGE), DEAD, np.int8)
    active = by_stage > 0
    tokens[:, :, 0] = active.sum(axis=2) - FIRST_OPTIONAL
    expand, kernel = np.divmod(by_stage - 1, 3)
    tokens[:, :, 1::2] = np.where(active, expand, DEAD)
    tokens[:, :, 2::2] = np.where(active, kernel, DEAD)
    return tokens.reshape(len(blocks), -1)
