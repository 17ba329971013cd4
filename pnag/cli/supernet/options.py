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
        help="By default the checkpoint's; of Once-for-All's, mbv3.",
        autocompletion=one_of("mbv3-cifar", "mbv3", "proxyless", "resnet50"),
    ),
]
WidthOption = Annotated[
    float | None, typer.Option("--width-mult", help="By default the checkpoint's.")
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
