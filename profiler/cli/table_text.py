"""What a person reads of latency tables: a table shown, and two compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from profiler.flags import meaning_of, word_of
from profiler.tables.levels import Statistic, load_in_words
from profiler.tables.rows import NETWORK, Row
from profiler.tables.table import LatencyTable, Verdict, transfer_in_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

COLUMN_LEGEND = (
    "mid: channels inside; k, s: kernel, stride; se: squeeze-and-excitation;",
    "hs: hard-swish; ±%: half of the 95 % interval",
)
TITLES = ("op", "input", "output", "mid", "k", "s", "se", "hs", "ms", "±%", "verdict", "")
NUMBERS = TITLES[3:10]  # stand to the right
VERDICT = TITLES.index("verdict")
CALM = {Verdict.STABLE: "green", Verdict.IMPORTED: "cyan", Verdict.TRANSFERRED: "cyan"}


def rendered(table: LatencyTable, rows: Sequence[Row], *, grouped: bool) -> RenderableType:
    """A heading, a row an op, and what the columns and flags mean; `grouped`: a kind once."""
    from rich.console import Group

    ops = [row for row in rows if row["kind"] != NETWORK]
    flags = Counter(word for row in ops for word in _words(row))
    everywhere = [flag for flag, count in flags.items() if count == len(ops)]
    others = sorted(flags.keys() - set(everywhere), key=lambda flag: (-flags[flag], flag))
    letters = dict(zip(others, ascii_lowercase, strict=False))
    legend = [f"all {len(ops)} ops are {flag}{_meaning(flag)}" for flag in everywhere]
    legend += [
        f"{letter}: {flag}{_meaning(flag)}, {flags[flag]} ops" for flag, letter in letters.items()
    ]
    return Group(
        _heading(table),
        *_op_rows(ops, letters, grouped),
        _footer(table, [*COLUMN_LEGEND, *legend]),
    )


def _words(row: Row) -> dict[str, None]:
    """Its flags without their arguments, each once, in order."""
    return dict.fromkeys(map(word_of, row["flags"]))


def _meaning(flag: str) -> str:
    meaning = meaning_of(flag)
    return f" ({meaning})" if meaning else ""


def _heading(table: LatencyTable) -> Text:
    from rich.text import Text

    device = table.device
    of = "" if table.statistic is Statistic.LATENCY else f", {table.statistic} of raw samples"
    return Text(
        f"{table.space}{of}\n"
        f"{device.model}, {device.runtime} {device.runtime_version}, {device.threads} "
        f"thread{'s' * (device.threads != 1)}, batch {device.batch_size}, {device.precision}\n"
        f"{table.created} by {table.tool}\n"
    )


def _op_rows(ops: Sequence[Row], letters: Mapping[str, str], grouped: bool) -> Iterator[Text]:
    """A line an op, as narrow as 80 columns; flags are letters, so that no word is ever broken.

    Rich's own table takes 2 ms a row, and a table of kernels may have 100,000.
    """
    from rich.cells import cell_len
    from rich.text import Text

    rows = [_cells(row, letters) for row in ops]
    widths = [max(map(cell_len, column)) for column in zip(TITLES, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for title, cell, width in zip(TITLES, cells, widths, strict=True):
            blank = " " * (width - cell_len(cell))
            padded.append(f"{blank}{cell}" if title in NUMBERS else f"{cell}{blank}")
        return " ".join(padded)

    yield Text(line(TITLES), "bold")
    verdict_at = sum(widths[:VERDICT]) + VERDICT
    previous = ""
    for row, cells in zip(ops, rows, strict=True):
        repeated = grouped and row["kind"] == previous
        previous = row["kind"]
        text = Text(line(["", *cells[1:]] if repeated else cells))
        colour, verdict_ends = CALM.get(Verdict(row["verdict"]), "yellow"), len(row["verdict"])
        text.stylize(colour, verdict_at, verdict_at + verdict_ends)
        yield text


def _cells(row: Row, letters: Mapping[str, str]) -> list[str]:
    latency_ms, low, high = (row[name] for name in ("latency_ms", "ci95_low_ms", "ci95_high_ms"))
    half = "" if low is None else f"{50 * (high - low) / latency_ms:.1f}"
    shapes = (row[name] for name in ("input", "output", "mid", "kernel", "stride", "se", "hs"))
    marks = "".join(letters[word] for word in _words(row) if word in letters)
    return [
        row["kind"], *("" if shape is None else str(shape) for shape in shapes),
        f"{latency_ms:.4g}", half, row["verdict"], marks,
    ]  # fmt: skip


def _footer(table: LatencyTable, legend: Sequence[str]) -> Text:
    from rich.text import Text  # as it is: a message may hold what markup takes for a tag

    text = Text("\n")
    for key, why in sorted(table.failures.items()):
        text.append("failed", "red").append(f" {key}: {why}\n")
    lines = []
    if table.networks:
        latencies = [network.latency_ms for network in table.networks]
        lines.append(
            f"{len(latencies)} whole networks, {min(latencies):.4g} to {max(latencies):.4g} ms"
        )
        lines += _starts_in_words(table)
    lines += transfer_in_words(table)
    if table.load is not None:
        lines.append(load_in_words(table.load))
    if table.noise_floor is not None:
        floor = table.noise_floor
        lines.append(
            f"noise floor: {floor.n_repeats} repeats differ by {floor.median_pct:.2g} % (median), "
            f"{floor.p95_pct:.2g} % (p95)"
        )
    if len(table.sessions) > 1:
        levels = [100 * (session.level - 1) for session in table.sessions]
        lines.append(
            f"{len(levels)} launches read networks {min(levels):+.2g} to {max(levels):+.2g} % "
            "beside the table"
        )
    if table.calibration is not None:
        launches = ", launches included" if table.calibration.launch else ""
        lines.append(
            f"calibrated on {table.calibration.n_networks} networks{launches}, leave-one-out "
            f"error {table.calibration.residual_mape_pct:.2g} %"
        )
    return text.append("\n".join([*lines, *legend]))


def difference_text(document: dict[str, Any]) -> str:
    """Of `compare_tables`."""
    lines = []
    for what in ("space", "device", "protocol"):
        for name, (left, right) in document[what].items():
            lines.append(f"{what} {name}: {left} | {right}")
    for side in ("a", "b"):
        keys = document[f"only_in_{side}"]
        lines += [f"only in {side}: {key}" for key in keys[:10]]
        lines += [f"only in {side}: {len(keys) - 10} more"] if len(keys) > 10 else []
    lines.append(f"{document['n_common']} ops in both")
    spreads = {"all": document["ratio"], **document["ratio_by_kind"]} if document["ratio"] else {}
    for kind, spread in spreads.items():
        lines.append(
            f"  {kind:14s} b/a median {spread['median']:.4f}, "
            f"p95 difference {spread['p95_difference_pct']:.2f} %"
        )
    lines += [f"  {ratio:8.4f}  {key}" for key, ratio in document["furthest"].items()]
    return "\n".join(lines)


def _starts_in_words(table: LatencyTable) -> list[str]:
    """Ranges of what first uses cost; nothing where none was measured."""
    ranges = []
    for name, unit, what in (
        ("load_ms", "ms", "load"),
        ("first_run_ms", "ms", "first run"),
        ("peak_memory_mb", "MB", "memory"),
    ):
        values = [v for one in table.networks if (v := getattr(one, name)) is not None]
        if values:
            ranges.append(f"{what} {min(values):.4g} to {max(values):.4g} {unit}")
    return [f"their cold start: {', '.join(ranges)}"] if ranges else []
