"""`pnag generate`: architectures for any budgets from a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.errors import InvalidInputError
from profiler.options import JsonOption, QuietOption, SeedOption
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.generate import GeneratedArchitecture
    from profiler.space import SearchSpace


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
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Generate the best architecture for each budget; none exceeds its budget."""
    from pnag.budget import parse_budget_ms, parse_count
    from pnag.generate import Limits
    from pnag.run import load_run

    budgets_ms = [parse_budget_ms(text) for text in budget]
    if confidence is not None and not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence:g} is not between 0 and 1")
    limits = Limits(
        max_madds=parse_count(max_madds, what="MAdds") if max_madds else None,
        max_params=parse_count(max_params, what="parameters") if max_params else None,
    )
    trained = load_run(run)
    made = trained.generate(
        budgets_ms, n_samples=samples, confidence=confidence, limits=limits, seed=seed
    )
    rows = [to_json(row, trained.problem.space) for row in made]
    Terminal(json_output, quiet).result({"results": rows}, _table(rows))


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
    lines = ["budget ms  latency ms   top-1 %  architecture"]
    for row in rows:
        lines.append(
            f"{row['budget_ms']:9.3f}  {row['latency_ms']:10.3f}  {100 * row['top1']:8.2f}  "
            f"{row['arch']}"
        )
    return "\n".join(lines)
