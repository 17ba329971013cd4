"""`pnag serve`: a trained run as an HTTP service."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import shared_options
from profiler.extras import require
from profiler.terminal import Terminal


def register(parent: typer.Typer) -> None:
    parent.command(short_help="Answer budgets over HTTP.")(serve)


@shared_options
def serve(
    run: Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; loopback by default.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Answer budgets with architectures over HTTP, until Ctrl-C."""
    require("serve", "serve")
    from pnag.runs.run import load_run
    from pnag.serve.server import listen
    from pnag.serve.server import serve as answer

    trained = load_run(run)
    with listen(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{listener.getsockname()[1]}"
        if not _is_loopback(host):
            terminal.note(f"{host} can be reached from outside; there is no authentication")
        low, high = trained.reachable_ms
        document = {"url": url, "run": str(run), "reachable_ms": [low, high]}
        text = (
            f"{run} at {url} (a page to try it), budgets from {low:.4g} ms; Ctrl-C stops\n"
            f"  POST {url}/generate   GET {url}/health   {url}/metrics   {url}/openapi.json"
        )
        terminal.result(document, text)
        answer(trained, listener, seed=seed, log=terminal.note)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
