"""`pnag report`: what a run found, as a page to explore and as figures for papers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import STDOUT, shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal


def register(parent: typer.Typer) -> None:
    parent.command(short_help="One HTML page of a run; figures for papers.")(report)


@functools.partial(shared_options, to_stdout=True)
def report(
    run: Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="HTML page, e.g. report.html; - is stdout."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Directory for every figure as SVG and PNG.")
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            "--measured",
            help="Output of pnag generate --verify-on --json, or a demo's report.json; repeatable.",
        ),
    ] = None,
    published: Annotated[
        list[Path] | None,
        typer.Option(
            "--published",
            help="Networks of others: CSV with name, latency_ms, top1_pct, device; or "
            "accuracies of architectures of the space; repeatable.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="Raw samples; by default beside the run's table."),
    ] = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one HTML file that works offline, figures for papers, or both."""
    if out is None and figures is None:
        raise InvalidInputError("give --out report.html, --figures DIR, or both")
    from pnag.report.contents import Sources, gather
    from pnag.report.page import render_page
    from profiler.system.atomic import refuse_unwritable, write_text_atomic

    sources = Sources(measured or (), published or (), journal)
    for path in (out, figures and figures / "figure"):
        if path is not None and path != STDOUT:
            refuse_unwritable(path)
    contents = gather(run, sources, terminal, seed=seed)
    files: list[Path] = []
    if out is not None:
        if out == STDOUT:
            print(render_page(contents), end="", flush=True)
        else:
            write_text_atomic(out, render_page(contents))
            files.append(out)
    if figures is not None:
        from pnag.report.figures import draw_figures

        files += draw_figures(contents, figures, seed=seed)
    names = [str(path) for path in files]
    if out == STDOUT:
        terminal.note("\n".join(names) or contents.title)
    else:
        terminal.result({"files": names, "title": contents.title}, "\n".join(names))
