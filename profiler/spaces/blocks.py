"""Spaces whose networks are rows of blocks: positions, and what their choices make of each stretch.

Costs, decoding, tables, export and all else follow from these two.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.printable import shown
from profiler.spaces.base import DEAD, TokenPosition, Tokens
from profiler.spaces.networks import Segment, written_facts

SKIPPED = "-"  # in written architectures: a position that is not active


@dataclass(frozen=True)
class BlockSpace(ABC):
    """A space that says `positions` and `stretches`; fields of a subclass are facts of the space.

    Architectures are written as the values of their positions, by commas. Samples are uniform over
    the choices of every active position.
    """

    name: str

    @property
    @abstractmethod
    def positions(self) -> tuple[TokenPosition, ...]: ...

    @abstractmethod
    def stretches(self, batch_size: int) -> Iterable[Segment]:
        """The networks in order of execution, each part by `stretch`."""
        ...

    def stretch(self, ops: Callable[..., Sequence[Op]], *decided_by: str) -> Segment:
        """A part of the networks: `ops` of every combination of values at the positions named.

        Where one of these positions is not active the part is missing.
        """
        index = {position.name: at for at, position in enumerate(self.positions)}
        at = [index[name] for name in decided_by]
        order = sorted(range(len(at)), key=at.__getitem__)  # segments know their positions in order
        choices = [range(len(self.positions[position].choices)) for position in at]
        made = {}
        for chosen in itertools.product(*choices):
            values = (self.positions[p].choices[c] for p, c in zip(at, chosen, strict=True))
            made[tuple(chosen[i] for i in order)] = tuple(ops(*values))
        return Segment(tuple(sorted(at)), made)

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        """The stretches.

        Raises:
            InvalidInputError: different ops have the same key.
        """
        return _segments(self, batch_size)

    @property
    def facts(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"space": own.pop("name"), **own}

    def __str__(self) -> str:
        return written_facts(self.facts)

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, L] architectures."""
        tokens = np.empty((n, len(self.positions)), np.int8)
        for at, position in enumerate(self.positions):
            tokens[:, at] = rng.integers(len(position.choices), size=n)
            if (when := position.active_if) is not None:
                tokens[~np.isin(tokens[:, when.position], when.choices), at] = DEAD
        return tokens

    def format(self, tokens: Tokens) -> str:
        pairs = zip(self.positions, np.asarray(tokens).tolist(), strict=True)
        return ",".join(SKIPPED if t == DEAD else str(p.choices[t]) for p, t in pairs)

    def parse(self, text: str) -> Tokens:
        """[L] tokens of what `format` writes.

        Raises:
            InvalidInputError: malformed, or values that the space does not have.
        """
        values = [value.strip() for value in text.split(",")]
        if len(values) != len(self.positions):
            names = ",".join(position.name for position in self.positions)
            raise InvalidInputError(f"malformed architecture {shown(text)}; expected {names}")
        tokens: list[int] = []
        for position, value in zip(self.positions, values, strict=True):
            when = position.active_if
            active = when is None or tokens[when.position] in when.choices
            known = [str(choice) for choice in position.choices] if active else [SKIPPED]
            if value not in known:
                raise InvalidInputError(
                    f"{position.name} is {shown(value)}; expected {' or '.join(known)}"
                )
            tokens.append(known.index(value) if active else DEAD)
        return np.array(tokens, np.int8)


@cache
def _segments(space: BlockSpace, batch_size: int) -> tuple[Segment, ...]:
    segments = tuple(space.stretches(batch_size))
    known: dict[str, Op] = {}
    for op in (op for part in segments for ops in part.ops.values() for op in ops):
        if known.setdefault(op.key, op) != op:
            raise InvalidInputError(f"{space.name} has different ops of the key {shown(op.key)}")
    return segments
