"""`pnag generate`: architectures for any budgets from a trained run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli.completion import devices
from profiler.cli.device_options import NONE, DeviceOptions, takes_device_options
from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.system.atomic import refuse_unwritable
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.generated import GeneratedArchitecture, UnmetBudget
    from pnag.runs.run import Run
    from pnag.search.bounds import Bounds
    from pnag.verify import Request

RunOption = Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")]
BudgetOption = Annotated[
    list[str],
    typer.Option(
        "--budget",
        help="Latency budget, e.g. 35ms; repeatable. NAME=12mJ bounds another cost beside it.",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", min=1, max=10_000, help="Architectures drawn per budget.")
]
ConfidenceOption = Annotated[
    float | None,
    typer.Option("--confidence", help="Keep the latency within the budget with this probability."),
]
MaxParamsOption = Annotated[
    str | None, typer.Option("--max-params", help="Bound on parameters, e.g. 6M.")
]
MaxMaddsOption = Annotated[
    str | None, typer.Option("--max-madds", help="Bound on multiply-adds, e.g. 300M.")
]
MaxEnergyOption = Annotated[
    str | None, typer.Option("--max-energy", help="Bound on the energy, e.g. 12mJ.")
]
PureOption = Annotated[
    bool,
    typer.Option("--pure", help="The generator alone; not what training evaluated, if better."),
]
VerifyOption = Annotated[
    str | None,
    typer.Option(
        "--verify-on",
        help="Measure, recalibrate, pick again; a device, e.g. cpu.",
        autocompletion=devices,
    ),
]
CandidatesOption = Annotated[
    int | None,
    typer.Option(
        "--candidates", min=1, max=10_000, help="Measured per budget, for --verify-on (3)."
    ),
]
ExportOption = Annotated[
    str | None, typer.Option("--export", help="onnx,tflite,torch; random weights.")
]
DropOption = Annotated[
    bool,
    typer.Option("--drop-verification", help="Forget what was measured of the run."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Directory of the exports.")]


def register(parent: typer.Typer) -> None:
    parent.command()(generate)


@shared_options
@functools.partial(takes_device_options, with_recorded=False)
def generate(
    run: RunOption,
    budget: BudgetOption,
    samples: SamplesOption = 32,
    confidence: ConfidenceOption = None,
    max_params: MaxParamsOption = None,
    max_madds: MaxMaddsOption = None,
    max_energy: MaxEnergyOption = None,
    pure: PureOption = False,
    verify_on: VerifyOption = None,
    candidates: CandidatesOption = None,
    drop_kept: DropOption = False,
    device_options: DeviceOptions = NONE,
    export: ExportOption = None,
    out: OutOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Generate the best architecture for each budget; none exceeds its budget."""
    require("torch", "generate")
    from pnag.generated import GeneratedArchitecture, refuse_unmet
    from pnag.results import export_results, generated_results, results_text
    from pnag.search.bounds import check_unnamed, parse_budgets
    from predictors.intervals import check_confidence
    from profiler.spaces.export import parse_formats
    from profiler.spaces.networks import with_networks

    _refuse_parts(export, out, candidates, verify_on)
    of_device = device_options.of_only(verify_on, "--verify-on")
    check_unnamed(budget)
    most = _bounds(madds=max_madds, params=max_params, energy=max_energy)
    check_confidence(confidence)
    formats = () if export is None else parse_formats(export)
    trained = _opened(run, terminal, as_trained=verify_on is not None, drop_kept=drop_kept)
    space = trained.problem.space
    budgets_ms, bounds = parse_budgets(budget, trained.problem, most)
    networks = with_networks(space, "to measure or to export") if verify_on or formats else None
    made = trained.generate_each(
        budgets_ms, n_samples=samples, confidence=confidence, bounds=bounds, pure=pure, seed=seed
    )
    if confidence is not None and verify_on is None:
        _say_doubts(trained, terminal)
    met = [one for one in made if isinstance(one, GeneratedArchitecture)]
    if verify_on and met:
        from pnag.verify import Request

        request = Request(
            [one.budget_ms for one in met], candidates or 3, samples, confidence,
            [one.bounds for one in met], seed, of_device, pure=pure,
        )  # fmt: skip
        document = _verified(trained, verify_on, request, made, terminal)
    else:
        document = generated_results(made, space, trained.verification)
    if out is not None and networks is not None:
        export_results(document, networks, formats, out, seed=seed)
    terminal.result(document, results_text(document) if met else None)
    refuse_unmet(made)  # after the others: a script reads the exit code


def _opened(run: Path, terminal: Terminal, *, as_trained: bool, drop_kept: bool) -> Run:
    """The run with what is kept of a verification, if it is to be used."""
    from pnag.runs.run import load_run
    from pnag.runs.verification import drop_verification

    if drop_kept and drop_verification(run):
        terminal.note(f"{run}: what --verify-on and --refine-on kept is dropped")
    opened = load_run(run, verified=not as_trained)
    if opened.verification is not None:
        kept = opened.verification
        terminal.note(
            f"c(α) as corrected by {len(kept.networks)} networks measured on {kept.device.model}, "
            f"{kept.created} (--drop-verification undoes it)"
        )
    return opened


def _say_doubts(run: Run, terminal: Terminal) -> None:
    """Of an interval that was asked for."""
    from pnag.refine import interval_doubts

    doubts = interval_doubts(run)
    if doubts is not None:
        terminal.note(doubts)


def _verified(
    run: Run,
    spec: str,
    request: Request,
    made: Sequence[GeneratedArchitecture | UnmetBudget],
    terminal: Terminal,
) -> dict[str, Any]:
    """Measure, keep what that showed in the run, and say it."""
    from pnag.results import verified_results
    from pnag.runs.verification import VERIFICATION_FILE, read_verification
    from pnag.verify import generate_verified, table_to_verify, to_keep
    from profiler.system.lock import device_lock

    folder = run.folder or Path()
    refuse_unwritable(folder / VERIFICATION_FILE)
    with device_lock(f"run {folder.resolve()}"):  # another one's picks would be lost
        earlier = read_verification(folder)
        table = table_to_verify(folder, earlier)
        verification = generate_verified(run, table, spec, request, terminal, earlier)
        to_keep(verification, request, folder).over(earlier).save(folder)
    terminal.note(f"kept in {folder}, and used from now on (--drop-verification undoes it)")
    return verified_results(verification, run.problem.space, made)


def _refuse_parts(
    export: str | None, out: Path | None, candidates: int | None, verify_on: str | None
) -> None:
    """Options that mean something only beside another one, and a folder that cannot be."""
    if (export is None) != (out is None):
        raise InvalidInputError("--export and --out belong together")
    if out is not None:
        refuse_unwritable(out / "network")
    if candidates is not None and verify_on is None:
        raise InvalidInputError("--candidates is for --verify-on")


def _bounds(**most: str | None) -> Bounds:
    """The bounds with options of their own, by the names of their costs."""
    from pnag.search.budget import parse_amount

    said = {
        "madds": ("madds", "MAdds"), "params": ("params", "parameters"), "energy": ("mJ", "energy"),
    }  # fmt: skip
    return {
        name: parse_amount(text, said[name][0], what=said[name][1])
        for name, text in most.items()
        if text is not None
    }
