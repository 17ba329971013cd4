"""Do generated networks keep their budgets, in milliseconds that a plain timer measures?

    python -m benchmarks.promised_budgets RUN --networks NETWORKS.json --sessions SESSIONS.json

Networks for 50 budgets between the cheapest and the most accurate network of the run, with
--confidence and without, are generated once, into NETWORKS.json. Each call then is one session,
appended to SESSIONS.json: sessions an hour or a boot apart are what the promise is about. A session
is none of the profiler's: a few lines of the runtime's own API (ONNX Runtime, or LiteRT for a table
of tflite), one thread, wall clock, each network in a process of its own, as it is deployed, all
taking turns; the latency is the 10th percentile of single runs.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.landscape import write_json
from benchmarks.plain_timer import Timer
from profiler.devices.base import network_workload
from profiler.devices.host.monitor import boot_id
from profiler.devices.seeded import seeded_onnx, seeded_tflite
from profiler.errors import InvalidInputError
from profiler.spaces.networks import NetworkSpace
from profiler.system.stamp import now
from profiler.system.user_files import read_json
from profiler.tables.table import SpaceRef, load_table

BUDGETS, CONFIDENCE = 50, 0.95
ROUNDS, TIMED_RUNS = 40, 4  # of each network
QUANTILE = 0.1


def generated(folder: Path, n_budgets: int, confidence: float) -> dict[str, Any]:
    """For the midpoints of equal parts from the cheapest network, with `confidence`, to the most
    accurate one: the networks with it and without."""
    from pnag.runs.inputs import LATENCY_FILE
    from pnag.runs.run import load_run
    from pnag.search.bounds import bounded_costs

    run, table = load_run(folder), load_table(folder / LATENCY_FILE)
    bounded, *_ = bounded_costs(run.corrected, [math.inf], confidence=confidence)
    low, largest = run.reachable_ms
    (low,) = bounded.taken(np.array([low]))
    (best,) = run.generate([largest])
    high = best.latency_ms  # a larger budget buys nothing
    budgets_ms = (low + (high - low) * (np.arange(n_budgets) + 0.5) / n_budgets).tolist()
    return {
        "run": str(folder),
        "space": table.space.model_dump(),
        "platform": table.device.platform,
        "confidence": confidence,
        "margin": asdict(bounded.margin),
        "networks": {
            name: [
                {
                    "budget_ms": made.budget_ms,
                    "arch": made.arch,
                    "predicted_ms": made.latency_ms,
                    "top1": made.top1,
                }
                for made in run.generate(budgets_ms, confidence=asked)
            ]
            for name, asked in (("without", None), (f"--confidence {confidence:g}", confidence))
        },
    }


def write_model(space: NetworkSpace, arch: str, platform: str, folder: Path) -> Path:
    workload = network_workload(space, space.parse(arch))
    tflite = platform == "tflite"
    model = seeded_tflite(workload, "float32") if tflite else seeded_onnx(workload)
    path = folder / f"{hashlib.sha256(arch.encode()).hexdigest()}.{'tflite' if tflite else 'onnx'}"
    path.write_bytes(model)
    return path


def plain_latencies_ms(files: Mapping[str, Path], rounds: int, seed: int) -> dict[str, float]:
    """10th percentile of single runs by the wall clock, by architecture."""
    rng, names = np.random.default_rng(seed), list(files)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        timers = {name: stack.enter_context(Timer(files[name], wall=True)) for name in names}
        for _ in range(rounds):
            for place in rng.permutation(len(names)):
                samples[names[place]] += timers[names[place]].ask(TIMED_RUNS)
    return {name: float(np.quantile(own, QUANTILE)) for name, own in samples.items()}


def figures(
    networks: Mapping[str, Sequence[Mapping[str, Any]]], latencies_ms: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Of networks with and without a confidence, in one session or in several: share within the
    budget, the worst over it, mean use of the budget, and how predictions were off, in percent."""
    found = {}
    for name, rows in networks.items():
        measured_ms = np.array([[session[row["arch"]] for row in rows] for session in latencies_ms])
        use = measured_ms / [row["budget_ms"] for row in rows]
        ratio = measured_ms / [row["predicted_ms"] for row in rows]
        found[name] = {
            "within_pct": float(100 * (use <= 1).mean()),
            "worst_over_pct": float(100 * max(0.0, use.max() - 1)),
            "mean_use_pct": float(100 * use.mean()),
            "bias_pct": float(100 * (ratio.mean() - 1)),
            "spread_pct": float(100 * ratio.std()),
            "top1_pct": float(100 * np.mean([row["top1"] for row in rows])),
        }
    return found


def session(document: Mapping[str, Any], rounds: int, seed: int) -> dict[str, Any]:
    """One session's latencies of all networks, and what they say."""
    space, platform = SpaceRef(**document["space"]).open(), document["platform"]
    archs = dict.fromkeys(row["arch"] for rows in document["networks"].values() for row in rows)
    begun = now()
    with TemporaryDirectory() as folder:
        files = {arch: write_model(space, arch, platform, Path(folder)) for arch in archs}
        latencies_ms = plain_latencies_ms(files, rounds, seed)
    return {
        "begun": begun,
        "ended": now(),
        "boot_id": boot_id(),
        "figures": figures(document["networks"], [latencies_ms]),
        "latency_ms": latencies_ms,
    }


def opened_sessions(path: Path, networks: Path) -> dict[str, Any]:
    """The sessions of these networks; none yet where there is no file."""
    digest = hashlib.sha256(networks.read_bytes()).hexdigest()
    if not path.exists():
        return {"networks_sha256": digest, "sessions": []}
    found: dict[str, Any] = read_json(path)
    if found["networks_sha256"] != digest:
        raise InvalidInputError(f"{path} holds sessions of other networks than {networks}")
    return found


def show(name: str, found: Mapping[str, Mapping[str, float]]) -> None:
    for arm, row in found.items():
        print(
            f"{name:28} {arm:18} {row['within_pct']:5.1f} % within, worst "
            f"{row['worst_over_pct']:4.1f} % over, use {row['mean_use_pct']:5.1f} %, measured - "
            f"predicted {row['bias_pct']:+5.2f} ± {row['spread_pct']:.2f} %, top-1 "
            f"{row['top1_pct']:.2f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--sessions", type=Path, help="measure one more; without, generate only")
    parser.add_argument("--budgets", type=int, default=BUDGETS)
    parser.add_argument("--confidence", type=float, default=CONFIDENCE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if not arguments.networks.exists():
        made = generated(arguments.run, arguments.budgets, arguments.confidence)
        write_json(arguments.networks, made)
    document = read_json(arguments.networks)
    if arguments.sessions is None:
        return
    kept = opened_sessions(arguments.sessions, arguments.networks)
    kept["sessions"].append(session(document, arguments.rounds, seed=len(kept["sessions"])))
    for one in kept["sessions"]:
        show(one["begun"], one["figures"])
    latencies_ms = [one["latency_ms"] for one in kept["sessions"]]
    kept["figures"] = figures(document["networks"], latencies_ms)
    show(f"{len(latencies_ms)} sessions", kept["figures"])
    write_json(arguments.sessions, kept)


if __name__ == "__main__":
    main()
