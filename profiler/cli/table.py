"""`pnag table`: show, import, export, compare, check and audit latency tables."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.completion import one_of
from profiler.cli.options import (
    SPACE_NAMES,
    StatisticOption,
    refuse_given,
    shared_options,
    write_text,
)
from profiler.devices.backend import Settings
from profiler.errors import DemandError, InvalidInputError
from profiler.numerals import decimal_number
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.tables.interop import TableFormat

FORMATS = "ofa-yaml, proxyless-yaml, nn-meter-blocks or pnag-json"
TableArgument = Annotated[Path, typer.Argument(help="Latency table (JSON).")]
FormatOption = Annotated[str, typer.Option("--format", help=FORMATS)]

app = typer.Typer(no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="table")


@app.command()
@shared_options
def show(
    table: TableArgument,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", help="Column of --csv, e.g. latency_ms; -latency_ms: dearest first."
        ),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Every number of every op and network as CSV.")
    ] = False,
    statistic: StatisticOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Print what was measured, on what, and how far to trust it."""
    from profiler.cli.table_text import rendered
    from profiler.tables.rows import rows_as_csv, sorted_rows, table_rows
    from profiler.tables.statistic import load_by_statistic

    if terminal.json_output and (sort or as_csv or statistic is not None):
        raise InvalidInputError(
            "--json is the table's file as it is; --sort, --csv and --statistic are for text"
        )
    loaded = load_by_statistic(table, statistic)
    if terminal.json_output:
        terminal.result(loaded.model_dump(mode="json", by_alias=True))
        return
    rows = table_rows(loaded)
    if sort is not None:
        rows = sorted_rows(rows, sort)
    if as_csv:
        print(rows_as_csv(rows), end="", flush=True)
    else:
        terminal.result({}, rendered(loaded, rows, grouped=sort is None))


@app.command("import")
@functools.partial(shared_options, to_stdout=True)
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Table of another project.")],
    table_format: FormatOption,
    out: Annotated[Path, typer.Option("--out", help="Latency table to write; - is stdout.")],
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Space of the ops; by default from the keys.",
            autocompletion=one_of(*SPACE_NAMES),
        ),
    ] = None,
    width_mult: Annotated[
        float | None, typer.Option("--width-mult", help="By default from the keys.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", help="Pixels; by default from the keys.")
    ] = None,
    device_model: Annotated[
        str, typer.Option("--device-model", help="What it was measured on.")
    ] = "unknown",
    runtime: Annotated[
        str, typer.Option("--runtime", help="What it was measured with.")
    ] = "unknown",
    threads: Annotated[int, typer.Option("--threads", help="Threads of the measurement.")] = 1,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images of a run.")] = 1,
    *,
    terminal: Terminal,
) -> None:
    """Read another project's table; its numbers are marked as imported."""
    from profiler.tables.interop import TableFormat, TableOrigin, import_table

    if table_format == TableFormat.PNAG_JSON:
        refuse_given(
            context, "device_model", "runtime", "threads", "batch_size",
            why="is for tables of other projects: a pnag-json table says it itself",
        )  # fmt: skip
    Settings(threads, batch_size)  # refuses what no device is opened with
    table = import_table(
        file,
        _parse_format(table_format),
        space_name=space,
        width_mult=width_mult,
        resolution_px=resolution,
        provenance=TableOrigin(device_model, runtime, threads, batch_size),
    )
    document = {"out": str(out), "space": table.space.model_dump(), "n_ops": len(table.ops)}
    said = f"{out}: {len(table.ops)} ops of {table.space}, imported from {file}"
    write_text(out, table.to_json(), terminal, document, said)


@app.command()
@functools.partial(shared_options, to_stdout=True)
def export(
    table: TableArgument,
    table_format: FormatOption = "ofa-yaml",
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; by default, and for -, stdout.")
    ] = None,
    *,
    terminal: Terminal,
) -> None:
    """Write a table in another project's format."""
    from profiler.tables.interop import export_table
    from profiler.tables.table import load_table

    text = export_table(load_table(table, partial=True), _parse_format(table_format))
    if out is None:
        terminal.result({"text": text}, text.rstrip("\n"))
    else:
        write_text(out, text, terminal, {"out": str(out)}, str(out))


@app.command()
@shared_options
def diff(
    a: Annotated[Path, typer.Argument(help="Latency table.")],
    b: Annotated[Path, typer.Argument(help="Latency table to compare with it.")],
    fail_above: Annotated[
        str | None,
        typer.Option("--fail-above", help="Exit code 1 if any op differs by more, e.g. 5%."),
    ] = None,
    *,
    terminal: Terminal,
) -> None:
    """Compare two tables: ops, ratios b / a, and what differs in device and protocol."""
    from profiler.cli.table_text import difference_text
    from profiler.tables.checks import compare_tables
    from profiler.tables.table import load_table

    limit_pct = None if fail_above is None else _percentage(fail_above)
    document = compare_tables(load_table(a, partial=True), load_table(b, partial=True))
    terminal.result(document, difference_text(document))
    if limit_pct is not None:
        _refuse_difference(document, limit_pct)


def _percentage(text: str) -> float:
    """A share as a person writes it, 5%.

    Raises:
        InvalidInputError: without the sign it might be a fraction.
    """
    value = decimal_number(text.removesuffix("%")) if text.endswith("%") else None
    if value is None:
        raise InvalidInputError(f"--fail-above takes a percentage, e.g. 5%, not {text!r}")
    return value


def _refuse_difference(document: dict[str, Any], limit_pct: float) -> None:
    """Raise DemandError if ops are missing in one table, or one differs by more."""
    missing = [*document["only_in_a"], *document["only_in_b"]]
    if missing:
        raise DemandError(f"{len(missing)} ops are in one table only, first {missing[0]}")
    if not document["n_common"]:
        raise DemandError("neither table has any ops")
    key, ratio = next(iter(document["furthest"].items()))  # the largest, whichever way
    difference_pct = 100 * (max(ratio, 1 / ratio) - 1)
    if difference_pct > limit_pct:
        raise DemandError(f"{key} differs by {difference_pct:.2f} %, more than {limit_pct:g} %")


@app.command()
@shared_options
def validate(
    tables: Annotated[list[Path], typer.Argument(help="Latency tables (JSON).")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if there are warnings.")
    ] = False,
    *,
    terminal: Terminal,
) -> None:
    """Check the schema, that all ops of the space are there, and that numbers make sense."""
    from profiler.tables.checks import check_table
    from profiler.tables.table import load_table

    faults, warnings, lines = [], [], []
    for path in tables:
        table = load_table(path, partial=True)
        found = check_table(table)
        of_which = f"{path}: " if len(tables) > 1 else ""
        faults += [of_which + fault for fault in found.faults]
        warnings += [of_which + warning for warning in found.warnings]
        lines += [f"fault: {of_which}{fault}" for fault in found.faults]
        lines += [f"warning: {of_which}{warning}" for warning in found.warnings]
        if not found.faults:
            lines.append(f"{path}: valid, {len(table.ops)} ops of {table.space}")
    document = {"valid": not faults, "faults": faults, "warnings": warnings}
    terminal.result(document, "\n".join(lines))
    which = f"{tables[0]} has" if len(tables) == 1 else f"{len(tables)} tables have"
    if faults:
        raise InvalidInputError(f"{which} {len(faults)} faults, first {faults[0]}")
    if strict and warnings:
        raise DemandError(f"{which} {len(warnings)} warnings, first {warnings[0]}")


@app.command()
@shared_options
def audit(
    tables: Annotated[list[Path], typer.Argument(help="Latency tables, of any devices.")],
    table_format: FormatOption = "pnag-json",
    *,
    terminal: Terminal,
) -> None:
    """Find numbers that nobody can have measured: copies, spreads of 0, orders, units.

    \b
    Example:
      pnag table audit tables/sd821.json tables/cpu.json
    """
    from profiler.tables.audit import audit_tables
    from profiler.tables.interop import import_table

    read = _parse_format(table_format)
    findings = audit_tables({str(path): import_table(path, read) for path in tables})
    lines = [
        f"{one.table}: {one.kind}: {one.message}"
        + "".join(f"\n  {key}" for key in one.keys[:5])
        + (f"\n  and {len(one.keys) - 5} more" if len(one.keys) > 5 else "")
        for one in findings
    ]
    n = len(tables)
    lines = lines or [f"{n} table{'s' * (n != 1)}: nothing that could not have been measured"]
    terminal.result({"findings": [asdict(one) for one in findings]}, "\n".join(lines))
    if findings:
        raise DemandError(
            f"{len(findings)} finding{'s' * (len(findings) != 1)}, first {findings[0].message}"
        )


@app.command()
@shared_options
def schema(*, terminal: Terminal) -> None:
    """Print the JSON Schema of latency tables."""
    import json

    from profiler.tables.table import table_json_schema

    text = table_json_schema()
    terminal.result(json.loads(text), text.rstrip("\n"))


def _parse_format(text: str) -> TableFormat:
    from profiler.tables.interop import TableFormat

    try:
        return TableFormat(text)
    except ValueError:
        raise InvalidInputError(f"unknown format {text!r}; known: {FORMATS}") from None
