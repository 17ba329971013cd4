"""`pnag space`: what a search space holds, and one architecture of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profiler.cli.options import (
    ArchOption,
    ExportOption,
    ResolutionOption,
    SpaceOption,
    WidthOption,
    shared_options,
)
from profiler.terminal import Terminal

app = typer.Typer(no_args_is_help=True, help="Describe a search space, inspect an architecture.")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="space")


@app.command()
@shared_options
def describe(
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = 1.0,
    resolution: ResolutionOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Say what the space contains: its decisions, its size and its range of costs."""
    from profiler.spaces.mobilenetv3 import open_space

    chosen = open_space(space, width_mult, resolution)
    smallest, largest = chosen.extremes()
    document = {
        "space": chosen.name,
        "width_mult": chosen.width_mult,
        "resolution_px": chosen.resolution_px,
        "n_classes": chosen.backbone.n_classes,
        "n_tokens": len(chosen.positions),
        "n_architectures": chosen.size(),
        "n_ops": len(chosen.distinct_ops()),
        "madds": [chosen.madds(smallest), chosen.madds(largest)],
        "params": [chosen.params(smallest), chosen.params(largest)],
    }
    text = (
        f"{chosen.name}, width {chosen.width_mult:g}, {chosen.resolution_px} px, "
        f"{chosen.backbone.n_classes} classes\n"
        f"  architectures  {chosen.size():.3g} ({len(chosen.positions)} tokens)\n"
        f"  distinct ops   {len(chosen.distinct_ops())}\n"
        f"  MAdds          {chosen.madds(smallest) / 1e6:.1f}M to "
        f"{chosen.madds(largest) / 1e6:.1f}M\n"
        f"  parameters     {chosen.params(smallest) / 1e6:.2f}M to "
        f"{chosen.params(largest) / 1e6:.2f}M"
    )
    terminal.result(document, text)


@app.command()
@shared_options
def inspect(
    arch: ArchOption,
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = 1.0,
    resolution: ResolutionOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Print MAdds, parameters and op keys of one architecture."""
    from profiler.spaces.mobilenetv3 import open_space

    chosen = open_space(space, width_mult, resolution)
    architecture = chosen.parse_architecture(arch)
    ops = chosen.ops(architecture)
    document = {
        "arch": str(architecture),
        "ofa": architecture.to_ofa(),
        "madds": chosen.madds(architecture),
        "params": chosen.params(architecture),
        "ops": [op.key for op in ops],
    }
    lines = [
        f"{architecture}",
        f"MAdds {document['madds']:,}   parameters {document['params']:,}   {len(ops)} ops",
    ]
    lines += [
        f"  {op.graph.madds / 1e6:9.3f}M  {op.graph.params / 1e3:9.1f}k  {op.key}" for op in ops
    ]
    terminal.result(document, "\n".join(lines))


@app.command()
@shared_options
def export(
    arch: ArchOption,
    out: Annotated[Path, typer.Option("--out", help="Directory of the files.")],
    formats: ExportOption = "onnx",
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = 1.0,
    resolution: ResolutionOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one architecture with random weights: for latency, not for accuracy."""
    from profiler.spaces.export import export_network, parse_formats, random_network
    from profiler.spaces.mobilenetv3 import open_space

    chosen = open_space(space, width_mult, resolution)
    architecture, names = chosen.parse_architecture(arch), parse_formats(formats)
    (tokens,) = chosen.encode([architecture])
    network = random_network(chosen, tokens, seed=seed)
    paths = export_network(network, tokens, chosen, names, out, stem=chosen.name)
    document = {"arch": str(architecture), "weights": "random", "files": [str(p) for p in paths]}
    terminal.result(document, "\n".join(map(str, paths)))
