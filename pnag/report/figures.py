"""Every figure of a run for papers, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pnag import plots
from pnag.report.contents import Check, Contents
from pnag.report.published import PublishedNetwork
from pnag.report.samples import Trace
from pnag.search.budget import spread_budgets_ms
from predictors.base import Floats

N_DRAWN = 1000  # architectures of each histogram
N_NOISE_OPS = 3


def draw_figures(contents: Contents, folder: Path, *, seed: int = 0) -> list[Path]:
    """Draw what the run has data for; the files written.

    `frontier`: generated, sampled, baselines, published. `budgets`: latencies of unselected
    draws at five budgets. `errors`: predicted against measured. `noise`: raw samples of the
    cheapest, the median and the dearest op. `load`: latency, temperature and clock under sustained
    load. `published-N`: networks on other devices.
    """
    written: list[Path] = []

    def paths(name: str) -> list[Path]:
        made = [folder / f"{name}.svg", folder / f"{name}.png"]
        written.extend(made)
        return made

    _draw_frontier(contents, paths("frontier"))
    _draw_budgets(contents, paths("budgets"), seed)
    if contents.checks:
        _draw_errors(contents, paths("errors"))
    if contents.table and contents.table.ops.keys() & contents.traces.keys():
        _draw_noise(contents, paths("noise"))
    if contents.table and contents.table.load:
        plots.load_plot(paths("load"), contents.table.load)
    for i, (device, networks) in enumerate(contents.elsewhere.items(), start=1):
        names = [network.name for network in networks]
        plots.networks_plot(paths(f"published-{i}"), names, *_points(networks), title=device)
    return written


def _draw_frontier(contents: Contents, paths: list[Path]) -> None:
    points = {}
    measured = [(c.measured.latency_ms, c.made.top1) for c in contents.choices if c.measured]
    if measured:
        latency_ms, top1 = np.array(measured).T
        points["measured"] = latency_ms, top1
    if contents.published:
        points["published"] = _points(contents.published)
    plots.frontier_plot(
        paths,
        {"generated": contents.generated, **contents.baselines},
        cloud=contents.sampled,
        points=points,
        title=contents.title,
    )


def _points(networks: tuple[PublishedNetwork, ...]) -> tuple[Floats, Floats]:
    latency_ms, top1 = np.array([(n.latency_ms, n.top1) for n in networks]).T
    return latency_ms, top1


def _draw_budgets(contents: Contents, paths: list[Path], seed: int) -> None:
    """One draw an architecture, so that the generator's distribution shows, not the best of 32."""
    run = contents.run
    budgets_ms = spread_budgets_ms(*run.reachable_ms)
    uniform = run.problem.space.sample(N_DRAWN, np.random.default_rng(seed))
    latencies_ms = {"uniform sampling": run.problem.cost(uniform)}
    for budget, label in zip(budgets_ms, budget_labels(budgets_ms), strict=True):
        made = run.generate([budget] * N_DRAWN, n_samples=1, pure=True, seed=seed)
        latencies_ms[label] = np.array([m.latency_ms for m in made])
    plots.histogram_plot(paths, latencies_ms, budgets_ms)


def budget_labels(budgets_ms: Sequence[float]) -> list[str]:
    """With three digits, or as many as tell the budgets apart.

    >>> budget_labels([10.03, 20])
    ['≤ 10 ms', '≤ 20 ms']
    """
    for digits in range(3, 18):  # 17 tell any two numbers apart
        labels = [f"≤ {budget:.{digits}g} ms" for budget in budgets_ms]
        if len(set(labels)) == len(set(budgets_ms)):
            break
    return labels


def _draw_errors(contents: Contents, paths: list[Path]) -> None:
    names = {True: "fitted", False: "measured later"}
    groups = {
        name: _errors([check for check in contents.checks if check.fitted is fitted])
        for fitted, name in names.items()
        if any(check.fitted is fitted for check in contents.checks)
    }
    made = contents.choices[0].made
    band = 100 * (made.interval_ms[1] / made.latency_ms - 1) if made.interval_ms else None
    plots.errors_plot(paths, groups, band_pct=band)


def _errors(checks: list[Check]) -> plots.Errors:
    predicted = np.array([check.predicted_ms for check in checks])
    measured = np.array([check.measured_ms for check in checks])
    ends = np.array([check.ci95_ms or (check.measured_ms,) * 2 for check in checks]).T
    whiskers = np.maximum([measured - ends[0], ends[1] - measured], 0)
    return plots.Errors(predicted, 100 * (measured / predicted - 1), 100 * whiskers / predicted)


def _draw_noise(contents: Contents, paths: list[Path]) -> None:
    table = contents.table
    if table is None:
        return
    known = sorted(table.ops.keys() & contents.traces.keys(), key=lambda k: table.ops[k].latency_ms)
    chosen = np.linspace(0, len(known) - 1, min(N_NOISE_OPS, len(known))).round().astype(int)
    traces = [
        _noise(known[i], contents.traces[known[i]][0], table.ops[known[i]].latency_ms)
        for i in chosen
    ]
    plots.noise_plot(paths, traces)


def _noise(name: str, trace: Trace, latency_ms: float) -> plots.NoiseTrace:
    samples = [(b.time_s, sample / latency_ms) for b in trace.blocks for sample in b.samples_ms]
    canaries = [(b.time_s, b.canary_ratio) for b in trace.blocks if b.canary_ratio is not None]
    time_s, ratio = np.array(samples, np.float64).reshape(-1, 2).T
    canary_time_s, canary_ratio = np.array(canaries, np.float64).reshape(-1, 2).T
    return plots.NoiseTrace(name, time_s, ratio, canary_time_s, canary_ratio)
