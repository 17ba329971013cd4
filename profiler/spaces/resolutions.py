"""A space at several resolutions: the size of the images is one more decision, the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.numerals import whole_number
from profiler.printable import shown
from profiler.spaces.base import Condition, TokenPosition, Tokens, other_forms
from profiler.spaces.networks import (
    NetworkSpace,
    Segment,
    module_names,
    written_facts,
)
from profiler.system.user_files import parse_literal

RESOLUTION = "resolution_px"


@dataclass(frozen=True)
class ResolutionSpace:
    """Networks of one family, each for one of several image sizes.

    An architecture is written ``PX:`` and as the family writes it, or as the family's dict, which
    names its size. All costs are exact: an op belongs to one size.

    Attributes:
        of: the family at each size, rising.
    """

    of: tuple[NetworkSpace, ...]

    @property
    def name(self) -> str:
        return self.of[0].name

    @cached_property
    def sizes_px(self) -> tuple[int, ...]:
        return tuple(space.facts[RESOLUTION] for space in self.of)

    @property
    def facts(self) -> Mapping[str, Any]:
        shared = {name: fact for name, fact in self.of[0].facts.items() if name != RESOLUTION}
        return {**shared, "resolutions_px": self.sizes_px}

    def __str__(self) -> str:
        return written_facts(self.facts)

    @cached_property
    def positions(self) -> tuple[TokenPosition, ...]:
        return (TokenPosition(RESOLUTION, self.sizes_px), *map(_moved, self.of[0].positions))

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, L] architectures; every size is as likely."""
        sizes = rng.integers(len(self.of), size=(n, 1), dtype=np.int8)
        return np.concatenate([sizes, self.of[0].sample(n, rng)], axis=1)

    def parse(self, text: str) -> Tokens:
        size, written = _size_in_dict(text), text
        if not text.lstrip().startswith("{"):
            first, _, written = text.strip().partition(":")
            size = whole_number(first)
        if size not in self.sizes_px:
            sizes = ", ".join(map(str, self.sizes_px))
            raise InvalidInputError(f"{shown(text)} does not begin with a size of {sizes}")
        at = self.sizes_px.index(size)
        return np.concatenate([np.array([at], np.int8), self.of[at].parse(written)])

    def format(self, tokens: Tokens) -> str:
        size, rest = int(tokens[0]), tokens[1:]
        return f"{self.sizes_px[size]}:{self.of[size].format(rest)}"

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        return other_forms(self.of[int(tokens[0])], tokens[1:])

    def module_names(self, ops: Sequence[Op]) -> Sequence[str]:
        return module_names(self.of[0], ops)

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        return tuple(self._segments(batch_size))

    def _segments(self, batch_size: int) -> Iterator[Segment]:
        of_sizes = (space.segments(batch_size=batch_size) for space in self.of)
        for parts in zip(*of_sizes, strict=True):
            ops = {
                (size, *choices): made
                for size, part in enumerate(parts)
                for choices, made in part.ops.items()
            }
            yield Segment((0, *(at + 1 for at in parts[0].positions)), ops)


def _moved(position: TokenPosition) -> TokenPosition:
    """Behind one more."""
    when = position.active_if
    if when is None:
        return position
    return replace(position, active_if=Condition(when.position + 1, when.choices))


def _size_in_dict(text: str) -> Any:
    """What an architecture's dict says of its images; None where it says nothing."""
    try:
        data = parse_literal(text)
        size = data.get("r", data.get("image_size"))
    except (ValueError, AttributeError):
        return None
    return size[0] if isinstance(size, list) and size else size
