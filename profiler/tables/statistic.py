"""A table read by another of its statistics: from then on its latencies are that one.

Everything downstream reads `latency_ms` of ops and networks, so that c(α) of a tail or of a
sustained load is fitted, calibrated and given an interval like any other.
"""

from __future__ import annotations

from pathlib import Path

from profiler.errors import InvalidInputError
from profiler.tables.levels import Statistic
from profiler.tables.table import Entry, LatencyTable, NetworkEntry, Verdict, load_table

MEASURED_BY = {
    Statistic.P50: "tail",
    Statistic.P90: "tail",
    Statistic.P99: "tail",
    Statistic.FIRST_MINUTE: "sustained",
    Statistic.SUSTAINED: "sustained",
}


def statistic_named(name: str | None) -> Statistic | None:
    """Raises InvalidInputError: there is no such one."""
    known = [one.value for one in Statistic]
    if name is not None and name not in known:
        raise InvalidInputError(f"unknown statistic {name!r}; known: {', '.join(known)}")
    return None if name is None else Statistic(name)


def by_statistic(table: LatencyTable, statistic: Statistic | None, path: Path) -> LatencyTable:
    """The table with this statistic in place of its latencies; None is its own.

    Without calibration, noise floor and sessions, which are of the latencies.

    Args:
        path: names the table in messages.

    Raises:
        InvalidInputError: the table is of another statistic already, or holds no such one.
    """
    if statistic is None or statistic is table.statistic:
        return table
    if table.statistic is not Statistic.LATENCY:
        raise InvalidInputError(f"{path} is a table of {table.statistic}, not of {statistic}")
    entries = {**table.ops, **{network.arch: network for network in table.networks}}
    lacking = [name for name, entry in entries.items() if statistic not in entry.levels]
    if lacking:
        how = f"; measure with pnag profile --protocol {MEASURED_BY[statistic]}"
        raise InvalidInputError(f"{path} has no {statistic}, e.g. of {lacking[0]}{how}")
    return table.model_copy(
        update={
            "statistic": statistic,
            "ops": {key: entry.model_copy(update=_read(entry, statistic))
                    for key, entry in table.ops.items()},
            "networks": tuple(network.model_copy(update=_read(network, statistic))
                              for network in table.networks),
            "calibration": None,
            "noise_floor": None,
            "sessions": (),
        }
    )  # fmt: skip


def load_by_statistic(path: Path, name: str | None) -> LatencyTable:
    """A table, or a part of one, read by the statistic of this name; None is its own.

    Raises:
        InvalidInputError: unreadable or malformed; no such statistic, or not in the table.
    """
    return by_statistic(load_table(path, partial=True), statistic_named(name), path)


def refuse_mixed(*tables: LatencyTable) -> None:
    """Raises InvalidInputError: tables of several statistics."""
    found = list(dict.fromkeys(table.statistic for table in tables))
    if len(found) > 1:
        raise InvalidInputError(f"one table is of {found[0]}, another of {found[1]}")


def _read(entry: Entry | NetworkEntry, statistic: Statistic) -> dict[str, object]:
    level = entry.levels[statistic]
    read: dict[str, object] = {"latency_ms": level.latency_ms, "ci95_ms": level.ci95_ms}
    if entry.verdict is Verdict.THROTTLED:  # which a sustained load is asked for
        read["verdict"] = Verdict.NOISY
    return read | {"levels": {}}
