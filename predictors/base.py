"""What the generator asks of predictors: costs c(α) and accuracies, vectorised over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from profiler.spaces.base import Tokens

Floats = NDArray[np.float64]


@runtime_checkable
class CostFunction(Protocol):
    """A cost c(α): latency in ms, or another resource (MAdds, parameters)."""

    @property
    def unit(self) -> str:
        """``"ms"``, ``"mJ"``, ``"MB"``, ``"madds"`` or ``"params"``."""
        ...

    def __call__(self, tokens: Tokens) -> Floats:
        """[n] costs of [n, L] tokens."""
        ...

    def relative_interval(self, confidence: float) -> float:
        """Half-width of the conformal interval around c(α), as a fraction of c(α).

        Raises:
            InvalidInputError: the cost was not calibrated on measured networks.
        """
        ...


@dataclass(frozen=True)
class Margin:
    """How far above c(α) a cost is at most: fixed + share · c(α), `fixed` in the cost's unit."""

    share: float = 0.0
    fixed: float = 0.0

    def added(self, costs: Floats) -> Floats:
        """[n] what is at most, of [n] costs.

        >>> Margin(0.02, 0.1).added(np.array([10.0]))
        array([10.3])
        """
        return np.asarray(costs * (1 + self.share) + self.fixed, np.float64)

    def within(self, bounds: Floats) -> Floats:
        """The costs whose `added` are the bounds; below 0 where the margin alone is more."""
        return np.asarray((bounds - self.fixed) / (1 + self.share), np.float64)


@runtime_checkable
class BoundedAbove(Protocol):
    """A cost that says of one side more than its interval does, which is what a budget asks."""

    def margin(self, confidence: float) -> Margin:
        """How far above c(α) at most, one-sided.

        Raises:
            InvalidInputError: the cost was not calibrated on measured networks.
        """
        ...


@runtime_checkable
class UncertainAccuracy(Protocol):
    """An accuracy model that says how far off it may be."""

    def half_width(self, confidence: float) -> float:
        """Half of the interval around a predicted top-1, a fraction."""
        ...


@runtime_checkable
class AccuracyModel(Protocol):
    """Top-1 accuracy of architectures."""

    def top1(self, tokens: Tokens) -> Floats:
        """[n] accuracies as fractions in [0, 1] of [n, L] tokens."""
        ...
