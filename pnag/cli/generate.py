"""`pnag generate`: architectures for any budgets from a trained run."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.device_options import NONE, DeviceOptions, takes_device_options
from profiler.cli.options import shared_options
from profiler.devices.registry import backend_of
from profiler.errors import InvalidInputError
from profiler.system.atomic import refuse_unwritable
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from pnag.generate import Limits

RunOption = Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")]
BudgetOption = Annotated[
    list[str], typer.Option("--budget", help="Latency budget, e.g. 35ms; repeatable.")
]
SamplesOption = Annotated[
    int, typer.Option("--samples", min=1, max=10_000, help="Architectures drawn per budget.")
]
ConfidenceOption = Annotated[
    float | None,
    typer.Option("--confidence", help="Keep latency plus its interval within the budget."),
]
MaxParamsOption = Annotated[
    str | None, typer.Option("--max-params", help="Bound on parameters, e.g. 6M.")
]
MaxMaddsOption = Annotated[
    str | None, typer.Option("--max-madds", help="Bound on multiply-adds, e.g. 300M.")
]
PureOption = Annotated[
    bool,
    typer.Option("--pure", help="The generator alone; not what training evaluated, if better."),
]
VerifyOption = Annotated[
    str | None,
    typer.Option("--verify-on", help="Measure, recalibrate, pick again; a device, e.g. cpu."),
]
CandidatesOption = Annotated[
    int | None,
    typer.Option("--candidates", min=1, help="Measured per budget, for --verify-on (3)."),
]
ExportOption = Annotated[
    str | None, typer.Option("--export", help="onnx,tflite,torch; random weights.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Directory of the exports.")]


def register(parent: typer.Typer) -> None:
    parent.command(short_help="The best architecture within each budget.")(generate)


@shared_options
@functools.partial(takes_device_options, with_recorded=False)
def generate(
    run: RunOption,
    budget: BudgetOption,
    samples: SamplesOption = 32,
    confidence: ConfidenceOption = None,
    max_params: MaxParamsOption = None,
    max_madds: MaxMaddsOption = None,
    pure: PureOption = False,
    verify_on: VerifyOption = None,
    candidates: CandidatesOption = None,
    device_options: DeviceOptions = NONE,
    export: ExportOption = None,
    out: OutOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Generate the best architecture for each budget; none exceeds its budget."""
    from pnag.generate import GeneratedArchitecture, refuse_unmet
    from pnag.results import export_results, generated_results, results_text, verified_results
    from pnag.runs.run import load_run
    from pnag.search.budget import parse_budget_ms
    from predictors.intervals import check_confidence
    from profiler.spaces.export import parse_formats
    from profiler.spaces.networks import with_networks

    _refuse_parts(export, out, candidates, verify_on)
    verifying = [backend_of(verify_on)] if verify_on else []
    device_options.refuse_others(verifying, "--verify-on {}")
    budgets_ms = [parse_budget_ms(text) for text in budget]
    check_confidence(confidence)
    formats = parse_formats(export) if export else ()
    limits = _limits(max_madds, max_params)
    trained = load_run(run)
    space = trained.problem.space
    networks = with_networks(space, "to measure or to export") if verify_on or formats else None
    if out is not None:
        refuse_unwritable(out / "network")
    made = trained.generate_each(
        budgets_ms, n_samples=samples, confidence=confidence, limits=limits, pure=pure, seed=seed
    )
    met = [one.budget_ms for one in made if isinstance(one, GeneratedArchitecture)]
    if verify_on and met:
        from pnag.runs.inputs import LATENCY_FILE
        from pnag.verify import Request, generate_verified
        from profiler.tables.table import load_table

        options = device_options.of(*verifying)
        request = Request(
            met, candidates or 3, samples, confidence, limits, seed, options, pure=pure
        )
        table = load_table(run / LATENCY_FILE)
        verification = generate_verified(trained, table, verify_on, request, terminal)
        document = verified_results(verification, space, made)
    else:
        document = generated_results(made, space)
    if out is not None and networks is not None:
        export_results(document, networks, formats, out, seed=seed)
    terminal.result(document, results_text(document) if met else None)
    refuse_unmet(made)  # after the others: a script reads the exit code


def _refuse_parts(
    export: str | None, out: Path | None, candidates: int | None, verify_on: str | None
) -> None:
    """Options that mean something only beside another one."""
    if (export is None) != (out is None):
        raise InvalidInputError("--export and --out belong together")
    if candidates is not None and verify_on is None:
        raise InvalidInputError("--candidates is for --verify-on")


def _limits(max_madds: str | None, max_params: str | None) -> Limits:
    from pnag.generate import Limits
    from pnag.search.budget import parse_count

    return Limits(
        max_madds=parse_count(max_madds, what="MAdds") if max_madds else None,
        max_params=parse_count(max_params, what="parameters") if max_params else None,
    )
