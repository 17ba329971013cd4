"""Spaces whose architectures are networks: which ops the choices add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.mobilenetv3_ops import OpConfig


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the networks, and the positions whose choices decide together what it is.

    Attributes:
        positions: indices of positions, rising; none where all networks are the same.
        ops: by the choices at `positions`; where one of these is dead, the stretch is missing.
    """

    positions: tuple[int, ...]
    ops: Mapping[tuple[int, ...], tuple[OpConfig, ...]]


@runtime_checkable
class NetworkSpace(SearchSpace, Protocol):
    """A space that says what its networks are; all that costs of ops need."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What tells it from other spaces of its family, by name, as files hold it."""
        ...

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        """The networks, stretch by stretch in order of execution."""
        ...


def with_networks(space: SearchSpace, purpose: str) -> NetworkSpace:
    """The space, if its architectures are networks.

    Raises:
        InvalidInputError: they are not; `purpose` says what for they were wanted.
    """
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(f"{space.name} has no networks {purpose}")
    return space


def network_ops(space: NetworkSpace, tokens: Tokens, *, batch_size: int = 1) -> list[OpConfig]:
    """The ops of one row of tokens [L], in order of execution."""
    ops: list[OpConfig] = []
    for segment in space.segments(batch_size=batch_size):
        ops += segment.ops.get(tuple(int(tokens[at]) for at in segment.positions), ())
    return ops


def distinct_ops(space: NetworkSpace, *, batch_size: int = 1) -> dict[str, OpConfig]:
    """Every op that any architecture can contain, by key."""
    segments = space.segments(batch_size=batch_size)
    return {op.key: op for part in segments for ops in part.ops.values() for op in ops}
