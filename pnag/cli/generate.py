"""`pnag generate`: architectures for any budgets from a trained run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.generate import GeneratedArchitecture
    from pnag.verify import Verification, VerifiedArchitecture
    from profiler.spaces.base import SearchSpace
    from profiler.spaces.mobilenetv3 import MobileNetV3Space
    from profiler.tables.table import Calibration, NetworkEntry


def register(parent: typer.Typer) -> None:
    parent.command(short_help="The best architecture within each budget.")(generate)


@shared_options
def generate(
    run: Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")],
    budget: Annotated[
        list[str], typer.Option("--budget", help="Latency budget, e.g. 35ms; repeatable.")
    ],
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=10_000, help="Architectures drawn per budget.")
    ] = 32,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Keep latency plus its interval within the budget."),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option("--max-params", help="Bound on parameters, e.g. 6M.")
    ] = None,
    max_madds: Annotated[
        str | None, typer.Option("--max-madds", help="Bound on multiply-adds, e.g. 300M.")
    ] = None,
    verify_on: Annotated[
        str | None,
        typer.Option("--verify-on", help="Measure, recalibrate, pick again; a device, e.g. cpu."),
    ] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Measured per budget, for --verify-on.")
    ] = 3,
    benchmark_binary: Annotated[
        Path | None,
        typer.Option("--benchmark-binary", help="For --verify-on adb: as of pnag profile."),
    ] = None,
    export: Annotated[
        str | None, typer.Option("--export", help="onnx,tflite,torch; random weights.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Directory of the exports.")] = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Generate the best architecture for each budget; none exceeds its budget."""
    from pnag.generate import Limits
    from pnag.runs.run import load_run
    from pnag.search.budget import parse_budget_ms, parse_count
    from profiler.spaces.export import parse_formats
    from profiler.spaces.mobilenetv3 import MobileNetV3Space
    from profiler.system.atomic import refuse_unwritable

    budgets_ms = [parse_budget_ms(text) for text in budget]
    if confidence is not None and not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence:g} is not between 0 and 1")
    if (export is None) != (out is None):
        raise InvalidInputError("--export and --out belong together")
    if benchmark_binary is not None and not (verify_on or "").startswith("adb"):
        raise InvalidInputError("--benchmark-binary is for --verify-on adb only")
    formats = parse_formats(export) if export else ()
    limits = Limits(
        max_madds=parse_count(max_madds, what="MAdds") if max_madds else None,
        max_params=parse_count(max_params, what="parameters") if max_params else None,
    )
    trained = load_run(run)
    space = trained.problem.space
    if (verify_on or formats) and not isinstance(space, MobileNetV3Space):
        raise InvalidInputError(f"{space.name} has no networks to measure or to export")
    if out is not None:
        refuse_unwritable(out / "network")
    document: dict[str, Any] = {}
    if verify_on:
        from pnag.runs.inputs import LATENCY_FILE
        from pnag.verify import Request, generate_verified
        from profiler.tables.table import load_table

        options = {"benchmark_binary": benchmark_binary} if benchmark_binary else {}
        request = Request(budgets_ms, candidates, samples, confidence, limits, seed, options)
        table = load_table(run / LATENCY_FILE)
        verification = generate_verified(trained, table, verify_on, request, terminal)
        made = [row.picked for row in verification.rows]
        rows = [to_json(row.picked, space) | _measured(row) for row in verification.rows]
        document["verification"] = _summary(verification)
    else:
        made = trained.generate(
            budgets_ms, n_samples=samples, confidence=confidence, limits=limits, seed=seed
        )
        rows = [to_json(row, space) for row in made]
    if out is not None and isinstance(space, MobileNetV3Space):
        _export(rows, made, space, formats, out, seed)
    terminal.result({"results": rows} | document, _text(rows, document.get("verification")))


def _measured(row: VerifiedArchitecture) -> dict[str, Any]:
    """What `--verify-on` adds to a result."""
    candidates = [
        {
            "arch": candidate.arch,
            "top1": candidate.top1,
            "predicted_before_ms": candidate.predicted_before_ms,
            "predicted_ms": candidate.predicted_ms,
            **_measurement(candidate.measured),
        }
        for candidate in row.candidates
    ]
    return _measurement(row.measured) | {"changed": row.changed, "candidates": candidates}


def _measurement(entry: NetworkEntry) -> dict[str, Any]:
    return {
        "measured_ms": entry.latency_ms,
        "measured_ci95_ms": list(entry.ci95_ms) if entry.ci95_ms else None,
        "verdict": entry.verdict.value,
    }


def _summary(verification: Verification) -> dict[str, Any]:
    from dataclasses import asdict

    def described(calibration: Calibration | None) -> dict[str, Any] | None:
        names = {"n_networks", "residual_mape_pct", "intercept_ms"}
        return calibration.model_dump(include=names) if calibration else None

    return {
        "device": asdict(verification.device),
        "same_device": verification.same_device,
        "n_measured": verification.n_measured,
        "error_before_pct": verification.error_before_pct,
        "calibration_before": described(verification.before),
        "calibration_after": described(verification.after),
    }


def _export(
    rows: list[dict[str, Any]],
    made: Sequence[GeneratedArchitecture],
    space: MobileNetV3Space,
    formats: tuple[str, ...],
    out: Path,
    seed: int,
) -> None:
    """Write each network with random weights; add the `files` to the rows."""
    from profiler.spaces.export import export_network, random_network

    n_named: Counter[str] = Counter()
    for row, architecture in zip(rows, made, strict=True):
        arch = space.decode(architecture.tokens)
        network = random_network(space, arch, seed=seed)
        stem = f"{space.name}-{architecture.budget_ms:g}ms"
        n_named[stem] += 1
        if n_named[stem] > 1:  # a budget given twice gets two architectures
            stem = f"{stem}-{n_named[stem]}"
        files = export_network(network, arch, space, formats, out, stem=stem)
        row["files"] = [str(path) for path in files]


def to_json(made: GeneratedArchitecture, space: SearchSpace) -> dict[str, Any]:
    """One result as `generate --json` prints it."""
    from profiler.spaces.mobilenetv3 import MobileNetV3Space
    from profiler.spaces.tabular import TabularSpace

    row: dict[str, Any] = {"budget_ms": made.budget_ms, "arch": made.arch}
    if isinstance(space, MobileNetV3Space):
        row["ofa"] = space.decode(made.tokens).to_ofa()
    elif isinstance(space, TabularSpace):
        row["tokens"] = space.values(made.tokens)
    return row | {
        "latency_ms": made.latency_ms,
        "interval_ms": list(made.interval_ms) if made.interval_ms else None,
        "top1": made.top1,
        "feasible": made.feasible,
        "generation_ms": made.generation_ms,
    }


def _text(rows: list[dict[str, Any]], verification: dict[str, Any] | None) -> str:
    """Plain text; measured latencies, what changed, and files where there are any."""
    measured = verification is not None
    lines = ["budget ms  latency ms  " + "measured ms  " * measured + "top-1 %  architecture"]
    for row in rows:
        lines.append(
            f"{row['budget_ms']:9.3f}  {row['latency_ms']:10.3f}  "
            + (f"{row['measured_ms']:11.3f}  " if measured else "")
            + f"{100 * row['top1']:7.2f}  {row['arch']}"
        )
    if verification is not None:
        lines += _changes(rows, verification)
    lines += [file for row in rows for file in row.get("files", ())]
    return "\n".join(lines)


def _changes(rows: list[dict[str, Any]], verification: dict[str, Any]) -> list[str]:
    """What measuring showed, and which picks it changed."""
    before, after = verification["calibration_before"], verification["calibration_after"]
    lines = [
        f"{verification['n_measured']} networks measured on {verification['device']['model']}; "
        f"predictions were off by {verification['error_before_pct']:.2f} % on average"
    ]
    if after:
        was = f"{before['residual_mape_pct']:.2f} %" if before else "none"
        lines.append(
            f"calibration: {after['n_networks']} networks, leave-one-out error "
            f"{after['residual_mape_pct']:.2f} % (was {was})"
        )
    for row in rows:
        first = row["candidates"][0]
        was = (
            f"{first['predicted_before_ms']:.3f} ms predicted, {first['measured_ms']:.3f} measured"
        )
        state = "" if row["feasible"] else "; nothing measured was within the budget"
        change = f"was {first['arch']} ({was})" if row["changed"] else f"the pick stays ({was})"
        lines.append(f"{row['budget_ms']:g} ms: {change}{state}")
    return lines
