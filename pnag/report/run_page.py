"""The page of a run: what its scripts read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from pnag.report.beside import RunBeside, common_budgets_ms
from pnag.report.changes import Changes
from pnag.report.choices import Choice
from pnag.report.contents import Contents, op_latencies_ms, waiting_ms
from pnag.report.page import compared, device_rows, recorded, render_page, rounded
from pnag.report.published import PublishedNetwork
from pnag.report.samples import embedded_trace
from pnag.report.stages import stages_of
from pnag.search.frontier import Frontier
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.spaces.networks import NetworkSpace, distinct_ops, network_ops
from profiler.system.stamp import now
from profiler.tables.keys import ops_of_table
from profiler.tables.table import LatencyTable, transfer_in_words

SCRIPTS = ("load.js", "picture.js", "run_charts.js", "run_tables.js", "beside.js", "run.js")


def render_run(contents: Contents) -> str:
    """The whole page as text."""
    return render_page(contents.title, "run", SCRIPTS, page_data(contents))


def page_data(contents: Contents) -> dict[str, Any]:
    """What the page's script reads."""
    table, run = contents.table, contents.run
    ops = _ops(contents, table) if table else []
    index = {op["key"]: i for i, op in enumerate(ops)}
    document = {
        "title": contents.title,
        "dates": _dates(contents),
        "device_line": _device_line(table),
        "frontier_note": _frontier_note(contents),
        "facts": _facts(contents),
        "provenance": _provenance(contents),
        "reachable_ms": list(run.reachable_ms),
        "intercept_ms": contents.calibration.intercept_ms if contents.calibration else 0.0,
        "positions": [position.name for position in run.problem.space.positions],
        "choices": [_choice(contents, choice, index) for choice in contents.choices],
        "generated": _frontier(contents.generated),
        "sampled": [values.tolist() for values in contents.sampled],
        "baselines": {name: _frontier(f) for name, f in contents.baselines.items()},
        "published": [_published(network) for network in contents.published],
        "elsewhere": {
            device: [_published(network) for network in networks]
            for device, networks in contents.elsewhere.items()
        },
        "checks": [vars(check) for check in contents.checks],
        "ops": ops,
        **_beside(contents.beside),
        "noise_floor": table.noise_floor.model_dump() if table and table.noise_floor else None,
        "failures": table.failures if table else {},
        "load": asdict(table.load) if table and table.load else None,
        "traces": {
            name: [embedded_trace(trace) for trace in traces]
            for name, traces in contents.traces.items()
        },
    }
    embedded: dict[str, Any] = rounded(document)
    return embedded


# --- Parts of the data ---------------------------------------------------------------------


def _ops(contents: Contents, table: LatencyTable) -> list[dict[str, Any]]:
    """One entry an op of the table, in order of the network."""
    added_ms = op_latencies_ms(table, contents.calibration)
    batch_size = table.device.batch_size
    space = table.search_space
    order = {key: i for i, key in enumerate(distinct_ops(space, batch_size=batch_size))}
    keys = sorted(table.ops, key=lambda key: (order.get(key, len(order)), key))
    ops = ops_of_table(table)
    return [
        _sizes(ops[key])
        | table.ops[key].model_dump(mode="json", exclude={"variance_ms2", "std_ms"})
        | {"key": key, "added_ms": added_ms.get(key)}
        for key in keys
    ]


def _sizes(op: Op) -> dict[str, Any]:
    shape = shape_of(op)
    return {
        "kind": str(op.kind),
        "name": op.title,
        "input": [*shape.in_px, shape.in_channels],
        "output": [*shape.out_px, shape.out_channels],
        "mid": shape.mid_channels,
        "kernel": shape.kernel,
        "stride": shape.stride,
        "se": shape.has_gate,
        "activation": shape.activation.replace("_", "-") if shape.activation else "none",
        "madds": shape.graph.madds // shape.batch_size,
    }


def _choice(contents: Contents, choice: Choice, index: dict[str, int]) -> dict[str, Any]:
    space, made = contents.run.problem.space, choice.made
    document: dict[str, Any] = {
        "budget_ms": made.budget_ms,
        "arch": made.arch,
        "latency_ms": made.latency_ms,
        "interval_ms": made.interval_ms,
        "top1": made.top1,
        "top1_interval": made.top1_interval,
        "measured": vars(choice.measured) if choice.measured else None,
    }
    if isinstance(space, NetworkSpace) and contents.table:
        table = contents.table
        ops = network_ops(space, made.tokens)
        in_table = network_ops(space, made.tokens, batch_size=table.device.batch_size)
        return document | {
            **stages_of(space, made.tokens),
            "ops": [index[op.key] for op in in_table],
            "waiting_ms": waiting_ms(table, contents.calibration, in_table),
            "madds": sum(op.graph.madds for op in ops),
            "params": sum(op.graph.params for op in ops),
        }
    values = [
        position.choices[token] if token >= 0 else None
        for position, token in zip(space.positions, made.tokens, strict=True)
    ]
    return document | {"values": values}


def _frontier(frontier: Frontier) -> dict[str, list[Any]]:
    return {
        "latency_ms": [point.latency_ms for point in frontier],
        "top1": [point.top1 for point in frontier],
    }


def _beside(runs: Sequence[RunBeside]) -> dict[str, Any]:
    """Frontiers, top-1 at the same budgets, and what differs; empty for one run alone."""
    if len(runs) < 2:
        return {"runs": [], "budgets": [], "changes": []}
    first = runs[0]
    return {
        "runs": [
            {"name": one.name, "about": _about(one), **_frontier(one.frontier)} for one in runs
        ],
        "budgets": [_at_budget(budget_ms, runs) for budget_ms in common_budgets_ms(runs)],
        "changes": [
            _changes(one, first, found)
            for one in runs[1:]
            if (found := one.changes_to(first)) is not None
        ],
    }


def _about(one: RunBeside) -> str:
    if one.table is None:
        return "a tabular space"
    made, created = _made(one.table)
    return f"{one.table.space} on {one.table.device.model}, {made} {created[:10]}"


def _made(table: LatencyTable) -> tuple[str, str]:
    """How its latencies came about, and when."""
    return ("transferred" if table.transfer else "measured", table.created)


def _at_budget(budget_ms: float, runs: Sequence[RunBeside]) -> dict[str, Any]:
    """What each run gets for a budget, and what the first run's pick takes by the others."""
    picks = [one.best_within(budget_ms) for one in runs]
    pick = picks[0]
    return {
        "budget_ms": budget_ms,
        "top1": [point.top1 if point else None for point in picks],
        "first_ms": [one.latency_here_ms(runs[0], pick.arch) if pick else None for one in runs[1:]],
    }


def _changes(before: RunBeside, after: RunBeside, found: Changes) -> dict[str, Any]:
    return {
        "before": before.name,
        "after": after.name,
        "groups": [{"what": g.what, "n": g.n, **compared(g.found)} for g in found.groups],
        "ops": [
            {"key": o.key, "before_ms": o.before_ms, "after_ms": o.after_ms, **compared(o.found)}
            for o in found.ops
        ],
    }


def _published(network: PublishedNetwork) -> dict[str, Any]:
    return {"name": network.name, "latency_ms": network.latency_ms, "top1": network.top1}


def _dates(contents: Contents) -> list[tuple[str, str]]:
    """What was done when, in order."""
    table = contents.table
    made = [_made(table)] if table else []
    return [*made, ("trained", contents.config["finished"]), ("report written", now())]


def _device_line(table: LatencyTable | None) -> str:
    if table is None:
        return "a tabular space: latencies and accuracies are those of its file"
    device = table.device
    threads = f"{device.threads} thread{'s' * (device.threads > 1)}"
    runtime = f"{device.runtime} {device.runtime_version}"
    return f"{runtime}, {threads}, batch {device.batch_size}, {device.precision}"


def _frontier_note(contents: Contents) -> str:
    """How the curves came about, so that nobody compares what is not comparable."""
    run = contents.run
    n_shown = len(contents.sampled[0])
    return (
        f"The run, random search and regularised evolution (for each budget alone) evaluated "
        f"{run.n_evaluated:,} architectures each; sampled are {n_shown:,} of "
        "the run's. Latencies are predicted by one c(α), except where it says measured."
    )


def _facts(contents: Contents) -> list[tuple[str, str]]:
    """The few numbers that a reader wants first."""
    low, high = contents.run.reachable_ms
    facts = [("Reachable latency", f"{low:.4g} – {high:.4g} ms")]
    calibration, table = contents.calibration, contents.table
    if calibration:
        facts.append(("Prediction error", f"{calibration.residual_mape_pct:.2g} % (leave-one-out)"))
    if table and table.transfer:
        error_pct = table.transfer.mape_pct
        facts.append(("Latencies", f"transferred, not measured: {error_pct:.2g} % off"))
    if table and table.noise_floor:
        facts.append(("A/A noise floor", f"{table.noise_floor.p95_pct:.2g} % (95th percentile)"))
    if taus := contents.config.get("evaluator_kendall_tau"):
        facts.append(("Evaluator’s Kendall τ", f"≥ {min(taus):.3f}"))
    return facts


def _provenance(contents: Contents) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (what, value), as read; nothing that is unknown."""
    config, table = contents.config, contents.table
    groups: list[tuple[str, Iterable[tuple[str, Any]]]] = []
    if table:
        groups.append(("Device", device_rows(table.device)))
        groups.append(("Latency table", _table_rows(contents, table)))
    groups.append(("Training", config["settings"].items()))
    groups.append(("Inputs (SHA-256)", [(k, v["sha256"]) for k, v in config["inputs"].items()]))
    written = now()
    versions = {"run finished": config["finished"], **config["versions"], "report written": written}
    groups.append(("Versions", (versions | {"report's pnag": version("pnag")}).items()))
    return [(title, recorded(rows)) for title, rows in groups]


def _table_rows(contents: Contents, table: LatencyTable) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("space", str(table.space)),
        _made(table),
        ("tool", table.tool),
        ("protocol", table.protocol.get("name")),
        ("latencies are of", table.statistic),
        ("ops", len(table.ops)),
        ("networks", len(table.networks)),
        ("failures", len(table.failures)),
    ]
    rows += [("transfer", line) for line in transfer_in_words(table)]
    if table.noise_floor:
        floor = table.noise_floor
        rows.append(("A/A repeats", floor.n_repeats))
        rows.append(("A/A spread", f"median {floor.median_pct:.2g} %, p95 {floor.p95_pct:.2g} %"))
    if contents.calibration:
        rows.append(("calibrated on", f"{contents.calibration.n_networks} networks"))
        made = contents.choices[0].made
        if made.interval_ms:
            half = made.interval_ms[1] / made.latency_ms - 1
            rows.append(("95 % interval", f"± {100 * half:.2g} %"))
    return rows
