"""An op: a small network with a key, such as a block of a space."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph
from profiler.graph.layers import Shape
from profiler.printable import shown


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

    @classmethod
    def of(cls, kind: str, graph: Graph, **sizes: object) -> Block:
        """With a key of the shapes that it takes and makes, and of further `sizes`."""
        (taken,), (made,) = graph.inputs, graph.outputs
        named = {"input": _written(taken.shape), "output": _written(made.shape), **sizes}
        return cls(kind, "-".join([kind, *(f"{k}:{v}" for k, v in named.items())]), graph)

    @property
    def title(self) -> str:
        return self.kind

    @property
    def identity(self) -> Any:
        return [self.key, digest_of(self.graph)]


def _written(shape: Shape) -> str:
    """``HxWxC`` of images, as Once-for-All's keys have it, or ``C``; batches are of the table."""
    return "x".join(map(str, (*shape[2:], shape[1])))


AnOp = TypeVar("AnOp", bound=Op)


def written_as(key: str, op: AnOp) -> AnOp:
    """The op that was read from a key.

    Raises:
        InvalidInputError: its own key is another one.
    """
    if op.key != key:
        raise InvalidInputError(
            f"op key contradicts itself: {shown(key)}; its parts give {op.key!r}"
        )
    return op


def digest_of(graph: Graph) -> str:
    """Hash of all that a graph says."""
    return hashlib.sha256(repr(graph).encode()).hexdigest()


def batch_size_of(op: Op) -> int:
    """Images that an op takes at once."""
    return op.graph.inputs[0].shape[0]
