"""How Once-for-All writes architectures: a dict of lists; here also these lists by colons.

Lists have an entry for every block that there can be: an inactive one is 0 in the text, and the
smallest choice in the dict, since Once-for-All reads numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from profiler.errors import InvalidInputError
from profiler.numerals import decimal_number, whole_number
from profiler.printable import shown
from profiler.spaces.base import DEAD, TokenPosition, Tokens
from profiler.system.user_files import parse_literal

Number = int | float
N = TypeVar("N", bound=Number)
SIZES = ("r", "image_size")  # of dicts for networks, and for accuracy predictors
INACTIVE = 0
RESOLUTIONS_PX = range(96, 321)  # of which networks were published and measured


def refuse_resolution(resolution_px: int, allowed: range = RESOLUTIONS_PX) -> None:
    """Raise InvalidInputError unless images may be of this size."""
    if resolution_px not in allowed:
        raise InvalidInputError(
            f"resolution {resolution_px} px is outside {allowed[0]}-{allowed[-1]} px"
        )


@dataclass(frozen=True)
class Notation:
    """The lists of a family, by name: of each the names of its positions.

    Attributes:
        by_index: positions of which dicts hold the choice's number, not its value.
        endings: by list, a value that ends it whatever is chosen; it may be left out.
        synonyms: by position, values that mean another one.
    """

    lists: Mapping[str, Sequence[str]]
    by_index: Sequence[str] = ()
    endings: Mapping[str, Number] = field(default_factory=dict)
    synonyms: Mapping[str, Mapping[Number, Number]] = field(default_factory=dict)

    def text(self, tokens: Tokens, positions: Sequence[TokenPosition]) -> str:
        """Lists by colons."""
        values, written = _values(tokens, positions), []
        for listed, names in self.lists.items():
            row = [INACTIVE if values[name] is None else values[name] for name in names]
            written.append(",".join(map(str, row + self._ending(listed))))
        return ":".join(written)

    def ofa(
        self, tokens: Tokens, positions: Sequence[TokenPosition], resolution_px: int
    ) -> dict[str, object]:
        """Once-for-All's form."""
        values, choices = _values(tokens, positions), {p.name: p.choices for p in positions}
        found: dict[str, object] = {}
        for listed, names in self.lists.items():
            row = []
            for name in names:
                value = choices[name][0] if values[name] is None else values[name]
                row.append(choices[name].index(value) if name in self.by_index else value)
            found[listed] = row + self._ending(listed)
        return found | {"r": resolution_px}

    def read(self, text: str, positions: Sequence[TokenPosition], resolution_px: int) -> Tokens:
        """[L] tokens of either form.

        Raises:
            InvalidInputError: malformed, of another resolution, or values that there are not.
        """
        expected = f"{':'.join(self.lists)}, each a list by commas, or a dict of these"
        names, by_name = tuple(self.lists), is_dict(text)
        given = self._by_position(
            read_lists(text, names, resolution_px, expected=expected, number=_number)
        )
        tokens: list[int] = []
        for position in positions:
            value, when = given[position.name], position.active_if
            known: Sequence[object] = position.choices
            if when is not None and tokens[when.position] not in when.choices:
                if not by_name and value != INACTIVE:
                    raise InvalidInputError(
                        f"malformed architecture: {position.name} is inactive, to be written 0"
                    )
                tokens.append(DEAD)
                continue
            if by_name and position.name in self.by_index:
                known = range(len(known))
            value = self.synonyms.get(position.name, {}).get(value, value)
            if value not in known:
                raise InvalidInputError(f"{position.name} {value} is not one of {tuple(known)}")
            tokens.append(known.index(value))
        return np.array(tokens, np.int8)

    def _by_position(self, lists: Sequence[list[Number]]) -> dict[str, Number]:
        given: dict[str, Number] = {}
        for (listed, names), row in zip(self.lists.items(), lists, strict=True):
            ended = len(row) > len(names) and row[len(names) :] == self._ending(listed)
            values = row[: len(names)] if ended else row
            if len(values) != len(names):
                raise InvalidInputError(
                    f"malformed architecture: {len(values)} values of {listed}, "
                    f"expected {len(names)}"
                )
            given |= dict(zip(names, values, strict=True))
        return given

    def _ending(self, listed: str) -> list[Any]:
        return [self.endings[listed]] if listed in self.endings else []


def _values(
    tokens: Tokens, positions: Sequence[TokenPosition]
) -> dict[str, int | float | str | None]:
    """By position; None where it is not active."""
    pairs = zip(positions, np.asarray(tokens).tolist(), strict=True)
    return {p.name: None if token == DEAD else p.choices[token] for p, token in pairs}


def read_lists(
    text: str,
    names: Sequence[str],
    resolution_px: int,
    *,
    expected: str,
    number: Callable[[object], N],
) -> list[list[N]]:
    """The lists of either form, in the order of `names`.

    Args:
        expected: for the message, how the text is written.
        number: reads one value; ValueError for what is none.

    Raises:
        InvalidInputError: malformed, or of another resolution.
    """
    if is_dict(text):
        return _lists_of_dict(text, names, resolution_px, number)
    try:
        lists = [[number(v) for v in part.split(",")] for part in text.strip().split(":")]
        if len(lists) != len(names):
            raise ValueError
    except ValueError:
        raise InvalidInputError(
            f"malformed architecture {shown(text)}; expected {expected}"
        ) from None
    return lists


def is_dict(text: str) -> bool:
    """Whether an architecture is written in Once-for-All's form."""
    return text.lstrip().startswith("{")


def _lists_of_dict(
    text: str, names: Sequence[str], resolution_px: int, number: Callable[[object], N]
) -> list[list[N]]:
    try:
        data = parse_literal(text)
    except ValueError as error:
        raise InvalidInputError(f"malformed architecture: {error}") from None
    try:
        lists = [[number(value) for value in data[name]] for name in names]
        sizes = [data[name] for name in SIZES if name in data]
        sizes = [whole(px[0] if isinstance(px, list) else px) for px in sizes]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise InvalidInputError(
            f"malformed architecture: expected a dict with {', '.join(names)} (and r)"
        ) from None
    for size in sizes:
        if size != resolution_px:
            raise InvalidInputError(
                f"the architecture is for {size} px, the space for {resolution_px} px"
            )
    return lists


def whole(value: object) -> int:
    """A number of a file or its digits; never rounded."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = whole_number(value.strip(" ")) if isinstance(value, str) else None
    if number is None:
        raise ValueError(value)
    return number


def _number(value: object) -> Number:
    """The same, fractions too."""
    number = decimal_number(value.strip(" ")) if isinstance(value, str) and "." in value else value
    return number if isinstance(number, float) else whole(number)
