"""Options that several supernet commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.completion import one_of

DataOption = Annotated[
    Path, typer.Option("--data", help="CIFAR-10, a .npz of JPEG images, or folders of images.")
]
CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", help="supernet.safetensors, or Once-for-All's checkpoint.")
]
SpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="mbv3-cifar or mbv3; by default the checkpoint's.",
        autocompletion=one_of("mbv3-cifar", "mbv3"),
    ),
]
WidthOption = Annotated[
    float | None, typer.Option("--width-mult", help="1.0 or 1.2; by default the checkpoint's.")
]
RecalibrationOption = Annotated[
    int,
    typer.Option("--recalibration-images", help="Training images that set BatchNorm statistics."),
]
HeldOutOption = Annotated[
    bool, typer.Option("--held-out", help="Measure on the images that training held out.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Do not resume.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
