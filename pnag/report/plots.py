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


def curves_plot(
    paths: Sequence[Path],
    x: Floats,
    curves: Mapping[str, Floats],
    labels: tuple[str, str],
    *,
    linear_below: float | None = None,
) -> None:
    """Named curves over the same [n] x; `labels` name the axes.

    With `linear_below` y is logarithmic down to there, and linear from there to zero.
    """
    figure = _figure()
    axes = figure.subplots()
    for marker, (name, y) in zip(MARKERS, curves.items(), strict=False):
        axes.plot(x, y, marker=marker, markersize=4, linewidth=1, label=name)
    if linear_below is not None:
        axes.set_yscale("symlog", linthresh=linear_below)
        axes.set_ylim(bottom=0)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, paths)


def histogram_plot(
    paths: Sequence[Path], latencies_ms: Mapping[str, Floats], budgets_ms: Sequence[float]
) -> None:
    """Latencies of named sets of architectures in the same bins, with budgets as vertical lines."""
    figure = _figure()
    axes = figure.subplots()
    every = [latency for values in latencies_ms.values() for latency in values]
    limits = (min(every), max(every))
    for name, values in latencies_ms.items():
        weights = [100 / len(values)] * len(values)
        axes.hist(values, bins=60, range=limits, weights=weights, alpha=0.6, label=name)
    for budget in budgets_ms:
        axes.axvline(budget, color="0.3", linestyle="--", linewidth=1)
    axes.set(xlabel="latency (ms)", ylabel="share (%)")
    axes.legend()
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
