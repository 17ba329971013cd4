"""What a search space is: token positions with their choices, and which are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int8]  # choice index of every position; DEAD where the position is inactive
DEAD = -1
MAX_CHOICES = 127  # of a position: tokens are int8


@dataclass(frozen=True, slots=True)
class Condition:
    """An earlier position, by its index, and which of its choices (by theirs) fulfil this."""

    position: int
    choices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenPosition:
    """One decision: its name, the values its tokens stand for, and when it is to be taken."""

    name: str
    choices: tuple[int | float | str, ...]
    active_if: Condition | None = None  # None is always


@runtime_checkable
class SearchSpace(Protocol):
    """What pnag/ needs of a space. Tokens are int8 arrays [n, L]; dead positions hold -1."""

    @property
    def name(self) -> str: ...

    @property
    def positions(self) -> tuple[TokenPosition, ...]: ...

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, L] random valid architectures."""
        ...

    def parse(self, text: str) -> Tokens:
        """[L] tokens of one written architecture; InvalidInputError if malformed."""
        ...

    def format(self, tokens: Tokens) -> str:
        """The written form of one row of tokens [L]; the inverse of `parse`."""
        ...


@runtime_checkable
class AlsoWritten(Protocol):
    """A space that writes architectures in further forms for results, by the form's name."""

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        """JSON values of one row of tokens [L]."""
        ...


def other_forms(space: SearchSpace, tokens: Tokens) -> dict[str, object]:
    """The further forms of one row of tokens [L]; none for most spaces."""
    return space.other_forms(tokens) if isinstance(space, AlsoWritten) else {}
