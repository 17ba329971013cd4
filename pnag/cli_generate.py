"""`pnag generate`: architectures for any budgets from a trained run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.errors import InvalidInputError
from profiler.options import JsonOption, QuietOption, SeedOption
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.generate import GeneratedArchitecture
    from profiler.space import MobileNetV3Space, SearchSpace


def register(parent: typer.Typer) -> None:
    parent.command()(generate)


def generate(
    run: Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")],
    budget: Annotated[
        list[str], typer.Option("--budget", help="Latency budget, e.g. 35ms; repeatable.")
    ],
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Architectures drawn per budget.")
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
        typer.Option("--verify-on", help="Measure the networks on this device, e.g. cpu."),
    ] = None,
    export: Annotated[
        str | None, typer.Option("--export", help="onnx,tflite,torch; random weights.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Directory of the exports.")] = None,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Generate the best architecture for each budget; none exceeds its budget."""
    from pnag.budget import parse_budget_ms, parse_count
    from pnag.generate import Limits
    from pnag.run import load_run
    from profiler.export.files import parse_formats
    from profiler.space import MobileNetV3Space

    budgets_ms = [parse_budget_ms(text) for text in budget]
    if confidence is not None and not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence:g} is not between 0 and 1")
    if (export is None) != (out is None):
        raise InvalidInputError("--export and --out belong together")
    formats = parse_formats(export) if export else ()
    limits = Limits(
        max_madds=parse_count(max_madds, what="MAdds") if max_madds else None,
        max_params=parse_count(max_params, what="parameters") if max_params else None,
    )
    terminal = Terminal(json_output, quiet)
    trained = load_run(run)
    space = trained.problem.space
    if (verify_on or formats) and not isinstance(space, MobileNetV3Space):
        raise InvalidInputError(f"{space.name} has no networks to measure or to export")
    made = trained.generate(
        budgets_ms, n_samples=samples, confidence=confidence, limits=limits, seed=seed
    )
    rows = [to_json(row, space) for row in made]
    if isinstance(space, MobileNetV3Space):
        if verify_on:
            _measure(rows, made, run, space, verify_on, terminal)
        if out is not None:
            _export(rows, made, space, formats, out, seed)
    terminal.result({"results": rows}, _table(rows))


def _measure(
    rows: list[dict[str, Any]],
    made: Sequence[GeneratedArchitecture],
    run: Path,
    space: MobileNetV3Space,
    spec: str,
    terminal: Terminal,
) -> None:
    """Add `measured_ms` to the rows: measured as the networks of the run's table were."""
    from pnag.inputs import LATENCY_FILE
    from profiler.remeasure import measure_networks
    from profiler.table import load_table

    table = load_table(run / LATENCY_FILE)
    distinct = {m.arch: space.decode(m.tokens) for m in made}
    entries = measure_networks(table, list(distinct.values()), terminal, spec=spec)
    measured_ms = {entry.arch: entry.latency_ms for entry in entries}
    for row in rows:
        row["measured_ms"] = measured_ms[row["arch"]]


def _export(
    rows: list[dict[str, Any]],
    made: Sequence[GeneratedArchitecture],
    space: MobileNetV3Space,
    formats: tuple[str, ...],
    out: Path,
    seed: int,
) -> None:
    """Write each network with random weights; add the `files` to the rows."""
    from profiler.export.files import export_network, random_network

    for row, architecture in zip(rows, made, strict=True):
        arch = space.decode(architecture.tokens)
        network = random_network(space, arch, seed=seed)
        stem = f"{space.name}-{architecture.budget_ms:g}ms"
        files = export_network(network, arch, space, formats, out, stem=stem)
        row["files"] = [str(path) for path in files]


def to_json(made: GeneratedArchitecture, space: SearchSpace) -> dict[str, Any]:
    """One result as `generate --json` prints it."""
    from profiler.space import MobileNetV3Space
    from profiler.tabular import TabularSpace

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


def _table(rows: list[dict[str, Any]]) -> str:
    """Plain text; `measured_ms` and the files where there are any."""
    measured = "measured_ms" in rows[0]
    lines = ["budget ms  latency ms  " + "measured ms  " * measured + "top-1 %  architecture"]
    for row in rows:
        lines.append(
            f"{row['budget_ms']:9.3f}  {row['latency_ms']:10.3f}  "
            + (f"{row['measured_ms']:11.3f}  " if measured else "")
            + f"{100 * row['top1']:7.2f}  {row['arch']}"
        )
    lines += [file for row in rows for file in row.get("files", ())]
    return "\n".join(lines)
