"""`pnag train`: from a latency table (or a tabular space) to a generator for any budget."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnag.cli.train_options import TrackOption
from profiler.cli.completion import devices, one_of
from profiler.cli.device_options import NONE, DeviceOptions, takes_device_options
from profiler.cli.options import SPACE_NAMES, StatisticOption, shared_options
from profiler.extras import require
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.runs.run import Run

LatencyTableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--latency-table",
        help="Latency table of pnag profile; further ones, FILE or NAME=FILE, give other bounds.",
    ),
]
CostsOption = Annotated[
    Path | None,
    typer.Option("--costs", help="Costs measured of every architecture (CSV: arch,energy_mj)."),
]
AccuracyTableOption = Annotated[
    Path | None, typer.Option("--accuracy-table", help="Your accuracies (JSON or CSV).")
]
AccuracyChecksOption = Annotated[
    Path | None,
    typer.Option("--accuracy-checks", help="Some of them on more images: corrects the rest."),
]
AccuracyModelOption = Annotated[
    Path | None, typer.Option("--accuracy-model", help="An accuracy model (safetensors).")
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="Take the accuracies of this earlier run.")
]
SpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="Of the table (mbv3, nasbench201, ...), or tabular:FILE.",
        autocompletion=one_of(*SPACE_NAMES, "tabular:"),
    ),
]
BudgetsOption = Annotated[int, typer.Option("--budgets", help="K, budgets with an embedding.")]
EvaluationsOption = Annotated[
    int, typer.Option("--evaluations", help="M, accuracies to ask for in all.")
]
REWARD_NAMES = ("pareto", "pareto-no-accuracy", "mnasnet", "tunas")
RewardOption = Annotated[
    str,
    typer.Option(
        "--reward",
        help=f"{', '.join(REWARD_NAMES[:-1])} or {REWARD_NAMES[-1]}.",
        autocompletion=one_of(*REWARD_NAMES),
    ),
]
StrategyOption = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="joint, or independent searches for each budget.",
        autocompletion=one_of("joint", "independent"),
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Run directory (default: runs/<input's name>).")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]

RefineOption = Annotated[
    str | None,
    typer.Option(
        "--refine-on",
        help="Then measure what the search picks, and correct c(α) by it; a device, e.g. cpu.",
        autocompletion=devices,
    ),
]


def register(parent: typer.Typer) -> None:
    parent.command()(train)


@shared_options
@functools.partial(takes_device_options, with_recorded=False)
def train(
    context: typer.Context,
    latency_table: LatencyTableOption = None,
    accuracy_table: AccuracyTableOption = None,
    accuracy_checks: AccuracyChecksOption = None,
    accuracy_model: AccuracyModelOption = None,
    run: RunOption = None,
    space: SpaceOption = None,
    statistic: StatisticOption = None,
    costs: CostsOption = None,
    budgets: BudgetsOption = 10,
    evaluations: EvaluationsOption = 16_000,
    reward: RewardOption = "pareto",
    strategy: StrategyOption = "joint",
    out: OutOption = None,
    resume: ResumeOption = False,
    refine_on: RefineOption = None,
    device_options: DeviceOptions = NONE,
    track: TrackOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Train evaluator and generator for one device; an interrupted run goes on with --resume."""
    require("train", "train")
    from dataclasses import replace

    from pnag.learning.settings import TrainSettings
    from pnag.runs.config import cost_name_of, hashes_of, read_config
    from pnag.runs.inputs import inputs_of_run, named_tables, open_inputs
    from pnag.runs.run import settings_of_run, train_run

    of_device = device_options.of_only(refine_on, "--refine-on")
    tables = named_tables(latency_table or ())
    given = _given(
        context, budgets=("n_budgets", budgets), evaluations=("n_evaluations", evaluations),
        reward=("reward", reward), strategy=("strategy", strategy), seed=("seed", seed),
    )  # fmt: skip
    sources = (
        tables, accuracy_table, accuracy_model, run, space, statistic, costs, accuracy_checks,
    )  # fmt: skip
    if resume and out is not None and not any(sources):
        settings = replace(settings_of_run(out), **given)
        config = read_config(out)
        folder, inputs = out, inputs_of_run(out, hashes_of(config), cost_name_of(config))
    else:
        settings, inputs = TrainSettings(**given), open_inputs(*sources, seed=seed)
        folder = out or Path("runs") / Path(inputs.files[0].source).stem
    if refine_on is not None:
        from pnag.refine import refine_run, refuse_unrefinable

        refuse_unrefinable(inputs)
    trained = train_run(
        inputs, settings, folder, resume=resume, trackers=track or (), terminal=terminal
    )
    if refine_on is not None:
        trained = refine_run(folder, refine_on, terminal, device_options=of_device, seed=seed)
    terminal.result(*_described(trained, folder))


def _described(run: Run, folder: Path) -> tuple[dict[str, Any], str]:
    """The result as a JSON document and as text."""
    from pnag.runs.run import frontier_rows
    from predictors.accuracy.fitted import FittedAccuracy

    accuracy = run.problem.accuracy
    frontier, taus = run.frontier(), run.evaluator_taus()
    low, high = run.reachable_ms
    document: dict[str, Any] = {
        "run": str(folder),
        "reachable_ms": [low, high],
        "evaluator_kendall_tau": taus,
        "frontier": frontier_rows(run.problem, frontier),
    }
    if run.verification is not None and run.verification.refined is not None:
        from pnag.refine import refinement_summary

        document["refinement"] = refinement_summary(run, run.verification)
    text = (
        f"{folder}: {len(frontier)} architectures on the frontier, {low:.4g} to {high:.4g} ms"
        + (f"; evaluator's Kendall tau {min(taus):.3f} or more" if taus else "")
        + _refinement_text(document)
        + (f"\naccuracies: {accuracy}" if isinstance(accuracy, FittedAccuracy) else "")
        + f"\nnext: pnag generate --run {folder} --budget {(low + high) / 2:.3g}ms"
    )
    return document, text


def _refinement_text(document: dict[str, Any]) -> str:
    found = document.get("refinement")
    if found is None:
        return ""
    off_pct, half, margin = (found[key] for key in ("error_before_pct", "interval_95", "margin_95"))
    off = "" if off_pct is None else f"; predictions were off by {off_pct:.2f} % on average"
    interval = "" if half is None else f"; 95 % interval now ±{100 * half:.2f} %"
    if margin is not None:
        share_pct, ms = 100 * margin["share"], margin["ms"]
        interval += f", at most {share_pct:.2f} % and {ms:.3g} ms above with 95 %"
    return (
        f"\nrefined on {found['device']}: {found['n_networks']} networks that the search picked"
        f"{off}{interval}"
    )


def _given(context: typer.Context, **settings: tuple[str, Any]) -> dict[str, Any]:
    """Fields and values of the options that the command line names: others do not contradict."""
    return {
        field: value
        for option, (field, value) in settings.items()
        if getattr(context.get_parameter_source(option), "name", "") == "COMMANDLINE"
    }
