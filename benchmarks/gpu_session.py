"""What a short lease of a GPU is for, most wanted first, in under 8 minutes.

    sh benchmarks/gpu_session.sh RESULTS          # on the machine that has the GPU
    python -m benchmarks.gpu_session RESULTS --device fake --networks 4 --quick     # a rehearsal

RESULTS gets the card's facts, the outcome of the tests marked gpu, and for batch 1 and 64 a table,
networks held out from it, measured quickly and by torch alone, and five networks generated,
measured and predicted. ONNX files in RESULTS/models are measured as well. STEP.out and STEP.log
hold what a step printed on stdout and stderr. A step that fails keeps back only those that need its
file.

With the same RESULTS again it goes on: what ended well is left alone, and a table's sweep that was
cut off continues from its journal. `summary.json` says how each step ended and what was found.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import MAIN
from benchmarks.held_out import mape_pct
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import read_json
from profiler.tables.table import load_table

BATCH_SIZES = (1, 64)
N_BUDGETS = 5
SECONDS = 470.0
LAST_WORDS_S = 10.0  # after an interrupt, for clocks to be put back and the journal written
SHORTEST_STEP_S = 5.0  # what has less time left is not begun
PYTHON = sys.executable
PNAG = (PYTHON, "-c", MAIN)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the most it may take, and the file without which it is not begun."""

    name: str
    limit_s: float
    command: tuple[str, ...]
    needs: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: done, done before, failed, cut off, or not begun."""

    step: str
    outcome: str
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything")
    parser.add_argument("--networks", type=int, default=30, help="that calibrate a table")
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--evaluations", type=int, default=4000, help="of training")
    parser.add_argument("--quick", action="store_true", help="wider limits of measuring")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + arguments.seconds
    outcomes: list[Outcome] = []
    for step in steps(arguments):
        outcomes.append(run(step, arguments.results, deadline_s))
        print(f"{step.name}: {outcomes[-1].outcome} ({outcomes[-1].seconds:.0f} s)", flush=True)
        summarize(arguments.results, outcomes)
    if any(outcome.outcome not in ("done", "done before") for outcome in outcomes):
        sys.exit(1)


def steps(arguments: argparse.Namespace) -> Iterator[Step]:
    """In the order of their worth; a step's command is made when its turn has come."""
    results, device = arguments.results, arguments.device
    quick = ("--quick",) if arguments.quick else ()
    yield Step("card", 20, ("nvidia-smi", "-q"))
    yield Step("devices", 20, (*PNAG, "devices"))
    yield Step(
        "tests", 90, (PYTHON, "-m", "pytest", "-q", "-m", "gpu", "tests/profiler/devices/cuda")
    )
    for batch_size in BATCH_SIZES:
        table = results / f"batch{batch_size}.json"
        networks = ("--networks", str(arguments.networks), "--batch-size", str(batch_size))
        command = (*PNAG, "profile", "--device", device, "--space", "mbv3", *networks, *quick)
        yield Step(table.stem, 160, (*command, "--out", str(table)))
    for batch_size in BATCH_SIZES:
        table, held_out = (results / f"{name}{batch_size}.json" for name in ("batch", "held_out"))
        unseen = (str(table), "--networks", str(arguments.held_out), "--out", str(held_out))
        command = (PYTHON, "-m", "benchmarks.held_out", *unseen, "--quick")
        yield Step(held_out.stem, 120, command, needs=table)
        plain = (str(table), str(held_out), str(results / f"plain{batch_size}.json"))
        command = (PYTHON, "-m", "benchmarks.plain_gpu_timer", *plain)
        if device != "fake":
            yield Step(f"plain{batch_size}", 40, command, needs=held_out)
    models = sorted((results / "models").glob("*.onnx"))
    if models:
        given = [word for path in models for word in ("--model", str(path))]
        out = ("--out", str(results / "measured_models.json"))
        yield Step("models", 60, (*PNAG, "profile", "--device", device, *given, *quick, *out))
    for batch_size in BATCH_SIZES:
        yield from searching(arguments, batch_size)


def searching(arguments: argparse.Namespace, batch_size: int) -> Iterator[Step]:
    """Training on the table of a batch size, and networks generated, measured and predicted."""
    table = arguments.results / f"batch{batch_size}.json"
    run_directory = arguments.results / f"run{batch_size}"
    settings = ("--evaluations", str(arguments.evaluations), "--out", str(run_directory))
    resume = ("--resume",) if run_directory.exists() else ()
    train = (*PNAG, "train", "--latency-table", str(table), *settings, *resume)
    yield Step(f"train{batch_size}", 90, train, needs=table)
    budgets = [word for ms in budgets_ms(table) for word in ("--budget", f"{ms:.4g}ms")]
    verify = ("--verify-on", arguments.device, "--candidates", "1", "--json")
    generate = (*PNAG, "generate", "--run", str(run_directory), *budgets, *verify)
    yield Step(f"generated{batch_size}", 60, generate, needs=run_directory / "frontier.json")


def budgets_ms(table: Path) -> list[float]:
    """Evenly spaced between the networks that calibrate it, without the outermost."""
    if not table.exists():
        return []
    measured_ms = [network.latency_ms for network in load_table(table).networks]
    return list(np.linspace(min(measured_ms), max(measured_ms), N_BUDGETS + 2)[1:-1])


def run(step: Step, results: Path, deadline_s: float) -> Outcome:
    """Run a step once, in the time that is left; what it prints goes to its log."""
    done = results / f"{step.name}.done"
    limit_s = min(step.limit_s, deadline_s - time.monotonic())
    if done.exists():
        return Outcome(step.name, "done before")
    if limit_s < SHORTEST_STEP_S or (step.needs is not None and not step.needs.exists()):
        return Outcome(step.name, "not begun")
    began_s = time.monotonic()
    out, log = (results / f"{step.name}.{suffix}" for suffix in ("out", "log"))
    outcome = run_command(step.command, limit_s, out, log)
    if outcome == "done":
        done.touch()
    return Outcome(step.name, outcome, round(time.monotonic() - began_s, 1))


def run_command(command: Sequence[str], limit_s: float, out: Path, log: Path) -> str:
    """Interrupted at its limit, as from the keyboard, so that it ends as it does for a user."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with out.open("wb") as stdout, log.open("ab") as stderr:
        try:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
        except FileNotFoundError as error:
            stderr.write(f"{error}\n".encode())
            return "failed"
    try:
        return "done" if process.wait(limit_s) == 0 else "failed"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return "cut off"


def summarize(results: Path, outcomes: Sequence[Outcome]) -> None:
    """What there is to report so far."""
    document: dict[str, Any] = {"steps": [asdict(outcome) for outcome in outcomes]}
    for batch_size in BATCH_SIZES:
        table, held_out = (results / f"{name}{batch_size}.json" for name in ("batch", "held_out"))
        figures: dict[str, Any] = {}
        if table.exists():
            figures["device"] = asdict(load_table(table).device)
        if held_out.exists():
            figures["held_out_mape_pct"] = mape_pct(load_table(table), load_table(held_out))
        plain = results / f"plain{batch_size}.json"
        if plain.exists():
            figures["plain_timer"] = read_json(plain)
        if (results / f"generated{batch_size}.done").exists():
            figures["generated"] = json.loads((results / f"generated{batch_size}.out").read_text())
        document[f"batch {batch_size}"] = figures
    write_text_atomic(results / "summary.json", json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
