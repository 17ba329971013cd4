"""`pnag demo`: the whole job on this machine's CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.completion import devices
from profiler.cli.options import shared_options
from profiler.extras import require
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.demo import DemoResult


def register(parent: typer.Typer) -> None:
    parent.command()(demo)


@shared_options
def demo(
    device: Annotated[
        str, typer.Option("--device", help="Device to measure.", autocompletion=devices)
    ] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="Directory of everything made.")] = Path(
        "demo"
    ),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, even if --out holds an unfinished demo.")
    ] = False,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Profile this CPU, train, generate for five budgets, measure, compare.

    Interrupted, it goes on where it was; finished, it begins anew.
    """
    require("train", "demo")
    from pnag.demo import run_demo

    result = run_demo(out, terminal, device=device, fresh=fresh, seed=seed)
    terminal.result(_document(result), _text(result, out))


def _document(result: DemoResult) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "reachable_ms": list(result.reachable_ms),
        "results": [asdict(row) | {"error_pct": row.error_pct} for row in result.rows],
        "files": [str(path) for path in result.files],
    }


def _text(result: DemoResult, folder: Path) -> str:
    low, high = result.reachable_ms
    lines = [
        f"Reachable: {low:.2f} to {high:.2f} ms",
        " budget ms  predicted ms  measured ms   error   top-1 %  verdict",
    ]
    for row in result.rows:
        lines.append(
            f"{row.budget_ms:10.2f}  {row.predicted_ms:12.3f}  {row.measured_ms:11.3f}  "
            f"{row.error_pct:+5.1f} %  {100 * row.top1:7.2f}  {row.verdict}"
        )
    lines += [f"  {row.budget_ms:g} ms: {row.arch}" for row in result.rows]
    lines.append("Written: " + ", ".join(map(str, result.files)))
    report, page = folder / "report.json", folder / "report.html"
    lines.append(f"next: pnag report --run {folder / 'run'} --measured {report} --out {page}")
    return "\n".join(lines)
