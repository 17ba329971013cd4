"""Plots: the one module that draws, so that all figures look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pnag.frontier import Frontier
    from predictors.base import Floats

MARKERS = "osD^vP*X"


def frontier_plot(
    paths: Sequence[Path],
    frontiers: Mapping[str, Frontier],
    *,
    cloud: tuple[Floats, Floats] | None = None,
    title: str = "",
) -> None:
    """Accuracy against latency of named frontiers, over a cloud of (latency_ms, top1).

    One file per path; its suffix (svg, png) gives the format.
    """
    figure = _figure()
    axes = figure.subplots()
    if cloud is not None:
        axes.scatter(
            cloud[0], 100 * cloud[1], s=3, color="0.8", linewidths=0, label="evaluated",
            rasterized=True,
        )  # fmt: skip
    for marker, (name, frontier) in zip(MARKERS, frontiers.items(), strict=False):
        latencies = [point.latency_ms for point in frontier]
        accuracies = [100 * point.top1 for point in frontier]
        axes.plot(latencies, accuracies, marker=marker, markersize=4, linewidth=1, label=name)
    axes.set(xlabel="latency (ms)", ylabel="top-1 (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, paths)


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure in the format of each path's suffix."""
    for path in paths:
        with replacing(path) as temporary:
            # without a date, the same data gives the same file
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
