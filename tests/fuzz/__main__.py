"""Try many inputs of readers, and keep those that break the rule (tests/fuzz/campaign.py).

    python -m tests.fuzz --reader table --inputs 100000 --seed 0
    python -m tests.fuzz --inputs 100000 --minutes 30 --jobs 2 --out figures.json
    python -m tests.fuzz --engine atheris --reader onnx tflite --seconds 120 --inputs 10000000
    python -m tests.fuzz --list

Each reader runs in a process of its own, which is begun anew behind an input that ends it. A
finding is kept as a file, which belongs into tests/fuzz/findings/READER/ once it is mended. What
the file of `--out` says was tried is gone on from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.fuzz.guided import guided, watched
from tests.fuzz.trials import Batch, Engine, Worker, kind_of, seeded

LOOK_S = 1.0  # between looks at processes that tell nothing


@dataclass
class Figures:
    """Of one reader; `findings` are files by their kind."""

    inputs: int = 0
    cpu_seconds: float = 0.0
    slowest_s: float = 0.0
    slowest_input: int = -1
    peak_memory_mb: float = 0.0
    findings: dict[str, str] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        self.inputs += batch.inputs
        self.cpu_seconds += batch.cpu_seconds
        self.peak_memory_mb = max(self.peak_memory_mb, batch.peak_memory_mb)
        if batch.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest_input = batch.slowest_s, batch.slowest_input

    def line(self, name: str) -> str:
        rate = self.inputs / max(self.cpu_seconds, 1e-9)
        return (
            f"{name:20}{self.inputs:>10,} inputs{rate:>8.0f} a CPU second, slowest "
            f"{self.slowest_s:.2f} s (input {self.slowest_input}), {self.peak_memory_mb:.0f} MB, "
            f"findings {len(self.findings)}"
        )


class Campaign:
    """Readers in turn, `jobs` at once."""

    def __init__(self, engine: Engine, arguments: argparse.Namespace, begun: Mapping[str, Figures]):
        self._engine, self._given = engine, arguments
        self.figures = dict(begun)

    def run(self, names: Iterable[str]) -> None:
        """Until each has its inputs, or the time is over."""
        from tests.fuzz.readers import readers

        end = time.monotonic() + 60 * self._given.minutes
        waiting = deque(name for name in names if self._figures(name).inputs < self._given.inputs)
        until: dict[str, float] = {}
        running: dict[str, Worker] = {}
        while running or (waiting and time.monotonic() < end):
            while waiting and len(running) < self._given.jobs and time.monotonic() < end:
                name = waiting.popleft()
                until.setdefault(name, min(end, time.monotonic() + self._given.seconds))
                figures = self._figures(name)
                running[name] = Worker(
                    readers()[name], self._engine, begin=figures.inputs, end=self._given.inputs,
                    until=until[name], known=list(figures.findings),
                )  # fmt: skip
            for name in self._told(running):
                if self._ended(name, running.pop(name)) and time.monotonic() < until[name]:
                    waiting.appendleft(name)
            for worker in running.values():
                if worker.is_stuck():
                    worker.stop()

    def _told(self, running: Mapping[str, Worker]) -> list[str]:
        """Takes in what processes tell; names of those that ended."""
        ended, telling = [], wait([worker.pipe for worker in running.values()], LOOK_S)
        for name, worker in running.items():
            if worker.pipe not in telling:
                continue
            try:
                batch: Batch = worker.pipe.recv()
            except EOFError:
                ended.append(name)
                continue
            self._figures(name).add(batch)
            for why, data in batch.found:
                self._keep(name, why, data)
        return ended

    def _ended(self, name: str, worker: Worker) -> bool:
        """Whether it is to go on, behind the input that ended its process."""
        index, why, data = worker.ended()
        figures = self._figures(name)
        if why is not None and data is None:
            raise SystemExit(f"{name}: {why}, outside a trial")
        if why is not None and data is not None:
            figures.inputs = index
            self._keep(name, why, data)
        going_on = why is not None and index < self._given.inputs
        if not going_on:
            print(figures.line(name), flush=True)
        self.save()
        return going_on

    def _keep(self, name: str, why: str, data: bytes) -> None:
        path = self._given.findings / name / hashlib.sha256(data).hexdigest()[:12]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._figures(name).findings[kind_of(why)] = f"{path}: {why[:300]}"
        print(f"  {name}: {path}: {why[:300]}", flush=True)

    def _figures(self, name: str) -> Figures:
        return self.figures.setdefault(name, Figures())

    @property
    def total(self) -> dict[str, float]:
        every = self.figures.values()
        return {
            "readers": len(every),
            "inputs": sum(one.inputs for one in every),
            "cpu_seconds": sum(one.cpu_seconds for one in every),
            "findings": sum(len(one.findings) for one in every),
        }

    def save(self) -> None:
        if self._given.out is None:
            return
        document = {
            "engine": self._given.engine, "seed": self._given.seed, "total": self.total,
            "readers": {name: asdict(one) for name, one in sorted(self.figures.items())},
        }  # fmt: skip
        self._given.out.write_text(json.dumps(document, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reader", nargs="+", default=[], help="by default all")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader")
    parser.add_argument("--seconds", type=float, default=1e9, help="for each reader, at most")
    parser.add_argument("--minutes", type=float, default=1e9, help="for all, at most")
    parser.add_argument("--jobs", type=int, default=1, help="readers at once")
    parser.add_argument("--engine", choices=["seeded", "atheris"], default="seeded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"))
    parser.add_argument("--out", type=Path, help="figures as JSON; gone on from where it exists")
    parser.add_argument("--list", action="store_true", help="name the readers, and end")
    return parser.parse_args()


def begun(arguments: argparse.Namespace) -> dict[str, Figures]:
    """What `--out` holds of the same inputs."""
    if arguments.out is None or not arguments.out.exists():
        return {}
    document: dict[str, Any] = json.loads(arguments.out.read_text())
    if (document["engine"], document["seed"]) != (arguments.engine, arguments.seed):
        raise SystemExit(f"{arguments.out} holds figures of another engine or seed")
    return {name: Figures(**one) for name, one in document["readers"].items()}


def main() -> None:
    arguments = parsed()
    is_guided = arguments.engine == "atheris"
    counted: AbstractContextManager[None] = watched() if is_guided else nullcontext()
    with counted:
        from tests.fuzz.readers import readers

        unknown = set(arguments.reader) - set(readers())
        if unknown:
            raise SystemExit(f"no reader {', '.join(sorted(unknown))}; --list names them")
        if arguments.list:
            print("\n".join(readers()))
            return
        engine = guided(arguments.seed) if is_guided else seeded(arguments.seed)
        campaign = Campaign(engine, arguments, begun(arguments))
        try:
            campaign.run(arguments.reader or list(readers()))
        finally:
            campaign.save()
    print("{readers} readers, {inputs:,} inputs, {findings} findings".format(**campaign.total))
    raise SystemExit(bool(campaign.total["findings"]))


if __name__ == "__main__":
    main()
