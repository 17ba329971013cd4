"""`pnag supernet train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pnag.cli.supernet.options import DataOption, DeviceOption, FreshOption
from pnag.cli.train_options import TrackOption
from profiler.cli.completion import one_of
from profiler.cli.options import ResolutionOption, WidthOption, refuse_given, shared_options
from profiler.extras import require
from profiler.terminal import Terminal

MAX_STEPS = 1_000_000_000

OutOption = Annotated[Path, typer.Option("--out", help="Run directory; resumed if it has one.")]
SpaceOption = Annotated[
    str,
    typer.Option(
        "--space", help="mbv3-cifar or mbv3.", autocompletion=one_of("mbv3-cifar", "mbv3")
    ),
]
EpochsOption = Annotated[int, typer.Option("--epochs")]
BatchOption = Annotated[int, typer.Option("--batch-size", help="Of all workers together.")]
MicroBatchOption = Annotated[
    int | None,
    typer.Option("--micro-batch-size", help="Images that pass together; by default 64."),
]
StartOption = Annotated[
    int | None,
    typer.Option("--start-resolution", help="Let images grow from this size (px)."),
]
ArchOption = Annotated[
    str | None,
    typer.Option("--arch", help="Train this subnet alone (fine-tune, with --init)."),
]
MethodOption = Annotated[str, typer.Option("--method", help="sandwich or progressive.")]
RandomOption = Annotated[
    int, typer.Option("--random-subnets", help="Per step, beside smallest and largest.")
]
RateOption = Annotated[float, typer.Option("--learning-rate")]
WarmupOption = Annotated[
    float | None,
    typer.Option("--warmup-epochs", help="By default 2, of short trainings a tenth."),
]
DecayOption = Annotated[float, typer.Option("--weight-decay")]
SmoothingOption = Annotated[float, typer.Option("--label-smoothing")]
ClipOption = Annotated[float, typer.Option("--clip-norm", help="Of the gradient.")]
EmaOption = Annotated[float, typer.Option("--ema-decay", help="Per step.")]
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", help="float32, bfloat16; by default bfloat16 on a GPU."),
]
HoldOutOption = Annotated[
    int, typer.Option("--hold-out", help="Training images kept aside for evaluation.")
]
InitOption = Annotated[
    Path | None, typer.Option("--init", help="Start from these supernet weights.")
]
CheckpointStepsOption = Annotated[int, typer.Option("--checkpoint-steps", min=1, max=MAX_STEPS)]
LogStepsOption = Annotated[int, typer.Option("--log-steps", min=1, max=MAX_STEPS)]
ValidateOption = Annotated[
    int, typer.Option("--validate-epochs", min=0, max=MAX_STEPS, help="0: never.")
]


@shared_options
def train(
    context: typer.Context,
    data: DataOption,
    out: OutOption,
    space: SpaceOption = "mbv3-cifar",
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    epochs: EpochsOption = 60,
    batch_size: BatchOption = 128,
    micro_batch_size: MicroBatchOption = None,
    start_resolution: StartOption = None,
    arch: ArchOption = None,
    method: MethodOption = "sandwich",
    random_subnets: RandomOption = 2,
    learning_rate: RateOption = 0.1,
    warmup_epochs: WarmupOption = None,
    weight_decay: DecayOption = 1e-4,
    label_smoothing: SmoothingOption = 0.1,
    clip_norm: ClipOption = 5.0,
    ema_decay: EmaOption = 0.999,
    precision: PrecisionOption = None,
    hold_out: HoldOutOption = 0,
    init: InitOption = None,
    checkpoint_steps: CheckpointStepsOption = 100,
    log_steps: LogStepsOption = 10,
    validate_epochs: ValidateOption = 1,
    track: TrackOption = None,
    fresh: FreshOption = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Train all subnets at once. The same command again goes on where it stopped.

    Several processes: torchrun --nproc-per-node N --no-python pnag supernet train ...
    """
    require("supernet", "supernet train")
    from pnag.supernet.data import open_dataset
    from pnag.supernet.train_run import RunOptions, resolved_settings, train_supernet
    from pnag.supernet.workers import open_workers
    from profiler.spaces.mobilenetv3 import open_space

    if arch is not None:
        refuse_given(context, "method", "random_subnets", why="is for all subnets, not one --arch")
    chosen = open_space(space, width_mult, resolution)
    with open_workers(device) as workers, workers.alone(f"run {out.resolve()}"):
        settings = resolved_settings(
            on_gpu=workers.device.type == "cuda",
            epochs=epochs, batch_size=batch_size, micro_batch_size=micro_batch_size,
            start_resolution_px=start_resolution, arch=arch, method=method,
            n_random=random_subnets, learning_rate=learning_rate, warmup_epochs=warmup_epochs,
            weight_decay=weight_decay, label_smoothing=label_smoothing, clip_norm=clip_norm,
            ema_decay=ema_decay, precision=precision, held_out=hold_out, seed=seed,
        )  # fmt: skip
        options = RunOptions(out, fresh, checkpoint_steps, log_steps, validate_epochs, track or ())
        dataset, own = open_dataset(data, chosen), workers.terminal(terminal)
        path = train_supernet(chosen, dataset, settings, options, workers, own, init=init)
        if workers.is_first:
            terminal.result({"run": str(out), "checkpoint": str(path)}, f"trained: {path}")
