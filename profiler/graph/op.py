"""An op: a small network with a key, such as a block of a space."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

from profiler.graph.graph import Graph


class Op(Hashable, Protocol):
    """What tables, predictors and devices know of a block. Ops are immutable."""

    @property
    def kind(self) -> str:
        """What it is; ops of one kind differ in sizes only."""
        ...

    @property
    def key(self) -> str:
        """Its name in tables, which begins with its kind."""
        ...

    @property
    def title(self) -> str:
        """Its kind as a reader is told it."""
        ...

    @property
    def graph(self) -> Graph:
        """Its layers, from one input to one output, for the whole batch."""
        ...

    @property
    def identity(self) -> Any:
        """What tells it from any other op, as JSON: journals find its measurements by it."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """An op that is given by its layers.

    Two are equal if their layers are, too: keys need not spell out everything.
    """

    kind: str
    key: str
    graph: Graph = field(hash=False, repr=False)

    @property
    def title(self) -> str:
        return self.kind

    @property
    def identity(self) -> Any:
        return [self.key, digest_of(self.graph)]


def digest_of(graph: Graph) -> str:
    """Hash of all that a graph says."""
    return hashlib.sha256(repr(graph).encode()).hexdigest()


def batch_size_of(op: Op) -> int:
    """Images that an op takes at once."""
    return op.graph.inputs[0].shape[0]
