"""`pnag train`: from a latency table (or a tabular space) to a generator for any budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.runs.inputs import Inputs


def register(parent: typer.Typer) -> None:
    parent.command(short_help="Train evaluator and generator on a table.")(train)


@shared_options
def train(
    context: typer.Context,
    latency_table: Annotated[
        Path | None, typer.Option("--latency-table", help="Latency table of pnag profile.")
    ] = None,
    accuracy_table: Annotated[
        Path | None, typer.Option("--accuracy-table", help="Your accuracies (JSON or CSV).")
    ] = None,
    accuracy_model: Annotated[
        Path | None, typer.Option("--accuracy-model", help="An accuracy model (safetensors).")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Take the accuracies of this earlier run.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help="mbv3, mbv3-cifar (default: the table's) or tabular:FILE."),
    ] = None,
    budgets: Annotated[int, typer.Option("--budgets", help="K, budgets with an embedding.")] = 10,
    evaluations: Annotated[
        int, typer.Option("--evaluations", help="M, accuracies to ask for in all.")
    ] = 16_000,
    reward: Annotated[
        str, typer.Option("--reward", help="pareto, pareto-no-accuracy, mnasnet or tunas.")
    ] = "pareto",
    strategy: Annotated[
        str, typer.Option("--strategy", help="joint, or independent searches for each budget.")
    ] = "joint",
    out: Annotated[
        Path | None, typer.Option("--out", help="Run directory (default: runs/<input's name>).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Train evaluator and generator for one device; an interrupted run goes on with --resume."""
    from dataclasses import replace

    from pnag.learning.settings import TrainSettings
    from pnag.runs.inputs import inputs_of_run
    from pnag.runs.run import settings_of_run, train_run

    given = _given(
        context, budgets=("n_budgets", budgets), evaluations=("n_evaluations", evaluations),
        reward=("reward", reward), strategy=("strategy", strategy), seed=("seed", seed),
    )  # fmt: skip
    sources = (latency_table, accuracy_table, accuracy_model, run, space)
    if resume and out is not None and not any(sources):
        settings = replace(settings_of_run(out), **given)
        folder, inputs = out, inputs_of_run(out)
    else:
        inputs = _open_inputs(*sources, seed)
        folder = out or Path("runs") / Path(inputs.files[0].source).stem
        settings = TrainSettings(**given)
    trained = train_run(inputs, settings, folder, resume=resume, terminal=terminal)
    frontier = trained.frontier()
    taus = trained.evaluator_taus()
    low, high = trained.reachable_ms
    document = {
        "run": str(folder),
        "reachable_ms": [low, high],
        "evaluator_kendall_tau": taus,
        "frontier": [
            {"arch": p.arch, "latency_ms": p.latency_ms, "top1": p.top1} for p in frontier
        ],
    }
    text = (
        f"{folder}: {len(frontier)} architectures on the frontier, {low:.4g} to {high:.4g} ms"
        + (f"; evaluator's Kendall tau {min(taus):.3f} or more" if taus else "")
        + f"\nnext: pnag generate --run {folder} --budget {(low + high) / 2:.3g}ms"
    )
    terminal.result(document, text)


def _given(context: typer.Context, **settings: tuple[str, Any]) -> dict[str, Any]:
    """Fields and values of the options that the command line names: others do not contradict."""
    return {
        field: value
        for option, (field, value) in settings.items()
        if getattr(context.get_parameter_source(option), "name", "") == "COMMANDLINE"
    }


def _open_inputs(
    latency_table: Path | None,
    accuracy_table: Path | None,
    accuracy_model: Path | None,
    run: Path | None,
    space: str | None,
    seed: int,
) -> Inputs:
    from pnag.runs.inputs import TABULAR_PREFIX, accuracy_file_of_run, table_inputs, tabular_inputs

    if space and space.startswith(TABULAR_PREFIX):
        if latency_table or accuracy_table or accuracy_model or run:
            raise InvalidInputError("a tabular space brings its own latencies and accuracies")
        return tabular_inputs(Path(space.removeprefix(TABULAR_PREFIX)))
    if latency_table is None:
        raise InvalidInputError("give --latency-table, or --space tabular:FILE")
    if sum(option is not None for option in (accuracy_table, accuracy_model, run)) > 1:
        raise InvalidInputError("give one of --accuracy-table, --accuracy-model and --run")
    if run is not None:
        accuracy_model = accuracy_file_of_run(run)
    return table_inputs(
        latency_table,
        space_name=space,
        accuracy_table=accuracy_table,
        accuracy_model=accuracy_model,
        seed=seed,
    )
