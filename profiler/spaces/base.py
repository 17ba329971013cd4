"""What a search space is: token positions with their choices, and which are active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int8]  # choice index of every position; DEAD where the position is inactive
DEAD = -1


@dataclass(frozen=True, slots=True)
class TokenPosition:
    """One decision: its name and the values its tokens stand for."""

    name: str
    choices: tuple[int | float | str, ...]


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
