"""`pnag supernet`: train the weight-sharing network, measure its subnets, take one out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.system.atomic import refuse_unwritable
from profiler.system.lock import device_lock
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.supernet.data import Dataset
    from pnag.supernet.elastic import ElasticMobileNetV3
    from pnag.supernet.precision import Precision
    from pnag.supernet.subnets import Method
    from pnag.supernet.workers import Workers
    from profiler.spaces.mobilenetv3 import Architecture, MobileNetV3Space

SpaceOption = Annotated[str, typer.Option("--space", help="mbv3-cifar or mbv3.")]
FileSpaceOption = Annotated[
    str | None,
    typer.Option("--space", help="mbv3-cifar or mbv3; by default the checkpoint's."),
]
WidthOption = Annotated[float, typer.Option("--width-mult", help="Width multiplier, 1.0 or 1.2.")]
FileWidthOption = Annotated[
    float | None, typer.Option("--width-mult", help="1.0 or 1.2; by default the checkpoint's.")
]
ResolutionOption = Annotated[
    int | None, typer.Option("--resolution", help="Input size in px; by default the space's own.")
]
DataOption = Annotated[
    Path, typer.Option("--data", help="CIFAR-10, a .npz of JPEG images, or folders of images.")
]
CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", help="supernet.safetensors, or Once-for-All's checkpoint.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
RecalibrationOption = Annotated[
    int,
    typer.Option("--recalibration-images", help="Training images that set BatchNorm statistics."),
]
HeldOutOption = Annotated[
    bool, typer.Option("--held-out", help="Measure on the images that training held out.")
]

app = typer.Typer(no_args_is_help=True, help="Train a supernet; evaluate and extract subnets.")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="supernet")


@app.command()
@shared_options
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Run directory; resumed if it has one.")],
    space: SpaceOption = "mbv3-cifar",
    width_mult: WidthOption = 1.0,
    resolution: ResolutionOption = None,
    epochs: Annotated[int, typer.Option("--epochs")] = 60,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Of all workers together.")] = 128,
    micro_batch_size: Annotated[
        int | None,
        typer.Option("--micro-batch-size", help="Images that pass together; by default 64."),
    ] = None,
    start_resolution: Annotated[
        int | None,
        typer.Option("--start-resolution", help="Let images grow from this size (px)."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="Train this subnet alone (fine-tune, with --init)."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="sandwich or progressive.")] = "sandwich",
    random_subnets: Annotated[
        int, typer.Option("--random-subnets", help="Per step, beside smallest and largest.")
    ] = 2,
    learning_rate: Annotated[float, typer.Option("--learning-rate")] = 0.1,
    warmup_epochs: Annotated[
        float | None,
        typer.Option("--warmup-epochs", help="By default 2, of short trainings a tenth."),
    ] = None,
    weight_decay: Annotated[float, typer.Option("--weight-decay")] = 1e-4,
    label_smoothing: Annotated[float, typer.Option("--label-smoothing")] = 0.1,
    clip_norm: Annotated[float, typer.Option("--clip-norm", help="Of the gradient.")] = 5.0,
    ema_decay: Annotated[float, typer.Option("--ema-decay", help="Per step.")] = 0.999,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="float32, bfloat16; by default bfloat16 on a GPU."),
    ] = None,
    hold_out: Annotated[
        int, typer.Option("--hold-out", help="Training images kept aside for evaluation.")
    ] = 0,
    init: Annotated[
        Path | None, typer.Option("--init", help="Start from these supernet weights.")
    ] = None,
    checkpoint_steps: Annotated[int, typer.Option("--checkpoint-steps", min=1)] = 100,
    log_steps: Annotated[int, typer.Option("--log-steps", min=1)] = 10,
    validate_epochs: Annotated[int, typer.Option("--validate-epochs", min=0, help="0: never.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume.")] = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Train all subnets at once. The same command again goes on where it stopped.

    Several processes: torchrun --nproc-per-node N --no-python pnag supernet train ...
    """
    from pnag.supernet.data import open_dataset
    from pnag.supernet.train import TrainSettings
    from pnag.supernet.train_run import RunOptions, train_supernet
    from pnag.supernet.workers import open_workers
    from profiler.spaces.mobilenetv3 import open_space

    chosen = open_space(space, width_mult, resolution)
    refuse_unwritable(out / "config.json")
    if warmup_epochs is None:
        warmup_epochs = min(2.0, 0.1 * epochs)
    if micro_batch_size is None:
        micro_batch_size = min(TrainSettings.micro_batch_size, batch_size)
    with open_workers(device) as workers, _alone(f"run {out.resolve()}", workers):
        on_gpu = workers.device.type == "cuda"
        settings = TrainSettings(
            epochs=epochs,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            start_resolution_px=start_resolution,
            arch=arch,
            method=cast("Method", method),
            n_random=random_subnets,
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            clip_norm=clip_norm,
            ema_decay=ema_decay,
            precision=cast("Precision", precision or ("bfloat16" if on_gpu else "float32")),
            held_out=hold_out,
            seed=seed,
        )
        options = RunOptions(out, fresh, checkpoint_steps, log_steps, validate_epochs, tensorboard)
        own = terminal if workers.is_first else Terminal(quiet=True)
        dataset = open_dataset(data, chosen)
        path = train_supernet(chosen, dataset, settings, options, workers, own, init=init)
        if workers.is_first:
            terminal.result({"run": str(out), "checkpoint": str(path)}, f"trained: {path}")


@app.command()
@shared_options
def evaluate(
    checkpoint: CheckpointOption,
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Accuracy table (JSON).")],
    count: Annotated[
        int, typer.Option("--count", min=1, help="Architectures: smallest, largest, random ones.")
    ] = 2000,
    arch: Annotated[
        list[str] | None, typer.Option("--arch", help="Evaluate these instead; repeatable.")
    ] = None,
    space: FileSpaceOption = None,
    width_mult: FileWidthOption = None,
    resolution: ResolutionOption = None,
    recalibration_images: RecalibrationOption = 2000,
    test_images: Annotated[
        int | None, typer.Option("--test-images", help="By default all.")
    ] = None,
    held_out: HeldOutOption = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 200,
    precision: Annotated[str, typer.Option("--precision", help="float32 or bfloat16.")] = "float32",
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume.")] = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Recalibrate BatchNorm and measure top-1, architecture by architecture.

    The same command again goes on where it stopped; torchrun spreads it over processes.
    """
    from dataclasses import asdict

    from pnag.supernet.checkpoint import file_digest, space_facts
    from pnag.supernet.data import fingerprint
    from pnag.supernet.evaluate import (
        EvaluationJob,
        EvaluationSettings,
        Evaluator,
        architectures_to_evaluate,
    )
    from pnag.supernet.shared_prefix import in_shared_order, subnet_top1
    from pnag.supernet.workers import open_workers

    refuse_unwritable(out)
    with open_workers(device) as workers, _alone(f"table {out.resolve()}", workers):
        supernet = _open_supernet(checkpoint, space, width_mult, resolution)
        dataset = _open_judged(data, supernet.space, checkpoint, held_out=held_out)
        settings = EvaluationSettings(
            recalibration_images,
            test_images,
            batch_size,
            precision=cast("Precision", precision),
            seed=seed,
        )
        digest = file_digest(checkpoint)
        recipe = {
            "checkpoint_sha256": digest, "space": space_facts(supernet.space),
            "data": dataset.name, "data_fingerprint": fingerprint(dataset),
            "settings": asdict(settings),
        }  # fmt: skip
        fine_tuned = "fine-tuned" if _only_subnet(checkpoint) else "no fine-tuning"
        source = (
            f"subnets of {checkpoint.name} (sha256 {digest[:12]}), BatchNorm recalibrated on "
            f"{recalibration_images} training images, {fine_tuned}, {precision}"
        )
        job = EvaluationJob(out, recipe, dataset.name, source)
        evaluator = Evaluator(dataset, supernet.space, settings, workers.device)
        chosen = [supernet.space.parse_architecture(text) for text in arch or []]
        chosen = chosen or architectures_to_evaluate(supernet.space, count, seed=seed)
        _refuse_untrained(checkpoint, chosen)
        workers.wait()  # until none has anything to refuse
        if fresh and workers.is_first:
            job.discard()
        own = terminal if workers.is_first else Terminal(quiet=True)
        with own.progress("evaluating", len(chosen)) as progress:
            supernet.to(workers.device)
            table = job.run(
                supernet.space,
                subnet_top1(evaluator, supernet),
                in_shared_order(supernet.space, chosen),
                workers,
                progress,
            )
    if workers.is_first:
        low, high = float(table.top1.min()), float(table.top1.max())
        terminal.result(
            {"table": str(out), "n": len(table.top1), "top1": [low, high]},
            f"{len(table.top1)} architectures, top-1 {100 * low:.2f} to {100 * high:.2f} %: {out}",
        )


@app.command()
@shared_options
def extract(
    checkpoint: CheckpointOption,
    arch: Annotated[
        str, typer.Option("--arch", help="depths:kernels:expands, or Once-for-All's dict as JSON.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the files.")],
    formats: Annotated[str, typer.Option("--export", help="onnx,tflite,torch")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Also a full-integer TFLite model; needs --data.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Images to recalibrate BatchNorm and test on.")
    ] = None,
    space: FileSpaceOption = None,
    width_mult: FileWidthOption = None,
    resolution: ResolutionOption = None,
    recalibration_images: RecalibrationOption = 2000,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="NAME.recipe.json of an accuracy table: its images."),
    ] = None,
    held_out: HeldOutOption = False,
    device: DeviceOption = "auto",
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one subnet as a standalone network with its trained weights."""
    from pnag.supernet.evaluate import EvaluationSettings, Evaluator, exported_settings
    from pnag.supernet.extract import extract_subnet
    from pnag.supernet.workers import open_workers
    from profiler.spaces.export import parse_formats

    names = parse_formats(formats)
    if int8 and data is None:
        raise InvalidInputError("--int8 needs --data: activations are calibrated on images")
    if recipe is not None and data is None:
        raise InvalidInputError("--recipe needs --data: BatchNorm is recalibrated on its images")
    if held_out and data is None:
        raise InvalidInputError("--held-out needs --data")
    supernet = _open_supernet(checkpoint, space, width_mult, resolution)
    architecture = supernet.space.parse_architecture(arch)
    _refuse_untrained(checkpoint, [architecture])
    refuse_unwritable(out / "subnet")
    with open_workers(device) as workers:
        supernet.to(workers.device)
        dataset = evaluator = None
        if data is not None:
            dataset = _open_judged(data, supernet.space, checkpoint, held_out=held_out)
            settings = EvaluationSettings(recalibration_images, seed=seed)
            if recipe is not None:
                settings = exported_settings(recipe, checkpoint, supernet.space, dataset)
            evaluator = Evaluator(dataset, supernet.space, settings, workers.device)
        else:
            terminal.note("no --data: BatchNorm is not recalibrated, accuracy will be lower")
        made = extract_subnet(
            supernet, architecture, evaluator, names, out, calibration=dataset if int8 else None
        )
    document = {
        "arch": str(made.arch),
        "ofa": made.arch.to_ofa(),
        "files": [str(path) for path in made.files],
        "difference": made.difference,
        "top1": made.top1,
    }
    lines = [*map(str, made.files), f"differs from the supernet by {made.difference:.1e}"]
    if made.top1 is not None:
        lines.append(f"top-1 {100 * made.top1:.2f} %")
    terminal.result(document, "\n".join(lines))


@app.command()
@shared_options
def compress(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="supernet.safetensors.")],
    out: Annotated[Path, typer.Option("--out", help="The smaller checkpoint (.safetensors).")],
    *,
    terminal: Terminal,
) -> None:
    """Write a supernet's weights in 8 bits, a quarter of the size; all commands read them."""
    from pnag.supernet.checkpoint import compress_supernet, file_digest

    if out.suffix != ".safetensors":
        raise InvalidInputError(f"--out {out}: a checkpoint's name ends in .safetensors")
    smaller = compress_supernet(checkpoint)
    if out.exists() and out.samefile(checkpoint):
        raise InvalidInputError(f"--out {out} would replace the weights that it is made from")
    refuse_unwritable(out)
    smaller.save(out)
    sizes = {"bytes_before": checkpoint.stat().st_size, "bytes": out.stat().st_size}
    before, after = (f"{size / 1e6:.1f} MB" for size in sizes.values())
    terminal.result(
        {"checkpoint": str(out), "sha256": file_digest(out), **sizes},
        f"{before} to {after}: {out}",
    )


def _open_supernet(
    checkpoint: Path, space: str | None, width_mult: float | None, resolution: int | None
) -> ElasticMobileNetV3:
    """One of ours says its own space; a PyTorch file is `mbv3` of width 1.0 unless told."""
    from pnag.supernet.checkpoint import load_supernet, read_facts, space_of
    from profiler.spaces.mobilenetv3 import open_space

    if checkpoint.suffix == ".safetensors":
        own = space_of(read_facts(checkpoint))
        if space in (None, own.name) and resolution is None:
            resolution = own.resolution_px
        space = own.name if space is None else space
        width_mult = own.width_mult if width_mult is None else width_mult
    chosen = open_space(space or "mbv3", 1.0 if width_mult is None else width_mult, resolution)
    return load_supernet(checkpoint, chosen)


def _refuse_untrained(checkpoint: Path, chosen: list[Architecture]) -> None:
    """After fine-tuning one subnet, the weights of others mean nothing."""
    only = _only_subnet(checkpoint)
    if only is not None and chosen != [only]:
        raise InvalidInputError(f"{checkpoint} holds one fine-tuned subnet: use --arch {only}")


def _alone(name: str, workers: Workers) -> AbstractContextManager[None]:
    """Held by the first worker while they write: two commands would lose each other's work."""
    return device_lock(name) if workers.is_first else nullcontext()


def _only_subnet(checkpoint: Path) -> Architecture | None:
    """The one that a checkpoint was fine-tuned for; None for a supernet."""
    from pnag.supernet.checkpoint import read_facts, space_of

    if checkpoint.suffix != ".safetensors":
        return None
    facts = read_facts(checkpoint)
    only = facts.get("settings", {}).get("arch")
    return None if only is None else space_of(facts).parse_architecture(only)


def _open_judged(
    data: Path, space: MobileNetV3Space, checkpoint: Path, *, held_out: bool
) -> Dataset:
    """The data; with `held_out`, judged on the images that this checkpoint's training kept."""
    from pnag.supernet.checkpoint import read_facts
    from pnag.supernet.data import fingerprint, hold_out, open_dataset

    dataset = open_dataset(data, space)
    if not held_out:
        return dataset
    facts = read_facts(checkpoint)
    settings = facts.get("settings", {})
    if not settings.get("held_out"):
        raise InvalidInputError(f"{checkpoint} was trained on all images: none were held out")
    trained, judged = hold_out(dataset, settings["held_out"], seed=settings["seed"])
    if fingerprint(trained) != facts["data_fingerprint"]:
        raise InvalidInputError(f"{checkpoint} was trained on other images than {data} has")
    return judged
