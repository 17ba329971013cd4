"""Files of written architectures: lines, lists, and what the commands themselves write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.system.row_files import parse_rows
from profiler.system.user_files import parse_literal, read_text

COLUMN = "arch"
# of a frontier, of generate and predict, of an accuracy table, of a latency table, of train
LISTS = ("points", "results", "rows", "networks", "frontier")


@dataclass(frozen=True, slots=True)
class WrittenArchitecture:
    """An architecture as given, and `where`, for what is wrong with it; "" on a command line."""

    text: str
    where: str = ""

    def refused(self, error: InvalidInputError) -> InvalidInputError:
        """The same error, with the place."""
        return InvalidInputError(f"{self.where}: {error}") if self.where else error

    def parsed(self, space: SearchSpace) -> Tokens:
        """[L] Raises InvalidInputError, with the place: not of the space."""
        try:
            return space.parse(self.text)
        except InvalidInputError as error:
            raise self.refused(error) from None


def written_architectures(
    texts: Sequence[str] | None, path: Path | None
) -> list[WrittenArchitecture]:
    """What a command line names, then what its file holds.

    Raises:
        InvalidInputError: as `read_architectures`.
    """
    named = [WrittenArchitecture(text) for text in texts or ()]
    return named + (read_architectures(path) if path else [])


def read_architectures(path: Path) -> list[WrittenArchitecture]:
    """One architecture a line (# comments); or a CSV with `arch`; or, as JSON or as Python prints
    them, an architecture, a list of them, or a document that lists entries with `arch`.

    Raises:
        InvalidInputError: unreadable, or nothing of this.
    """
    text = read_text(path)
    if _is_document(text):
        written = list(_of_document(path, text))
    elif COLUMN in [name.strip(' "') for name in text.lstrip().partition("\n")[0].split(",")]:
        rows = parse_rows(text, path).rows
        written = [WrittenArchitecture(row.text(COLUMN), f"{path} line {row.line}") for row in rows]
    else:
        written = [
            WrittenArchitecture(line.strip(), f"{path} line {number}")
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
    if not written:
        raise InvalidInputError(f"{path} holds no architectures")
    return written


def _is_document(text: str) -> bool:
    """Whether the file is one list or dict, not a dict a line."""
    first, _, rest = text.strip().partition("\n")
    if first.startswith("{") and rest.strip():
        try:
            parse_literal(first)
        except ValueError:
            return True
        return False
    return first.startswith(("[", "{"))


def _of_document(path: Path, text: str) -> Iterator[WrittenArchitecture]:
    try:
        document = parse_literal(text)
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON (truncated?): {error}") from None
    if isinstance(document, dict):
        lists = [document[name] for name in LISTS if isinstance(document.get(name), list)]
        document = lists[0] if lists else [document]
    for number, item in enumerate(document, start=1):
        if isinstance(item, dict) and COLUMN not in item and item.get("feasible") is False:
            continue  # a budget that nothing fits
        arch: Any = item.get(COLUMN, item) if isinstance(item, dict) else item
        where = f"{path} entry {number}"
        try:
            yield WrittenArchitecture(arch if isinstance(arch, str) else json.dumps(arch), where)
        except (ValueError, TypeError) as error:  # literals of Python that JSON has no form for
            raise InvalidInputError(f"{where}: {error}") from None
