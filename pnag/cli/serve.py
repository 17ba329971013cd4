"""`pnag serve`: a trained run as an HTTP service."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.printable import shown
from profiler.terminal import Terminal


def register(parent: typer.Typer) -> None:
    parent.command()(serve)


@shared_options
def serve(
    run: Annotated[Path, typer.Option("--run", help="Run directory of pnag train.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; loopback by default.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="Host name that requests may ask; by default only localhost where it listens on "
            "loopback, else any.",
        ),
    ] = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Answer budgets with architectures over HTTP, until Ctrl-C."""
    require("serve", "serve")
    from pnag.runs.run import load_run
    from pnag.serve.server import listen
    from pnag.serve.server import serve as answer

    names = _host_names(host, allow_host or ())
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
        answer(trained, listener, seed=seed, log=terminal.note, host_names=names)


def _host_names(host: str, allowed: Sequence[str]) -> set[str] | None:
    """Who else reaches a loopback address is a page in a browser here, under its own name."""
    for name in allowed:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
            raise InvalidInputError(f"--allow-host: {shown(name)} is no name of a host")
    if allowed or _is_loopback(host):
        return {name.lower() for name in ("localhost", host, *allowed)}
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
