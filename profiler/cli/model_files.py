"""`pnag profile --model`: its options, and what a person reads of measured model files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.measuring.model_files import (
        ModelComparison,
        ModelReport,
        ModelRequest,
        ModelResult,
    )

ModelOption = Annotated[
    list[Path] | None,
    typer.Option("--model", help="A model file in place of a space; repeat it to compare several."),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--shape", help="--model: NAME=1x3x224x224 of an input with free axes."),
]
InputOption = Annotated[
    Path | None, typer.Option("--input", help="--model: .npz with real values of inputs.")
]

COSTLIEST_OPS = 10
NAME_WIDTH = 44


def model_request(
    device: Sequence[str], model: Sequence[Path] | None, shape: Sequence[str] | None,
    arrays: Path | None, threads: Sequence[int], with_space: bool,
    batch_sizes: Sequence[int], **settings: Any,
) -> ModelRequest:  # fmt: skip
    """What the options ask for; `with_space`: some of them are for spaces.

    Raises:
        InvalidInputError: options that contradict each other, a malformed shape or file.
    """
    from profiler.measuring.model_files import ModelRequest
    from profiler.models.inputs import parse_shape, read_npz

    if not model:
        raise InvalidInputError("--shape and --input are for a --model")
    if with_space:
        raise InvalidInputError(
            "--space, --width-mult, --resolution, --networks, --precision and --fleet are for "
            "spaces; a --model is measured as it is"
        )
    if len(device) > 1:
        raise InvalidInputError("--model is measured on one --device at a time")
    if len(batch_sizes) > 1:
        raise InvalidInputError("a --model is measured at one --batch-size at a time")
    return ModelRequest(
        device[0], model, threads, batch_sizes[0],
        shapes=dict(map(parse_shape, shape or [])),
        arrays=read_npz(arrays) if arrays else {},
        **settings,
    )  # fmt: skip


def measure_files(request: ModelRequest, terminal: Terminal) -> list[str]:
    """Measure, and say what came out; the verdicts."""
    from profiler.measuring.model_files import measure_models

    report = measure_models(request, terminal)
    terminal.result(report.as_dict(), render(report))
    return [result.verdict for result in report.results]


def render(report: ModelReport) -> str:
    """A small table for each model, then what each is compared with the first."""
    from profiler.tables.levels import load_in_words

    load = [load_in_words(report.load)] if report.load else []
    parts = [*map(_result, report.results), *load, *map(_comparison, report.comparisons)]
    return "\n\n".join(parts)


def _result(result: ModelResult) -> str:
    low, high = result.interval_ms
    flags = f" ({', '.join(result.flags)})" if result.flags else ""
    lines = [
        f"{_named(result.model, result.threads)} on {result.device}: {result.latency_ms:.4g} ms "
        f"[{low:.4g}, {high:.4g}], {result.verdict}{flags}",
        f"  {result.n_samples} samples: median {result.median_ms:.4g}, p90 {result.p90_ms:.4g}, "
        f"p99 {result.p99_ms:.4g} ms",
        *(f"  {text}" for text in _levels(result)),
        f"  cold: load {result.load_ms:.4g} ms, first run {result.first_run_ms:.4g} ms"
        + (f", {result.peak_memory_mb:.4g} MB" if result.peak_memory_mb is not None else ""),
        *(f"  no {name}: {why}" for name, why in result.unavailable.items()),
    ]
    if result.ops is not None:
        costliest = sorted(result.ops, key=lambda op: -op.share)[:COSTLIEST_OPS]
        kind_width = max(len(op.kind) for op in costliest)
        n_ops = sum(op.calls for op in result.ops)
        lines.append(f"  the costliest {sum(op.calls for op in costliest)} of {n_ops} ops")
        lines += [
            f"    {op.latency_ms:9.4g} ms {100 * op.share:5.1f} %  {op.kind:{kind_width}}  "
            f"{_shortened(op.name)}" + (f" x{op.calls}" if op.calls > 1 else "")
            for op in costliest
        ]
    return "\n".join(lines)


def _levels(result: ModelResult) -> list[str]:
    """What its protocol asked for beside the latency."""
    return [
        f"{name.replace('_', ' ')} {level.latency_ms:.4g} ms"
        + (" [{:.4g}, {:.4g}]".format(*level.ci95_ms) if level.ci95_ms else "")
        for name, level in result.levels.items()
    ]


def _comparison(found: ModelComparison) -> str:
    low, high = found.interval
    said = f"{found.finding} at this noise" if low <= 1 <= high else found.finding
    return (
        f"{_named(found.model, found.threads)} takes {found.ratio:.3f} times as long as "
        f"{_named(found.first, found.first_threads)} [{low:.3f}, {high:.3f}]: {said}"
    )


def _named(model: str, threads: int) -> str:
    return model if threads == 1 else f"{model} ({threads} threads)"


def _shortened(name: str) -> str:
    """The end tells more than the beginning."""
    return name if len(name) <= NAME_WIDTH else f"...{name[-NAME_WIDTH:]}"
