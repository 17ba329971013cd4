"""`pnag supernet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pnag.cli.supernet.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FreshOption,
    HeldOutOption,
    RecalibrationOption,
    SpaceOption,
    WidthOption,
)
from profiler.cli.options import ResolutionOption, refuse_given, shared_options
from profiler.extras import require
from profiler.system.atomic import refuse_unwritable
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.supernet.precision import Precision

OutOption = Annotated[Path, typer.Option("--out", help="Accuracy table (JSON).")]
CountOption = Annotated[
    int,
    typer.Option(
        "--count", min=1, max=10_000_000, help="Architectures: smallest, largest, random ones."
    ),
]
ArchsOption = Annotated[
    list[str] | None, typer.Option("--arch", help="Evaluate these instead; repeatable.")
]
ArchFileOption = Annotated[
    Path | None,
    typer.Option("--arch-file", help="One architecture a line, a JSON list, or a frontier."),
]
TestImagesOption = Annotated[int | None, typer.Option("--test-images", help="By default all.")]
BatchOption = Annotated[int, typer.Option("--batch-size")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="float32 or bfloat16.")]


@shared_options
def evaluate(
    context: typer.Context,
    checkpoint: CheckpointOption,
    data: DataOption,
    out: OutOption,
    count: CountOption = 2000,
    arch: ArchsOption = None,
    arch_file: ArchFileOption = None,
    space: SpaceOption = None,
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    recalibration_images: RecalibrationOption = 2000,
    test_images: TestImagesOption = None,
    held_out: HeldOutOption = False,
    batch_size: BatchOption = 200,
    precision: PrecisionOption = "float32",
    fresh: FreshOption = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Recalibrate BatchNorm and measure top-1, architecture by architecture.

    The same command again goes on where it stopped; torchrun spreads it over processes.
    """
    require("supernet", "supernet evaluate")
    from pnag.supernet.accuracy_table import EvaluationRequest, evaluate_subnets
    from pnag.supernet.checkpoint import open_supernet
    from pnag.supernet.evaluate import EvaluationSettings
    from pnag.supernet.workers import open_workers
    from profiler.spaces.architecture_files import written_architectures

    named = written_architectures(arch, arch_file)
    if named:
        refuse_given(context, "count", why="is for architectures drawn; --arch names them")
    refuse_unwritable(out)
    settings = EvaluationSettings(
        recalibration_images, test_images, batch_size, cast("Precision", precision), seed
    )
    request = EvaluationRequest(
        checkpoint, data, out, settings, named, count, held_out=held_out, fresh=fresh
    )
    with open_workers(device) as workers, workers.alone(f"table {out.resolve()}"):
        supernet = open_supernet(checkpoint, space, width_mult, resolution)
        table = evaluate_subnets(request, supernet, workers, workers.terminal(terminal))
    if workers.is_first:
        low, high = float(table.top1.min()), float(table.top1.max())
        terminal.result(
            {"table": str(out), "n": len(table.top1), "top1": [low, high]},
            f"{len(table.top1)} architectures, top-1 {100 * low:.2f} to {100 * high:.2f} %: {out}",
        )
