"""What accuracies are measured of: weights that the networks of a space share."""

from __future__ import annotations

from typing import Protocol

from profiler.spaces.networks import NetworkSpace
from profiler.spaces.row_network import RowNetwork


class Supernet(Protocol):
    """One that was trained here, or the published weights of one."""

    @property
    def space(self) -> NetworkSpace: ...

    def network(self, arch: str) -> RowNetwork:
        """A standalone network of a written architecture, its BatchNorm not yet recalibrated."""
        ...
