"""`pnag supernet compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.extras import require
from profiler.system.atomic import refuse_unwritable
from profiler.terminal import Terminal


@shared_options
def compress(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="supernet.safetensors.")],
    out: Annotated[Path, typer.Option("--out", help="The smaller checkpoint (.safetensors).")],
    *,
    terminal: Terminal,
) -> None:
    """Write a supernet's weights in 8 bits, a quarter of the size; all commands read them."""
    require("supernet", "supernet compress")
    from pnag.supernet.checkpoint import compress_supernet, file_digest

    if out.suffix != ".safetensors":
        raise InvalidInputError(f"--out {out}: a checkpoint's name ends in .safetensors")
    smaller = compress_supernet(checkpoint)
    if out.exists() and out.samefile(checkpoint):
        raise InvalidInputError(f"--out {out} would replace the weights that it is made from")
    refuse_unwritable(out)
    smaller.save(out)
    sizes = {"bytes_before": checkpoint.stat().st_size, "bytes": out.stat().st_size}
    before, after = (f"{size / 1e6:.1f} MB" for size in sizes.values())
    terminal.result(
        {"checkpoint": str(out), "sha256": file_digest(out), **sizes},
        f"{before} to {after}: {out}",
    )
