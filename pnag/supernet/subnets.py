"""Which subnets a training step takes.

Sandwich rule (Yu & Huang, ICCV 2019; BigNAS, Yu et al., ECCV 2020): the largest, random ones,
the smallest. Progressive shrinking (Cai et al., ICLR 2020): the same, within a space that opens
in phases: only the largest, then kernels, then depths, then expand ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import DEPTHS, EXPANDS, KERNELS, Architecture

Method = Literal["sandwich", "progressive"]
METHODS: tuple[Method, ...] = ("sandwich", "progressive")

# shares of training after which kernels, depths and expand ratios are elastic
OPEN_KERNELS, OPEN_DEPTHS, OPEN_EXPANDS = 0.3, 0.45, 0.6


@dataclass(frozen=True)
class OpenChoices:
    """The smallest depth, kernel and expand ratio that take part so far."""

    depth: int = DEPTHS[0]
    kernel: int = KERNELS[0]
    expand: int = EXPANDS[0]

    @property
    def only_largest(self) -> bool:
        return self == OpenChoices(DEPTHS[-1], KERNELS[-1], EXPANDS[-1])


def open_choices(method: Method, progress: float) -> OpenChoices:
    """What is elastic after a share `progress` in [0, 1] of the training.

    >>> open_choices("progressive", 0.5)
    OpenChoices(depth=2, kernel=3, expand=6)
    """
    if method == "sandwich":
        return OpenChoices()
    return OpenChoices(
        DEPTHS[0] if progress >= OPEN_DEPTHS else DEPTHS[-1],
        KERNELS[0] if progress >= OPEN_KERNELS else KERNELS[-1],
        EXPANDS[0] if progress >= OPEN_EXPANDS else EXPANDS[-1],
    )


def step_subnets(
    space: MobileNetV3Space, choices: OpenChoices, n_random: int, rng: np.random.Generator
) -> list[Architecture]:
    """The largest subnet first (it teaches the others), then the smallest, then random ones."""
    smallest, largest = space.extremes()
    if choices.only_largest:
        return [largest]
    random = [
        _within(arch, choices, lambda options, n: rng.choice(options, n).tolist())
        for arch in map(space.decode, space.sample(n_random, rng))
    ]
    return [largest, _within(smallest, choices, lambda options, n: [options[0]] * n), *random]


def _within(
    arch: Architecture,
    choices: OpenChoices,
    choose: Callable[[Sequence[int], int], list[int]],
) -> Architecture:
    """Raise every choice to the smallest that is open; `choose` those of blocks this adds."""
    kernels, expands, depths, start = [], [], [], 0
    for depth in arch.depths:
        wanted = max(depth, choices.depth)
        added = wanted - depth
        kernels += [*arch.kernel_sizes[start : start + depth], *choose(KERNELS, added)]
        expands += [*arch.expand_ratios[start : start + depth], *choose(EXPANDS, added)]
        depths.append(wanted)
        start += depth
    return replace(
        arch,
        depths=tuple(depths),
        kernel_sizes=tuple(max(k, choices.kernel) for k in kernels),
        expand_ratios=tuple(max(e, choices.expand) for e in expands),
    )
