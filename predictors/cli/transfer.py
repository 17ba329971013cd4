"""`pnag table transfer`: a table from another device's and a few measured numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.completion import one_of
from profiler.cli.options import SPACE_NAMES, shared_options
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.spaces.networks import NetworkSpace
    from profiler.tables.table import LatencyTable

BasesOption = Annotated[
    list[Path],
    typer.Option(
        "--from",
        help="Table of another device; further ones of it (other widths, resolutions) widen its "
        "regression.",
    ),
]
MeasuredOption = Annotated[
    list[Path],
    typer.Option(
        "--measured",
        help="CSV of measured numbers: arch (with width_mult, resolution_px) or key, latency_ms, "
        "source.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Name of the device they are of.")]
RuntimeOption = Annotated[str, typer.Option("--runtime", help="What they were measured with.")]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", help="Of several sources the one that the table is to be like."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Latency table to write.")]
SpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="Space of the new table; by default the base's.",
        autocompletion=one_of(*SPACE_NAMES),
    ),
]
WidthOption = Annotated[
    float | None, typer.Option("--width-mult", help="By default the base table's.")
]
ResolutionOption = Annotated[
    int | None, typer.Option("--resolution", help="Pixels; by default the base table's.")
]


@shared_options
def transfer(
    bases: BasesOption,
    measured: MeasuredOption,
    device: DeviceOption,
    out: OutOption,
    runtime: RuntimeOption = "unknown",
    source: SourceOption = None,
    space: SpaceOption = None,
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Make a table of a device from the table of another one and a few measured numbers."""
    from predictors.latency.transferred import (
        TransferTarget,
        described_device,
        transferred_table,
    )
    from profiler.tables.measured_numbers import read_measured_numbers
    from profiler.tables.table import load_table, transfer_in_words

    tables = [load_table(path, partial=True) for path in bases]
    samples = [sample for path in measured for sample in read_measured_numbers(path)]
    target = TransferTarget(
        described_device(device, tables[0], runtime=runtime),
        _space(tables[0], space, width_mult, resolution),
        source,
    )
    table = transferred_table(tables, samples, target)
    table.save(out)
    made = table.transfer
    document = {
        "out": str(out),
        "space": table.space.model_dump(),
        "n_ops": len(table.ops),
        "transfer": made.model_dump(mode="json") if made else None,
    }
    lines = [f"{out}: {len(table.ops)} ops of {table.space}", *transfer_in_words(table)]
    terminal.result(document, "\n".join(lines))


def _space(
    base: LatencyTable, name: str | None, width_mult: float | None, resolution: int | None
) -> NetworkSpace | None:
    """The space asked for; None where nothing was, which is the base's own."""
    from profiler.spaces.registry import open_space

    if (name, width_mult, resolution) == (None, None, None):
        return None
    asked = {"width_mult": width_mult, "resolution_px": resolution}
    given = {fact: value for fact, value in asked.items() if value is not None}
    return open_space(base.space.name if name is None else name, **{**base.space.facts, **given})
