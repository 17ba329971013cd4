"""`pnag supernet extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnag.cli.supernet.options import (
    CheckpointOption,
    DeviceOption,
    HeldOutOption,
    RecalibrationOption,
    SpaceOption,
    WidthOption,
)
from profiler.cli.options import (
    ArchOption,
    ExportOption,
    ResolutionOption,
    refuse_given,
    shared_options,
)
from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.system.atomic import refuse_unwritable
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.supernet.extract import Extracted

OutOption = Annotated[Path, typer.Option("--out", help="Directory of the files.")]
Int8Option = Annotated[
    bool, typer.Option("--int8", help="Also a full-integer TFLite model; needs --data.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Images to recalibrate BatchNorm and test on.")
]
RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", help="NAME.recipe.json of an accuracy table: its images."),
]


@shared_options
def extract(
    context: typer.Context,
    checkpoint: CheckpointOption,
    arch: ArchOption,
    out: OutOption,
    formats: ExportOption = "onnx",
    int8: Int8Option = False,
    data: DataOption = None,
    space: SpaceOption = None,
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    recalibration_images: RecalibrationOption = 2000,
    recipe: RecipeOption = None,
    held_out: HeldOutOption = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one subnet as a standalone network with its trained weights."""
    require("supernet", "supernet extract")
    from pnag.supernet.accuracy_table import exported_settings
    from pnag.supernet.checkpoint import open_supernet, refuse_untrained
    from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator, open_judged
    from pnag.supernet.extract import extract_subnet
    from pnag.supernet.workers import open_workers
    from profiler.spaces.base import other_forms
    from profiler.spaces.export import parse_formats

    names = parse_formats(formats)
    _refuse_without_data(data, int8=int8, recipe=recipe, held_out=held_out)
    if data is None or recipe is not None:
        why = "is for BatchNorm's images: needs --data, and no --recipe, which says it"
        refuse_given(context, "recalibration_images", "seed", why=why)
    settings = EvaluationSettings(recalibration_images, seed=seed)
    supernet = open_supernet(checkpoint, space, width_mult, resolution)
    own = supernet.space
    tokens = own.parse(arch)
    written = own.format(tokens)
    refuse_untrained(checkpoint, [written])
    refuse_unwritable(out / "subnet")
    with open_workers(device) as workers:
        dataset = evaluator = None
        if data is not None:
            dataset = open_judged(data, own, checkpoint, held_out=held_out)
            if recipe is not None:
                settings = exported_settings(recipe, checkpoint, own, dataset)
            evaluator = SubnetEvaluator(dataset, own, settings, workers.device)
        else:
            terminal.note("no --data: BatchNorm is not recalibrated, accuracy will be lower")
        made = extract_subnet(
            supernet, written, evaluator, names, out, calibration=dataset if int8 else None
        )
    terminal.result(*_described(made, other_forms(own, tokens)))


def _refuse_without_data(
    data: Path | None, *, int8: bool, recipe: Path | None, held_out: bool
) -> None:
    if data is not None:
        return
    if int8:
        raise InvalidInputError("--int8 needs --data: activations are calibrated on images")
    if recipe is not None:
        raise InvalidInputError("--recipe needs --data: BatchNorm is recalibrated on its images")
    if held_out:
        raise InvalidInputError("--held-out needs --data")


def _described(made: Extracted, other_forms: dict[str, object]) -> tuple[dict[str, object], str]:
    """The result as a JSON document and as text."""
    document = {
        "arch": made.arch,
        **other_forms,
        "files": [str(path) for path in made.files],
        "difference": made.difference,
        "top1": made.top1,
    }
    lines = [*map(str, made.files)]
    if made.difference is not None:
        lines.append(f"differs from the supernet by {made.difference:.1e}")
    if made.top1 is not None:
        lines.append(f"top-1 {100 * made.top1:.2f} %")
    return document, "\n".join(lines)
