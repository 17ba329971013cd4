"""`pnag report`: what runs found or model files took, as a page to explore and as figures."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import STDOUT, shared_options
from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.terminal import Terminal

RunsOption = Annotated[
    list[Path] | None,
    typer.Option("--run", help="Run directory of pnag train; further ones are compared with it."),
]
ModelsOption = Annotated[
    Path | None,
    typer.Option("--models", help="In place of a run: what pnag profile --model ... --out wrote."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", help="HTML page; - is stdout. By default in the run, or beside --models."
    ),
]
FiguresOption = Annotated[
    Path | None, typer.Option("--figures", help="Directory for every figure as SVG and PNG.")
]
MeasuredOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--measured",
        help="Output of pnag generate --verify-on --json, or a demo's report.json; repeatable.",
    ),
]
PublishedOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--published",
        help="Networks of others: CSV with name, latency_ms, top1_pct, device; or "
        "accuracies of architectures of the space; repeatable.",
    ),
]
JournalOption = Annotated[
    Path | None,
    typer.Option("--journal", help="Raw samples; by default beside the table or the results."),
]


def register(parent: typer.Typer) -> None:
    parent.command()(report)


@functools.partial(shared_options, to_stdout=True)
def report(
    run: RunsOption = None,
    models: ModelsOption = None,
    out: OutOption = None,
    figures: FiguresOption = None,
    measured: MeasuredOption = None,
    published: PublishedOption = None,
    journal: JournalOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one HTML file that works offline, figures for papers, or both."""
    from profiler.system.atomic import refuse_unwritable

    if bool(run) == bool(models):
        raise InvalidInputError("give --run DIR or --models FILE")
    if run:
        require("report", "report --run")
    if out is None and figures is None:
        out = run[0] / "report.html" if run else models and models.with_suffix(".html")
    for path in (out, figures and figures / "figure"):
        if path is not None and path != STDOUT:
            refuse_unwritable(path)
    drawn: list[Path] = []
    if models:
        if figures or measured or published:
            raise InvalidInputError("--figures, --measured and --published are for a --run")
        title, page = _of_models(models, journal, terminal)
    else:
        from pnag.report.contents import Sources, gather
        from pnag.report.run_page import render_run

        first, *others = run or []
        sources = Sources(measured or (), published or (), journal)
        contents = gather(first, sources, terminal, others, seed=seed)
        title, page = contents.title, render_run(contents) if out else ""
        if figures is not None:
            from pnag.report.figures import draw_figures

            drawn = draw_figures(contents, figures, seed=seed)
    _written(title, page, out, drawn, terminal)


def _of_models(results: Path, journal: Path | None, terminal: Terminal) -> tuple[str, str]:
    """Title and page."""
    from pnag.report.model_page import gather_models, render_models

    models = gather_models(results, journal, terminal)
    return models.title, render_models(models)


def _written(
    title: str, page: str, out: Path | None, drawn: list[Path], terminal: Terminal
) -> None:
    """The page where it belongs, and what was written as the result; to stdout the page alone."""
    from profiler.system.atomic import write_text_atomic

    names = [str(path) for path in (out, *drawn) if path is not None and path != STDOUT]
    if out == STDOUT:
        print(page, end="", flush=True)
        terminal.note("\n".join(names) or title)
        return
    if out is not None:
        write_text_atomic(out, page)
    terminal.result({"files": names, "title": title}, "\n".join(names))
