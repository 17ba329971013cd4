"""Tables of rows that users give as CSV: what is wrong is said with file, line and what to do.

A share of something is a column `NAME`, a fraction, or `NAME_pct`, a percentage.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidInputError
from profiler.printable import shown

PERCENT = "_pct"
MAX_SHARED = 1000  # texts that a column repeats, and that are kept once
# float() also takes nan, inf and 1_000; there is one way only to read each digit
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One record; `line` is where it begins in the file.

    Where each column is, all rows know together: a table may have a million.
    """

    source: Path
    line: int
    columns: Mapping[str, int]
    texts: tuple[str, ...]

    @property
    def cells(self) -> dict[str, str]:
        """Text by column."""
        return dict(zip(self.columns, self.texts, strict=False))

    def refused(self, why: str) -> InvalidInputError:
        """To be raised: what is wrong with this row."""
        return InvalidInputError(f"{self.source} line {self.line}: {why}")

    def text(self, column: str) -> str:
        """A cell that must not be empty.

        Raises:
            InvalidInputError: it is.
        """
        text = self.texts[self.columns[column]]
        if not text:
            raise self.refused(f"{column} is empty; fill it in, or leave out the row")
        return text

    def number(self, column: str) -> float:
        """A cell that holds a finite decimal number.

        Raises:
            InvalidInputError: empty, or anything else.
        """
        text = self.text(column)
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value):
            raise self.refused(f"{column} {shown(text)} is not a number; write it like 12.5")
        return value

    def positive(self, column: str) -> float:
        """A number above 0.

        Raises:
            InvalidInputError: empty, no number, or none above 0.
        """
        value = self.number(column)
        if value <= 0:
            raise self.refused(f"{column} {value:g} must be positive")
        return value


@dataclass(frozen=True)
class Rows:
    """A file's header and its records, each with a cell under every name."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]


def parse_rows(text: str, source: Path) -> Rows:
    """The rows of a CSV; blank lines do not count.

    Raises:
        InvalidInputError: not CSV; columns without a name or of the same name; a row that is
            empty, or of more or fewer cells than the header.
    """
    header: tuple[str, ...] = ()
    columns: dict[str, int] = {}
    known: list[dict[str, str]] = []
    rows = []
    for line, cells in _records(text, source):
        if not header:
            header = tuple(cells)
            _check_header(header, f"{source} line {line}")
            columns = {name: at for at, name in enumerate(header)}
            known = [{} for _ in header]
            continue
        row = Row(source, line, columns, _shared(cells, known))
        if len(cells) != len(header):
            advice = (
                "put quotes around a cell with commas, and write decimals with a point"
                if len(cells) > len(header)
                else "is the file cut short?"
            )
            raise row.refused(f"{len(cells)} of {len(header)} cells; {advice}")
        if not any(cells):
            raise row.refused("all cells are empty; leave out the row")
        rows.append(row)
    return Rows(header, tuple(rows))


def _shared(cells: Sequence[str], known: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Cells of a record; what a column repeats is one text in all of them."""
    return tuple(
        [
            texts.setdefault(cell, cell) if len(texts) < MAX_SHARED else texts.get(cell, cell)
            for cell, texts in zip(cells, known, strict=False)
        ]
    )


def share_columns(header: Sequence[str], name: str) -> list[str]:
    """Columns of a header that give the share `name`; a table needs exactly one."""
    return [column for column in header if column in (name, name + PERCENT)]


def fractions(rows: Sequence[Row], column: str) -> list[float]:
    """The fractions of a column of shares, whose name declares the unit of all its cells.

    Raises:
        InvalidInputError: no number, out of range, or in the other unit.
    """
    values = [row.number(column) for row in rows]
    name, percent = column.removesuffix(PERCENT), column.endswith(PERCENT)
    whole, highest = 100 if percent else 1, max(values, default=0.0)
    for row, value in zip(rows, values, strict=True):
        if not 0 <= value <= whole:
            other = "" if percent or value < 0 else f"; name a percentage {name}{PERCENT}"
            raise row.refused(f"{column} {value:g} is outside its range, 0 to {whole}{other}")
        # a fraction among percentages; but a network may truly be right in 0.8 % of cases, and
        # then a hundred times that is usually beyond the best
        if percent and (highest <= 1 or (0 < value < 1 and 100 * value <= highest)):
            raise row.refused(
                f"{column} {value:g} looks like a fraction; name a fraction {name}, and write "
                "all rows alike"
            )
    return [value / whole for value in values]


def _records(text: str, source: Path) -> Iterator[tuple[int, list[str]]]:
    """First line and stripped cells of every record that is not blank."""
    reader = csv.reader(_lines(text), strict=True, skipinitialspace=True)
    first_line = 1
    try:
        for cells in reader:
            if cells:
                yield first_line, [cell.strip() for cell in cells]
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInputError(f"{source} line {reader.line_num} is not CSV: {error}") from None


def _lines(text: str) -> Iterator[str]:
    """With their ends; a buffer of the io module would hold the text once more, four times as
    large."""
    return (found[0] for found in _LINE.finditer(text))


def _check_header(header: tuple[str, ...], where: str) -> None:
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        raise InvalidInputError(
            f"{where}: separate cells by commas, and write decimals with a point"
        )
    for number, name in enumerate(header, start=1):
        if not name:
            raise InvalidInputError(
                f"{where}: column {number} has no name; name it or leave it out "
                "(pandas: to_csv(..., index=False))"
            )
        if header.count(name) > 1:
            raise InvalidInputError(f"{where}: two columns are named {name}")
