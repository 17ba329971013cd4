"""NAS-Bench-201 (Dong & Yang, ICLR 2020), now NATS-Bench's topology space: 15,625 cells.

Every cell was trained on three data sets; their accuracies are in predictors/data.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph
from profiler.printable import shown
from profiler.spaces.base import TokenPosition, Tokens
from profiler.spaces.decisions import DecisionGraph, trie
from profiler.spaces.nasbench201_network import (
    EDGES,
    OPERATIONS,
    OUTPUT,
    STAGE_CHANNELS,
    Cell,
    cell_network,
)
from profiler.spaces.nasbench201_ops import head_op, reduction_op, stem_op, step_op, steps
from profiler.spaces.networks import Segment


@dataclass(frozen=True, slots=True)
class Images:
    """What a data set's networks take and tell apart."""

    resolution_px: int
    n_classes: int


DATASETS = {
    "cifar10": Images(32, 10),
    "cifar100": Images(32, 100),
    "imagenet16-120": Images(16, 120),
}
_EDGE = re.compile(r"(?P<operation>\w+)~(?P<source>[0-9])")


@dataclass(frozen=True)
class NasBench201Space:
    """Cells of four nodes: one of five operations on each of six edges.

    Tokens: the operations on 1<-0, 2<-0, 2<-1, 3<-0, 3<-1 and 3<-2 (L = 6), all always active.

    Raises:
        InvalidInputError: unknown data set.
    """

    dataset: str = "cifar10"

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise InvalidInputError(
                f"unknown data set {shown(self.dataset)}; known: {', '.join(DATASETS)}"
            )

    @property
    def name(self) -> str:
        return "nasbench201"

    def __str__(self) -> str:
        return f"{self.name} of {self.dataset}"

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"space": self.name, "dataset": self.dataset}

    @property
    def images(self) -> Images:
        return DATASETS[self.dataset]

    @cached_property
    def positions(self) -> tuple[TokenPosition, ...]:
        return tuple(TokenPosition(f"{target}<-{source}", OPERATIONS) for source, target in EDGES)

    @cached_property
    def decisions(self) -> DecisionGraph:
        """The tree of all cells: what an edge costs depends on which others are there, and at
        the leaves of a tree every cost is exact."""
        return trie(self.every(), len(OPERATIONS))

    def every(self) -> Tokens:
        """[15625, 6] all cells, the last edge running fastest."""
        return np.array(list(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))), np.int8)

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, 6] cells, uniform with replacement."""
        return rng.integers(len(OPERATIONS), size=(n, len(EDGES)), dtype=np.int8)

    def parse(self, text: str) -> Tokens:
        """[6] tokens of the benchmark's own notation, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

        Raises:
            InvalidInputError: malformed.
        """
        nodes = text.strip().split("+")
        try:
            if len(nodes) != OUTPUT:
                raise ValueError
            cell: list[str] = []
            for target, node in enumerate(nodes, start=1):
                found = [_EDGE.fullmatch(edge) for edge in node.strip("|").split("|")]
                if [int(edge["source"]) for edge in found if edge] != list(range(target)):
                    raise ValueError
                cell += [edge["operation"] for edge in found if edge]
            return np.array([OPERATIONS.index(operation) for operation in cell], np.int8)
        except ValueError:
            raise InvalidInputError(
                f"malformed cell {shown(text)}; expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with "
                f"ops of {', '.join(OPERATIONS)}"
            ) from None

    def format(self, tokens: Tokens) -> str:
        nodes: dict[int, str] = {}
        for (source, target), operation in zip(EDGES, self.cell(tokens), strict=True):
            nodes[target] = nodes.get(target, "|") + f"{operation}~{source}|"
        return "+".join(nodes.values())

    def cell(self, tokens: Tokens) -> Cell:
        """The operations of one row of tokens [6]."""
        return tuple(OPERATIONS[token] for token in tokens)

    def network(self, tokens: Tokens, *, batch_size: int = 1) -> Graph:
        """The trained network of one row of tokens [6], without what no output depends on."""
        images = self.images
        return cell_network(self.cell(tokens), images.resolution_px, images.n_classes, batch_size)

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        """What a network costs, by stages, whose cells all edges decide together."""
        return _segments(self, batch_size)


@cache
def _segments(space: NasBench201Space, batch_size: int) -> tuple[Segment, ...]:
    images, edges = space.images, tuple(range(len(EDGES)))
    sizes = images.resolution_px, batch_size
    taken = {tuple(row): steps(space.cell(row)) for row in space.every().tolist()}
    segments = [Segment((), {(): (stem_op(*sizes),)})]
    for stage in range(len(STAGE_CHANNELS)):
        if stage:
            segments.append(Segment((), {(): (reduction_op(stage - 1, *sizes),)}))
        ops = {names: tuple(step_op(n, stage, *sizes) for n in names) for names in taken.values()}
        segments.append(Segment(edges, {row: ops[names] for row, names in taken.items()}))
    head = head_op(images.resolution_px, images.n_classes, batch_size)
    return (*segments, Segment((), {(): (head,)}))


def open_space(dataset: str = "cifar10") -> NasBench201Space:
    """The networks trained on a data set.

    Raises:
        InvalidInputError: unknown data set.
    """
    return NasBench201Space(dataset)
