"""How soon is a throttling step seen in a machine's own noise, and how often where there is none?

The noise is that of recorded loads: journals of `pnag profile --protocol sustained` on a machine
that does nothing else. A trace is ten minutes of stretches drawn from one of them, blocks as they
were recorded; from a moment on all samples take longer by the step. It is found if the samples
until `--within` seconds later show a change no farther from that moment. A flat trace has no step.

    pnag profile --device cpu --model net.onnx --protocol sustained --minutes 5 --out flat.json
    python -m benchmarks.throttling flat.journal.sqlite --step 0.05 --out throttling.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from profiler.measuring.journal import Journal
from profiler.measuring.load import Course, course_of
from profiler.measuring.protocol import FULL, SUSTAINED
from profiler.measuring.records import Block

TRACE_S = 600.0
STRETCH_S = 20.0  # what is drawn together: slow noise stays slow
N_LOOKS = 4  # of a trace, until the step must be found
EARLIEST_S, LATEST_S = 120.0, 540.0  # of the step


@dataclass(frozen=True)
class Recorded:
    """Stretches of one recorded sweep: of each its blocks, by configuration."""

    stretches: tuple[tuple[tuple[int, Block], ...], ...]
    n_configurations: int

    def trace(self, seed: int, step: float) -> tuple[list[list[Block]], float]:
        """Blocks of each configuration, and when the step is."""
        rng = np.random.default_rng(seed)
        at_s = float(rng.uniform(EARLIEST_S, LATEST_S))
        blocks: list[list[Block]] = [[] for _ in range(self.n_configurations)]
        for place in range(int(TRACE_S / STRETCH_S)):
            for configuration, block in self.stretches[rng.integers(len(self.stretches))]:
                time_s = place * STRETCH_S + block.started_s
                factor = 1 + step * (time_s >= at_s)
                samples_ms = tuple(factor * ms for ms in block.samples_ms)
                blocks[configuration].append(
                    replace(block, started_s=time_s, samples_ms=samples_ms)
                )
        return blocks, at_s


def recorded(path: Path) -> Recorded:
    """The longest sweep of a journal."""
    with Journal(path, read_only=True) as journal:
        by_key = [journal.blocks(key) for key in journal.outcomes()]
    sweeps = [block.sweep for blocks in by_key for block in blocks]
    longest = max(set(sweeps), key=sweeps.count)
    found = [
        (at, block)
        for at, blocks in enumerate(by_key)
        for block in blocks
        if block.sweep == longest
    ]
    begin_s = min(block.started_s for _, block in found)
    count = int((max(block.started_s for _, block in found) - begin_s) / STRETCH_S)
    stretches: list[list[tuple[int, Block]]] = [[] for _ in range(count)]
    for at, block in found:
        place, time_s = divmod(block.started_s - begin_s, STRETCH_S)
        if place < count:
            stretches[int(place)].append((at, replace(block, started_s=time_s)))
    return Recorded(tuple(map(tuple, stretches)), len(by_key))


def until(blocks: Sequence[Sequence[Block]], end_s: float) -> Course:
    before = [[block for block in one if block.started_s < end_s] for one in blocks]
    kept = [one for one in before if one]
    return course_of(kept, SUSTAINED.window_s, FULL.estimator.quantile)


def delay_s(blocks: Sequence[Sequence[Block]], at_s: float, within_s: float) -> float | None:
    """How long after a step a change is seen that is no farther from it; None: not in time."""
    for later_s in np.linspace(0, within_s, N_LOOKS + 1)[1:]:
        course = until(blocks, at_s + float(later_s))
        found_s = [course.times_s[at] for at in course.changes(SUSTAINED)]
        if any(abs(time_s - at_s) <= within_s for time_s in found_s):
            return float(later_s)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("journals", type=Path, nargs="+")
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--within", type=float, default=60.0)
    parser.add_argument("--traces", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    noises = [recorded(path) for path in arguments.journals]
    delays, alarms, scatter = [], 0, []
    for seed in range(arguments.traces):
        noise = noises[seed % len(noises)]
        stepped, at_s = noise.trace(seed, arguments.step)
        delays.append(delay_s(stepped, at_s, arguments.within))
        flat = until(noise.trace(seed, 0.0)[0], TRACE_S)
        alarms += bool(flat.changes(SUSTAINED))
        scatter.append(float(np.std(flat.levels)))
    seen = [delay for delay in delays if delay is not None]
    figures = {
        "step": arguments.step,
        "traces": arguments.traces,
        "found": len(seen),
        "median_delay_s": float(np.median(seen)) if seen else None,
        "flat_traces_with_an_alarm": alarms,
        "scatter_of_windows_pct": 100 * float(np.median(scatter)),
    }
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):28} {value:.4g}" if value is not None else name)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
