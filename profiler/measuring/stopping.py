"""When a configuration has been measured enough: warm-up and stopping rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from profiler.measuring.stats import Floats, bootstrap_quantile_ci, in_stretches, windows_agree

LOOKED_AT = 240  # stretches of blocks at most: a late look costs what an early one does


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Warm-up of the device ends when windows of canary samples agree, not after a count.

    A configuration itself is warmed by `min_runs` runs when it is prepared and by one
    untimed run at the start of each block, which brings its weights back into the caches.
    """

    min_runs: int
    min_s: float
    window: int
    windows: int
    tolerance: float
    max_s: float

    def ended(self, samples_ms: Sequence[float], elapsed_s: float) -> bool:
        """Whether a steady state is reached."""
        return elapsed_s >= self.min_s and windows_agree(
            samples_ms, window=self.window, count=self.windows, tolerance=self.tolerance
        )


@dataclass(frozen=True, slots=True)
class Estimator:
    """The latency is a quantile of the samples: a low one where they are single runs.

    Disturbances only ever add time, so that the low end of the samples is what stays put
    when the machine gets busy; the minimum itself would go on falling with every sample.
    Where a sample is itself a mean of many runs (phones), it is their median.
    """

    quantile: float

    def __call__(self, samples_ms: Floats) -> float:
        return float(np.quantile(samples_ms, self.quantile))


class Decision(StrEnum):
    """How the measuring of a configuration ended."""

    CONVERGED = "converged"
    CAPPED = "capped"
    FAILED = "failed"  # it cannot be measured; no rule decides this


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """Stop at a relative half-width of the bootstrap interval, or at a cap of time.

    `confidence` is 0.99 because the rule looks repeatedly, every `check_every` blocks.
    """

    min_blocks: int
    check_every: int
    confidence: float
    resamples: int
    op_half_width: float
    network_half_width: float
    op_cap_s: float
    network_cap_s: float

    def is_due(self, n_blocks: int) -> bool:
        """Whether it is time for a look at the samples."""
        return n_blocks >= self.min_blocks and n_blocks % self.check_every == 0

    def may_pause(self, n_blocks: int, spent_s: float, share: float, *, is_network: bool) -> bool:
        """Whether a configuration has this share of what it needs at least, or may take."""
        cap_s = share * self.cap_s(is_network=is_network)
        return n_blocks >= share * self.min_blocks or spent_s >= cap_s

    def width(
        self, sweeps: Sequence[Floats], estimator: Estimator, *, is_network: bool, seed: int
    ) -> float:
        """Half-width of the interval over the one that is asked for.

        Args:
            sweeps: samples of each sweep, [n_blocks, samples_per_block] each.
        """
        most = max(LOOKED_AT // len(sweeps), 1)
        stretches = [in_stretches(blocks, most) for blocks in sweeps]
        low, high = self.interval(stretches, estimator, self.confidence, seed=seed)
        target = self.network_half_width if is_network else self.op_half_width
        return (high - low) / (high + low) / target if target else np.inf

    def decide(self, width: float | None, spent_s: float, *, is_network: bool) -> Decision | None:
        """None while measuring goes on.

        Args:
            width: what a look at the samples gave; None without one.
        """
        if width is not None and width <= 1:
            return Decision.CONVERGED
        return Decision.CAPPED if spent_s >= self.cap_s(is_network=is_network) else None

    def cap_s(self, *, is_network: bool) -> float:
        return self.network_cap_s if is_network else self.op_cap_s

    def blocks_to_come(
        self, width: float, n_blocks: int, spent_s: float, *, is_network: bool
    ) -> int:
        """How many more a configuration will need, as the width falls with the root of their
        number; no more than the cap leaves time for at its pace so far."""
        if width <= 1:
            return 0
        needed = n_blocks * (width**2 - 1)
        left = n_blocks * (self.cap_s(is_network=is_network) / spent_s - 1) if spent_s else needed
        whole_looks = np.ceil(min(needed, left) / self.check_every) * self.check_every
        return int(max(whole_looks, 1))

    def interval(
        self, sweeps: Sequence[Floats], estimator: Estimator, confidence: float, *, seed: int
    ) -> tuple[float, float]:
        """Bootstrap interval of the estimate."""
        return bootstrap_quantile_ci(
            sweeps,
            quantile=estimator.quantile,
            confidence=confidence,
            resamples=self.resamples,
            rng=np.random.default_rng(seed),
        )
