"""Per-op profile of `benchmark_model`: several unquoted CSV tables in one file.

Older builds have a `start` column. Node types and names hold commas, unquoted, so columns are
found by the header's names and by the numbers between the two texts, never by position.
Format: tensorflow/core/util/stats_calculator.cc, tensorflow/lite/tools/benchmark/
profiling_listener.cc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from profiler.devices.android.benchmark_lines import NUMBER
from profiler.errors import MeasurementError
from profiler.numerals import WHOLE

_SECTION = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_RUN_ORDER = re.compile(r"=+ Run Order =+")
_COLUMNS = {  # header name -> how its cells look
    "node type": r"(?P<node_type>.+?)",
    "start": NUMBER,
    "first": NUMBER,
    "avg_ms": rf"(?P<avg_ms>{NUMBER})",
    "avg ms": rf"(?P<avg_ms>{NUMBER})",
    "%": rf"(?P<pct>{NUMBER})%",
    "cdf%": rf"(?P<cdf_pct>{NUMBER})%",
    "mem KB": NUMBER,
    "times called": rf"(?P<times_called>{WHOLE})",
    "name": r"(?P<name>.*)",
}
_NEEDED = {"node type", "avg_ms", "%", "cdf%", "times called", "name"}
_CDF_TOLERANCE_PCT = 0.5


@dataclass(frozen=True, slots=True)
class NodeTiming:
    """One node of the executed graph: mean per call, and calls per inference."""

    node_type: str
    name: str
    avg_ms: float
    times_called: int
    share_pct: float

    @property
    def per_run_ms(self) -> float:
        return self.avg_ms * self.times_called


def parse_profile_csv(text: str) -> tuple[NodeTiming, ...]:
    """Nodes in order of execution.

    Raises:
        MeasurementError: missing_profile, partial_profile (rows are missing, or their shares
            do not add up to 100 %), or garbled_profile.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if _SECTION not in lines:
        raise _failure("is missing: the path was not writable, or no op was run", "missing_profile")
    lines = lines[lines.index(_SECTION) + 1 :]
    starts = [at for at, line in enumerate(lines) if _RUN_ORDER.fullmatch(line)]
    if not starts:
        raise _failure("has no table in run order", "missing_profile")
    if any(line.startswith("Subgraph (index:") for line in lines):
        raise _failure("has more than one subgraph", "garbled_profile")
    table = lines[starts[0] + 1 :]
    if "" not in table:
        raise _failure("ends within its first table", "partial_profile")
    header, *rows = table[: table.index("")] or [""]
    nodes, cdf_pct = _read_rows(_row_pattern(header), rows)
    _check_complete(lines, nodes, cdf_pct)
    return nodes


def _failure(what: str, reason: str) -> MeasurementError:
    return MeasurementError(f"benchmark_model's op profile {what}", reason=reason)


def _row_pattern(header: str) -> re.Pattern[str]:
    names = [name.strip() for name in header.split(",")]
    canonical = {name.replace("avg ms", "avg_ms") for name in names}
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown or not canonical >= _NEEDED or len(canonical) < len(names):
        raise _failure(f"has an unknown header {header!r}", "garbled_profile")
    return re.compile(", ".join(_COLUMNS[name] for name in names))


def _read_rows(pattern: re.Pattern[str], rows: list[str]) -> tuple[tuple[NodeTiming, ...], float]:
    nodes, cdf_pct = [], 0.0
    for row in rows:
        match = pattern.fullmatch(row)
        if match is None:
            raise _failure(f"has an unreadable row {row!r}", "garbled_profile")
        if float(match["cdf_pct"]) < cdf_pct - 1e-3:
            raise _failure(f"is out of order at {row!r}", "garbled_profile")
        cdf_pct = float(match["cdf_pct"])
        nodes.append(
            NodeTiming(
                match["node_type"],
                match["name"],
                float(match["avg_ms"]),
                int(match["times_called"]),
                float(match["pct"]),
            )
        )
    return tuple(nodes), cdf_pct


def _check_complete(lines: list[str], nodes: tuple[NodeTiming, ...], cdf_pct: float) -> None:
    """The counts and shares that the tool prints after the tables must be those of the rows."""
    observed = [
        int(m[1]) for line in lines if (m := re.fullmatch(rf"({WHOLE}) nodes observed", line))
    ]
    totals_us = [
        float(m[1] or m[2])
        for line in lines
        if (
            m := re.fullmatch(
                rf"Timings \(microseconds\): count=[0-9]+ "
                rf"(?:.*\bavg=({NUMBER})(?: .*)?|curr=({NUMBER})(?:\(all same\))?)",
                line,
            )
        )
    ]
    if not observed or not totals_us or not nodes or not totals_us[0]:
        raise _failure("is cut off", "partial_profile")
    if observed[0] != len(nodes):
        raise _failure(f"has {len(nodes)} rows of {observed[0]} nodes", "partial_profile")
    if abs(cdf_pct - 100) > _CDF_TOLERANCE_PCT:
        raise _failure(f"covers {cdf_pct:g} % of the time", "partial_profile")
    total_ms = totals_us[0] / 1e3
    for node in nodes:  # each time is printed again, as its share; both have six digits
        share_pct = 100 * node.per_run_ms / total_ms
        if abs(share_pct - node.share_pct) > 2e-5 * (share_pct + node.share_pct):
            raise _failure(
                f"gives {node.name} {node.per_run_ms:g} of {total_ms:g} ms, and "
                f"{node.share_pct:g} %",
                "garbled_profile",
            )
