"""`pnag space`: what a search space holds, and one architecture of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.options import (
    ArchOption,
    DatasetOption,
    ExportOption,
    ResolutionOption,
    ResolutionsOption,
    SpaceOption,
    WidthOption,
    parse_resolutions,
    shared_options,
)
from profiler.extras import require
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.graph.op import Op

CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Weights, of the network or of Once-for-All's supernet."),
]

app = typer.Typer(no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="space")


@app.command()
@shared_options
def describe(
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    resolutions: ResolutionsOption = None,
    dataset: DatasetOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Say what the space contains: its decisions, its size and its range of costs."""
    from profiler.spaces.decisions import amount_range, decision_graph
    from profiler.spaces.networks import distinct_ops, n_classes
    from profiler.spaces.registry import open_space

    chosen = open_space(space, width_mult, resolution, dataset, parse_resolutions(resolutions))
    madds, params = (
        [round(end) for end in amount_range(chosen, amount)] for amount in (_madds, _params)
    )
    document = {
        **chosen.facts,
        "n_classes": n_classes(chosen),
        "n_tokens": len(chosen.positions),
        "n_architectures": decision_graph(chosen).n_paths,
        "n_ops": len(distinct_ops(chosen)),
        "madds": madds,
        "params": params,
    }
    text = (
        f"{chosen}, {document['n_classes']} classes\n"
        f"  architectures  {document['n_architectures']:.3g} ({len(chosen.positions)} tokens)\n"
        f"  distinct ops   {document['n_ops']}\n"
        f"  MAdds          {madds[0] / 1e6:.1f}M to {madds[1] / 1e6:.1f}M\n"
        f"  parameters     {params[0] / 1e6:.2f}M to {params[1] / 1e6:.2f}M"
    )
    terminal.result(document, text)


def _madds(op: Op) -> int:
    return op.graph.madds


def _params(op: Op) -> int:
    return op.graph.params


@app.command()
@shared_options
def inspect(
    arch: ArchOption,
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    resolutions: ResolutionsOption = None,
    dataset: DatasetOption = None,
    *,
    terminal: Terminal,
) -> None:
    """Print MAdds, parameters and op keys of one architecture."""
    from profiler.spaces.base import other_forms
    from profiler.spaces.networks import network_ops
    from profiler.spaces.registry import open_space

    chosen = open_space(space, width_mult, resolution, dataset, parse_resolutions(resolutions))
    tokens = chosen.parse(arch)
    ops = network_ops(chosen, tokens)
    madds, params = sum(map(_madds, ops)), sum(map(_params, ops))
    document = {
        "arch": chosen.format(tokens),
        **other_forms(chosen, tokens),
        "madds": madds,
        "params": params,
        "ops": [op.key for op in ops],
    }
    lines = [
        f"{document['arch']}",
        f"MAdds {madds:,}   parameters {params:,}   {len(ops)} ops",
    ]
    lines += [f"  {_madds(op) / 1e6:9.3f}M  {_params(op) / 1e3:9.1f}k  {op.key}" for op in ops]
    terminal.result(document, "\n".join(lines))


@app.command()
@shared_options
def export(
    arch: ArchOption,
    out: Annotated[Path, typer.Option("--out", help="Directory of the files.")],
    formats: ExportOption = "onnx",
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    resolutions: ResolutionsOption = None,
    dataset: DatasetOption = None,
    checkpoint: CheckpointOption = None,
    *,
    terminal: Terminal,
    seed: int,
) -> None:
    """Write one architecture, with random weights (for latency only) or a checkpoint's."""
    require("torch", "space export")
    from profiler.spaces.export import export_network, parse_formats, random_network
    from profiler.spaces.networks import file_stem
    from profiler.spaces.registry import open_space

    chosen = open_space(space, width_mult, resolution, dataset, parse_resolutions(resolutions))
    tokens, names = chosen.parse(arch), parse_formats(formats)
    if checkpoint is None:
        network = random_network(chosen, tokens, seed=seed)
    else:
        from profiler.spaces.checkpoint import PublishedWeights

        network = PublishedWeights.read(checkpoint, chosen).network(chosen.format(tokens))
    paths = export_network(network, tokens, chosen, names, out, stem=file_stem(chosen))
    document = {
        "arch": chosen.format(tokens),
        "weights": str(checkpoint or "random"),
        "files": [str(path) for path in paths],
    }
    terminal.result(document, "\n".join(map(str, paths)))
