"""A few measured latencies of a device, in a CSV file: of whole networks, of blocks, or both."""

from __future__ import annotations

from pathlib import Path

from profiler.errors import InvalidInputError
from profiler.system.row_files import Row, parse_rows
from profiler.system.user_files import read_text
from profiler.tables.table import TransferSample

LATENCY = "latency_ms"


def read_measured_numbers(path: Path) -> list[TransferSample]:
    """Read ``arch`` (with ``width_mult`` and ``resolution_px`` where they differ from the table's)
    or ``key``, and ``latency_ms``; a column ``source`` says whose each number is, else the file's
    name does. Other columns are for people.

    Raises:
        InvalidInputError: unreadable, no rows, or a row that is not one latency of one thing.
    """
    table = parse_rows(read_text(path), path)
    if LATENCY not in table.header or not {"arch", "key"} & set(table.header):
        raise InvalidInputError(f"{path} needs the columns arch or key, and {LATENCY}")
    if not table.rows:
        raise InvalidInputError(f"{path} has no rows")
    return [_sample(row) for row in table.rows]


def _sample(row: Row) -> TransferSample:
    given = {name: text for name, text in row.cells.items() if text}
    if ("key" in given) == ("arch" in given):
        raise row.refused("give either an arch or a key")
    if "key" in given and given.keys() & {"width_mult", "resolution_px"}:
        raise row.refused("the key says all sizes of a block")
    resolution = row.positive("resolution_px") if "resolution_px" in given else None
    if resolution is not None and resolution != int(resolution):
        raise row.refused(f"resolution_px {resolution:g} is not a whole number")
    return TransferSample(
        key=given.get("key"),
        arch=given.get("arch"),
        width_mult=row.positive("width_mult") if "width_mult" in given else None,
        resolution_px=None if resolution is None else int(resolution),
        latency_ms=row.positive(LATENCY),
        source=given.get("source", row.source.stem),
    )
