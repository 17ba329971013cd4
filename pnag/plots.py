"""Plots: one look for all figures, those of the benchmarks too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from profiler.printable import printable
from profiler.system.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pnag.search.frontier import Frontier
    from predictors.base import Floats
    from profiler.tables.levels import Load

MARKERS = "osD^vP*X"


def frontier_plot(
    paths: Sequence[Path],
    frontiers: Mapping[str, Frontier],
    *,
    cloud: tuple[Floats, Floats] | None = None,
    points: Mapping[str, tuple[Floats, Floats]] | None = None,
    title: str = "",
) -> None:
    """Accuracy against latency of named frontiers, over a cloud of (latency_ms, top1).

    `points` are named networks without a line. One file per path; its suffix (svg, png)
    gives the format.
    """
    figure = new_figure()
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
    for i, (name, (latency_ms, top1)) in enumerate((points or {}).items(), start=len(frontiers)):
        axes.scatter(
            latency_ms, 100 * top1, s=30, marker=MARKERS[i % len(MARKERS)], color=f"C{i}",
            zorder=3, label=name,
        )  # fmt: skip
    axes.set(xlabel="latency (ms)", ylabel="top-1 (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, paths)


def networks_plot(
    paths: Sequence[Path], names: Sequence[str], latency_ms: Floats, top1: Floats, *, title: str
) -> None:
    """[n] single networks with their names beside them."""
    figure = new_figure()
    axes = figure.subplots()
    axes.scatter(latency_ms, 100 * top1, s=16)
    for name, x, y in zip(names, latency_ms, 100 * top1, strict=True):
        axes.annotate(name, (x, y), (3, 3), textcoords="offset points", fontsize=6)
    axes.set(xlabel="latency (ms)", ylabel="top-1 (%)", title=title)
    axes.grid(alpha=0.3)
    save_figure(figure, paths)


def histogram_plot(
    paths: Sequence[Path], latencies_ms: Mapping[str, Floats], budgets_ms: Sequence[float]
) -> None:
    """Latencies of named sets of architectures in the same bins, with budgets as vertical lines."""
    figure = new_figure()
    axes = figure.subplots()
    every = [latency for values in latencies_ms.values() for latency in values]
    limits = (min(every), max(every))
    for name, values in latencies_ms.items():
        weights = [100 / len(values)] * len(values)
        axes.hist(values, bins=60, range=limits, weights=weights, alpha=0.6, label=name)
    for budget in budgets_ms:
        axes.axvline(budget, color="0.3", linestyle="--", linewidth=1)
    axes.set(xlabel="latency (ms)", ylabel="share (%)")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    save_figure(figure, paths)


def errors_plot(
    paths: Sequence[Path], groups: Mapping[str, Errors], *, band_pct: float | None = None
) -> None:
    """Relative errors of predictions, in percent, over a conformal band of ± `band_pct`."""
    figure = new_figure()
    axes = figure.subplots()
    if band_pct is not None:
        axes.axhspan(-band_pct, band_pct, color="C0", alpha=0.12, label="95 % interval")
    axes.axhline(0, color="0.4", linewidth=0.8)
    for marker, (name, errors) in zip(MARKERS, groups.items(), strict=False):
        axes.errorbar(
            errors.predicted_ms, errors.error_pct, errors.whiskers_pct, fmt=marker,
            markersize=4, elinewidth=0.8, label=name,
        )  # fmt: skip
    axes.set(xlabel="predicted latency (ms)", ylabel="measured - predicted (%)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    save_figure(figure, paths)


@dataclass(frozen=True)
class Errors:
    """[n] predictions, what measuring added to each, and [2, n] whiskers of that."""

    predicted_ms: Floats
    error_pct: Floats
    whiskers_pct: Floats


@dataclass(frozen=True)
class NoiseTrace:
    """[n] samples of one op over its latency, and [m] canaries over theirs, with their times."""

    name: str
    time_s: Floats
    ratio: Floats
    canary_time_s: Floats
    canary_ratio: Floats


def noise_plot(paths: Sequence[Path], traces: Sequence[NoiseTrace]) -> None:
    """Samples in order of time, one panel an op, each relative to the latency reported."""
    figure = new_figure(height_in=1.1 + 1.5 * len(traces))
    panels = figure.subplots(len(traces), 1, sharex=True, squeeze=False)[:, 0]
    for axes, trace in zip(panels, traces, strict=True):
        axes.plot(
            trace.canary_time_s, trace.canary_ratio, color="C1", linewidth=0.8, label="canary"
        )
        axes.scatter(trace.time_s, trace.ratio, s=5, label="samples")
        axes.axhline(1, color="0.4", linestyle="--", linewidth=0.8)
        axes.set_title(trace.name, fontsize=7, loc="left")
        axes.set_ylabel("relative")
        axes.grid(alpha=0.3)
    panels[0].legend(loc="upper right", fontsize=7)
    panels[-1].set_xlabel("time since the sweep began (s)")
    save_figure(figure, paths)


def load_plot(paths: Sequence[Path], load: Load) -> None:
    """Latency over the first minute's, and below it what the device told of itself."""
    minutes = np.array(load.times_s) / 60
    beside = {"°C": load.temperatures_c, "MHz": load.clocks_mhz}
    known = {
        unit: [np.nan if value is None else value for value in values]
        for unit, values in beside.items()
        if any(value is not None for value in values)
    }
    figure = new_figure(height_in=3.0 + 1.2 * len(known))
    panels = figure.subplots(
        1 + len(known), 1, sharex=True, squeeze=False, height_ratios=[2, *[1] * len(known)]
    )[:, 0]
    panels[0].plot(minutes, 100 * (np.array(load.ratios) - 1), ".-", markersize=3, linewidth=0.6)
    ends_s = [*(change.at_s for change in load.changes[1:]), load.times_s[-1]]
    for change, end_s in zip(load.changes, ends_s, strict=False):
        panels[0].axvline(change.at_s / 60, color="0.4", linestyle=":", linewidth=0.8)
        level_pct = 100 * (change.ratio - 1)
        panels[0].hlines(level_pct, change.at_s / 60, end_s / 60, color="C1")
    panels[0].set_ylabel("over the first minute (%)")
    for axes, (unit, values) in zip(panels[1:], known.items(), strict=True):
        axes.plot(minutes, values, linewidth=0.8)
        axes.set_ylabel(unit)
    for axes in panels:
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("minutes of load")
    save_figure(figure, paths)


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure in the format of each path's suffix."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):  # names of others: no mathematics, nothing XML refuses
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    for path in paths:
        # without a date and with a fixed salt of names, the same data gives the same file
        with replacing(path) as temporary, rc_context({"svg.hashsalt": "pnag"}):
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def new_figure(height_in: float = 4.2) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, height_in), dpi=150, layout="constrained")
