"""`pnag predict`: latency of architectures and of model files from a latency table."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.options import StatisticOption, shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from predictors.latency.networks import OpPrediction, Prediction
    from profiler.graph.op import Op
    from profiler.spaces.architecture_files import WrittenArchitecture
    from profiler.spaces.networks import NetworkSpace
    from profiler.tables.table import LatencyTable, SpaceRef


TablesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--latency-table",
        help="Table of the device, of pnag profile or pnag table import. Further ones of the same "
        "device (other widths, resolutions, batch sizes, threads) widen the regression.",
    ),
]
ArchsOption = Annotated[
    list[str] | None,
    typer.Option("--arch", help="depths:kernels:expands, or Once-for-All's dict as JSON."),
]
ArchFileOption = Annotated[
    Path | None,
    typer.Option("--arch-file", help="One architecture a line, a JSON list, or a frontier."),
]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        help="ONNX network made of the table's ops; of a table of kernels any ONNX or TFLite file.",
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--shape", help="NAME=1x3x224x224 of an input with free axes; of kernels only."),
]
WidthOption = Annotated[float | None, typer.Option("--width-mult", help="By default the table's.")]
ResolutionOption = Annotated[
    int | None, typer.Option("--resolution", help="Pixels; by default the table's.")
]
ConfidenceOption = Annotated[float, typer.Option("--confidence", help="Coverage of the interval.")]


def register(app: typer.Typer) -> None:
    app.command()(predict)


@shared_options
def predict(
    latency_table: TablesOption = None,
    arch: ArchsOption = None,
    arch_file: ArchFileOption = None,
    model: ModelsOption = None,
    shape: ShapeOption = None,
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    statistic: StatisticOption = None,
    confidence: ConfidenceOption = 0.95,
    *,
    terminal: Terminal,
) -> None:
    """Predict latencies; ops that were not measured are predicted from those that were."""
    from predictors.intervals import check_confidence
    from predictors.latency.networks import LatencyPredictor
    from profiler.spaces.architecture_files import written_architectures
    from profiler.spaces.registry import open_space
    from profiler.tables.statistic import load_by_statistic
    from profiler.tables.table import SpaceRef, check_space, no_table

    check_confidence(confidence)
    if not latency_table:
        raise no_table()
    if not (arch or arch_file or model):
        raise InvalidInputError("say what to predict: --arch, --arch-file or --model")
    if width_mult is not None and model:
        raise InvalidInputError("--width-mult is for --arch; a --model has the width of its file")
    table, *others = (load_by_statistic(path, statistic) for path in latency_table)
    if table.kernels:
        of_spaces = (arch, arch_file, others, width_mult, resolution)
        if not model or any(of_spaces):
            raise InvalidInputError("from a table of kernels a --model is predicted, by it alone")
        _predict_files(table, model, shape or (), confidence, terminal)
        return
    if shape:
        raise InvalidInputError("--shape is for tables of kernels (--space kernels)")
    check_space(table, table.search_space, latency_table[0])
    predictor = LatencyPredictor(table, *others)
    asked = {"width_mult": width_mult, "resolution_px": resolution}
    given = {fact: value for fact, value in asked.items() if value is not None}
    space = open_space(table.space.name, **{**table.space.facts, **given})
    written = written_architectures(arch, arch_file)
    batch_size = table.device.batch_size
    networks = itertools.chain(
        _architectures(space, written, batch_size),
        _model_files(space, model or (), batch_size, resolution, table.device.precision),
    )
    results, lines = [], []
    op_as_json = functools.cache(_op_as_json)  # 100,000 networks are made of few ops
    for kind, name, ops in networks:
        prediction = predictor.predict(ops, confidence=confidence)
        results.append({kind: name} | _as_json(prediction, op_as_json))
        lines.append(f"{_as_text(prediction)}  {name}")
    half_width = predictor.half_width(confidence)
    for note in _notes(half_width, confidence, table.space, SpaceRef.of(space)):
        terminal.note(note)
    document = {"results": results, "confidence": confidence, **_facts(table)}
    terminal.result(document, "\n".join(lines))


def _predict_files(
    table: LatencyTable, paths: list[Path], shapes: Sequence[str], confidence: float,
    terminal: Terminal,
) -> None:  # fmt: skip
    from predictors.latency.model_files import predict_files
    from profiler.models.inputs import parse_shape

    predictions = predict_files(
        table, paths, shapes=dict(map(parse_shape, shapes)), confidence=confidence
    )
    results, lines = [], []
    for path, found in zip(paths, predictions, strict=True):
        results.append(
            {
                "model": str(path),
                "latency_ms": found.latency_ms,
                "interval_ms": list(found.interval_ms) if found.interval_ms else None,
                "n_kernels": found.n_kernels,
                "outside_share": found.outside_share,
                "unknown_kernels": list(found.unknown),
            }
        )
        lines.append(f"{_bracketed(found.latency_ms, found.interval_ms)}  {path}")
        if found.outside_share > 0:
            lines.append(f"  {found.outside_share:.0%} from kernels outside the measured sizes")
        if found.unknown:
            lines.append(f"  never measured, taken by what they move: {', '.join(found.unknown)}")
    document = {"results": results, "confidence": confidence, **_facts(table)}
    terminal.result(document, "\n".join(lines))


def _facts(table: LatencyTable) -> dict[str, str]:
    return {"device": table.device.model, "statistic": table.statistic.value}


def _architectures(
    space: NetworkSpace, written: Iterable[WrittenArchitecture], batch_size: int
) -> Iterator[tuple[str, str, list[Op]]]:
    """Key and name of each in the results, and its ops in sequence."""
    from profiler.spaces.networks import network_ops

    for one in written:
        tokens = one.parsed(space)
        yield "arch", space.format(tokens), network_ops(space, tokens, batch_size=batch_size)


def _model_files(
    space: NetworkSpace, paths: Iterable[Path], batch_size: int, resolution_px: int | None,
    precision: str,
) -> Iterator[tuple[str, str, list[Op]]]:  # fmt: skip
    """The same of files; what was asked for must be what they fix."""
    from profiler.spaces.networks import ops_of_file

    for path in paths:
        try:
            ops = ops_of_file(
                space, path, batch_size=batch_size, resolution_px=resolution_px, precision=precision
            )
        except InvalidInputError as error:
            if not path.is_file():
                raise
            raise InvalidInputError(
                f"{error}; pnag profile --model measures any file that the runtime loads, and a "
                "table of --space kernels predicts any CNN"
            ) from None
        yield "model", str(path), ops


def _as_json(
    prediction: Prediction, op_as_json: Callable[[OpPrediction], dict[str, Any]]
) -> dict[str, Any]:
    interval = prediction.interval_ms
    return {
        "latency_ms": prediction.latency_ms,
        "interval_ms": list(interval) if interval else None,
        "ops_from": prediction.sources,
        "ops": list(map(op_as_json, prediction.ops)),
    }


def _op_as_json(part: OpPrediction) -> dict[str, Any]:
    return {"key": part.op.key, "latency_ms": part.latency_ms, "from": str(part.source)}


def _as_text(prediction: Prediction) -> str:
    text = _bracketed(prediction.latency_ms, prediction.interval_ms)
    guessed = prediction.sources.get("regression", 0)
    return text + (f"  ({guessed} of {len(prediction.ops)} ops not measured)" if guessed else "")


def _bracketed(latency_ms: float, interval: tuple[float, float] | None) -> str:
    text = f"{latency_ms:9.3f} ms"
    return text + (f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _notes(
    half_width: float | None, confidence: float, measured: SpaceRef, asked: SpaceRef
) -> list[str]:
    """What the person should know about the numbers."""
    from predictors.intervals import missing

    notes = []
    if half_width is None:
        notes.append(f"no interval of coverage {confidence:g}: {missing(confidence)}")
    if asked != measured:
        notes.append(
            f"the table is of {measured}; {asked} is predicted by regression, without an interval"
        )
    return notes
