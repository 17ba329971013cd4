"""A latency table as flat rows, one an op or network: for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.numerals import whole_number
from profiler.tables.checks import kind_of
from profiler.tables.table import Entry, LatencyTable

if TYPE_CHECKING:
    from pandas import DataFrame

NETWORK = "network"  # the kind of a row that is no op
KEY_FIELDS = {"input": "input", "output": "output", "mid": "expand", "kernel": "kernel",
              "stride": "stride", "se": "se", "hs": "hs"}  # fmt: skip
COLUMNS = (
    "name", "kind", *KEY_FIELDS, "latency_ms", "ci95_low_ms", "ci95_high_ms", "min_ms", "p10_ms",
    "median_ms", "p90_ms", "mean_ms", "std_ms", "n_samples", "verdict", "flags",
)  # fmt: skip

Row = dict[str, Any]


def table_rows(table: LatencyTable) -> list[Row]:
    """Ops by kind, large feature maps first, then whole networks; what is unknown is None.

    `name` is the op's key or the architecture, `input` and `output` are HxWxC, `flags` a list (in
    CSV with semicolons).
    """
    rows = [_row(key, kind_of(key), entry) for key, entry in table.ops.items()]
    rows.sort(key=lambda row: (row["kind"], _sizes(row["input"]), row["name"]))
    return rows + [_row(network.arch, NETWORK, network) for network in table.networks]


def sorted_rows(rows: Sequence[Row], column: str) -> list[Row]:
    """By one column; -COLUMN begins with the largest. What is unknown comes last.

    Raises:
        InvalidInputError: no such column.
    """
    name = column.removeprefix("-")
    if name not in COLUMNS:
        raise InvalidInputError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
    known = [row for row in rows if row[name] is not None]
    # a foreign key may say 3x3 where others say 3
    known.sort(key=lambda row: (isinstance(row[name], str), row[name]), reverse=column[0] == "-")
    return known + [row for row in rows if row[name] is None]


def rows_as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"flags": ";".join(row["flags"])} for row in rows)
    return text.getvalue()


def to_pandas(table: LatencyTable) -> DataFrame:
    """A data frame of the rows, with the columns of `pnag table show --csv`.

    Raises:
        InvalidInputError: pandas is not installed.
    """
    require("pandas", "a data frame")
    from pandas import DataFrame

    return DataFrame(table_rows(table), columns=list(COLUMNS))


def fields_of_key(key: str) -> Mapping[str, str]:
    """What a key of the form kind-name:value-name:value says by name; nothing of another form.

    >>> dict(fields_of_key("Conv_1-input:7x7x192-output:7x7x1152"))
    {'input': '7x7x192', 'output': '7x7x1152'}
    """
    parts = (part.partition(":") for part in key.split("-")[1:])
    return {name: value for name, _, value in parts}


def _row(name: str, kind: str, entry: Entry) -> Row:
    fields = {} if kind == NETWORK else fields_of_key(name)
    low, high = entry.ci95_ms or (None, None)
    row: Row = {"name": name, "kind": kind, "ci95_low_ms": low, "ci95_high_ms": high}
    for column, field in KEY_FIELDS.items():
        text = fields.get(field)
        number = None if text is None or field == "output" else whole_number(text)
        row[column] = text if number is None else number
    row |= entry.model_dump(include=set(COLUMNS) - row.keys())
    return row | {"verdict": entry.verdict.value, "flags": list(entry.flags)}


def _sizes(shape: str | int | None) -> list[int]:
    """Sort key: large feature maps first."""
    sizes = map(whole_number, str(shape or "").split("x"))
    return [-size for size in sizes if size is not None]
