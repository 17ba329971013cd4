"""What is left when commands are disturbed? Each that writes, by each fault, many times.

    python -m benchmarks.faults --kills 200 --jobs 2

A command is begun and gets SIGKILL at a random moment of the time that it takes undisturbed; or
Ctrl-C, or SIGTERM; or files may not grow, the disk is full or read-only, memory is short, the same
command is begun twice, the clock jumps, or what it goes on from is damaged. Then what it left is
looked at: each file is whole, or as it was, nothing that was done is lost, and whatever is said is
one line. Let go on, it must be done, with the bytes of an undisturbed run where those are promised.

Devices that lie are in `benchmarks.faults.lies`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.injected import Disk, Fault, faults
from benchmarks.faults.trials import Trial
from benchmarks.faults.writers import WRITERS, made_small
from benchmarks.landscape import write_json
from profiler.system.lock import TEST_NAMESPACE

# a fork has one thread; and commands of two jobs are not to wait for each other's device
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ORT_DISABLE_TELEMETRY")
ONE_THREAD = dict.fromkeys(THREADS, "1")


def all_figures(arguments: argparse.Namespace) -> None:
    """Faults injected into each command, and what was wrong after them: a line of JSON for each."""
    only, share_s = arguments.faults, 60 * arguments.minutes / len(arguments.commands)
    made_small()
    # a shell has what it begins in the background ignore Ctrl-C, and what that begins, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is mounted is not left so
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "disk").mkdir()
        disk = Disk(place / "disk")
        mounted = disk.mount()
        try:
            for name in arguments.commands:
                until_s = time.monotonic() + share_s
                rng = np.random.default_rng([arguments.seed, *name.encode()])
                trial = Trial(WRITERS[name], place, disk.place, rng)
                found = faults(arguments.kills, disk if mounted else None)
                attack(trial, {f: found[f] for f in found if not only or f in only}, until_s)
        finally:
            if mounted:
                disk.unmount()


def attack(trial: Trial, found: dict[str, tuple[Fault, int]], until_s: float) -> None:
    """In random order; what came of it is printed, though it be stopped."""
    order = [fault for fault, (_, count) in found.items() for _ in range(count)]
    came, begun_s = Counter(dict.fromkeys(found, 0)), time.monotonic()
    try:
        for at in trial.rng.permutation(len(order)):
            if time.monotonic() > until_s:
                break
            inject, _ = found[order[at]]
            came[order[at]] += inject(trial)
    finally:
        row = {
            "command": trial.writer.name, "seconds": round(trial.seconds, 3), "faults": came,
            "temporary_left": trial.temporary_left, "wrong": trial.wrong,
            "took_s": round(time.monotonic() - begun_s),
        }  # fmt: skip
        print(json.dumps(row), flush=True)


def in_a_process(
    names: Sequence[str], arguments: argparse.Namespace, rows: list[dict[str, Any]]
) -> None:
    """`all_figures` in a process of its own, which forks; `rows` get what it finds."""
    facts = {"kills": arguments.kills, "seed": arguments.seed}
    command = [sys.executable, "-m", "benchmarks.faults", "--here", "--commands", *names]
    for option in ("kills", "minutes", "seed"):
        command += [f"--{option}", str(getattr(arguments, option))]
    if arguments.faults:
        command += ["--faults", *arguments.faults]
    environment = os.environ | ONE_THREAD | {TEST_NAMESPACE: f"faults {os.getpid()} {names[0]}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            rows.append(json.loads(line))
            print_row(rows[-1])
            write_json(arguments.out, facts | {"rows": rows})


def print_row(row: dict[str, Any]) -> None:
    kills, n_faults = row["faults"].get("kill", 0), sum(row["faults"].values())
    print(
        f"{row['command']:22}{row['seconds']:>8.2f}{kills:>7}{n_faults:>8}"
        f"{row['temporary_left']:>6}{len(row['wrong']):>7}{row['took_s']:>7}",
        flush=True,
    )
    for what, count in Counter(row["wrong"]).most_common(8):
        print(f"    {count} x {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--faults", nargs="+", help="These alone.")
    parser.add_argument("--kills", type=int, default=200, help="Of each; of other faults fewer.")
    parser.add_argument("--minutes", type=float, default=60, help="In all: what is left is left.")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        all_figures(arguments)
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is for the others, whose rows come yet
    print(f"{'':22}{'seconds':>8}{'kills':>7}{'faults':>8}{'left':>6}{'wrong':>7}{'took s':>7}")
    shares = [arguments.commands[at :: arguments.jobs] for at in range(arguments.jobs)]
    attacked = partial(in_a_process, arguments=arguments, rows=[])
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(attacked, filter(None, shares)))


if __name__ == "__main__":
    main()
