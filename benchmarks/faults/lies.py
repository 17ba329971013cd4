"""Does a lie become `stable`? The sweep on a simulated device that lies, in many ways.

    python -m benchmarks.faults.lies --draws 20

Each lie is drawn anew, with another size, share or moment, for each try; of the canaries the truth
is told, so that nothing but what is measured gives it away. What comes out of the configurations
that were lied about is counted: a failure by its reason, a number by its verdict. The honest device
beside them shows what truth gives.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.landscape import write_json
from profiler.devices.base import Workload
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import MeasurementError, PnagError
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import FULL
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Verdict
from profiler.terminal import SILENT

SPACE = MobileNetV3Space()
CHOSEN = Chosen(
    tuple(list(SPACE.distinct_ops())[::32]), tuple(str(arch) for arch in SPACE.extremes())
)
PROTOCOL = replace(
    FULL, launches=1,
    stopping=replace(FULL.stopping, resamples=300, op_cap_s=20.0, network_cap_s=40.0),
    sampling=replace(FULL.sampling, deadline_s=0.5),
    repeats=replace(FULL.repeats, min_count=0, share=0.0),
)  # fmt: skip
LATE = 60  # samples, of at least 180: somewhere before, a late lie is told

Rng = np.random.Generator
# of the true ms, how many runs are asked for, and which sample of its configuration it is
Answer = Callable[[float, int, int], object]


def always(value: object) -> Callable[[Rng], Answer]:
    return lambda _: lambda ms, runs, at: value


def late(lie: Callable[[], object]) -> Callable[[Rng], Answer]:
    """The truth but for one sample."""

    def draw(rng: Rng) -> Answer:
        when = int(rng.integers(1, LATE))
        return lambda ms, runs, at: lie() if at == when else ms

    return draw


def constant(rng: Rng) -> Answer:
    value = float(10 ** rng.uniform(-3, 3))
    return lambda *_: value


def constant_for_each(rng: Rng) -> Answer:
    """In steps as coarse as a bad clock's."""
    step = float(rng.uniform(0.2, 2))
    return lambda ms, runs, at: step * np.ceil(ms / step)


def drifting(rng: Rng) -> Answer:
    """By 6 % to 100 %, faster or slower, over a hundred samples."""
    factor = float(np.exp(rng.choice([-1, 1]) * rng.uniform(np.log(1.06), np.log(2))))
    return lambda ms, runs, at: ms * factor ** (min(at, 100) / 100)


def stepping(rng: Rng) -> Answer:
    """Once, by 6 % to 100 %, in the middle: two fifths of the samples at least come before it, a
    quarter after. One that nearly all come after is a warm-up, and the latency the level after it.
    """
    factor, when = float(np.exp(rng.uniform(np.log(1.06), np.log(2)))), int(rng.integers(100, 130))
    return lambda ms, runs, at: ms * (factor if at > when else 1)


def bimodal(rng: Rng) -> Answer:
    """Two levels 6 % to 200 % apart, each of a fifth of the samples at least."""
    factor, share = float(rng.uniform(1.06, 3)), float(rng.uniform(0.2, 0.8))
    return lambda ms, runs, at: ms * (factor if rng.random() < share else 1)


def uniform(rng: Rng) -> Answer:
    """Anything up to 1.5 to 10 times the truth."""
    most = float(rng.uniform(1.5, 10))
    return lambda ms, runs, at: ms * rng.uniform(1, most)


def fails(*, transient: bool) -> object:
    raise MeasurementError("link lost", reason="link", transient=transient)


def fails_from_then_on(rng: Rng) -> Answer:
    when = int(rng.integers(1, LATE))
    return lambda ms, runs, at: fails(transient=True) if at >= when else ms


LIES: dict[str, Callable[[Rng], Answer]] = {
    "zero": always(0.0),
    "negative": always(-1.5),
    "NaN": always(float("nan")),
    "infinite": always(float("inf")),
    "nothing": always(None),
    "two numbers": always([1.0, 2.0]),
    "a text": always("2.0"),
    "zero, once": late(lambda: 0.0),
    "NaN, once": late(lambda: float("nan")),
    "constant": constant,
    "coarse": constant_for_each,
    "drifting": drifting,
    "stepping": stepping,
    "bimodal": bimodal,
    "uniform": uniform,
    "totals for means": lambda _: lambda ms, runs, at: ms * runs,
    "means divided again": lambda _: lambda ms, runs, at: ms / runs,
    "an error, late": late(lambda: fails(transient=False)),
    "errors from then on": fails_from_then_on,
    "hangs": late(lambda: time.sleep(60)),
}


def honest(rng: Rng) -> Answer:
    return lambda ms, runs, at: ms


class LyingDevice(FakeDevice):
    """
    Attributes:
        lied: keys of what it did not tell the truth about.
    """

    def __init__(self, answer: Answer, seed: int) -> None:
        super().__init__(seed)
        self.lied: set[str] = set()
        self._answer, self._asked = answer, Counter[str]()

    def draw_ms(self, workload: Workload, runs: int) -> float:
        true_ms = super().draw_ms(workload, runs)
        if workload.key.startswith("canary"):
            return true_ms
        self._asked[workload.key] += 1
        told: Any = None
        try:
            told = self._answer(true_ms, runs, self._asked[workload.key])
        finally:
            if told != true_ms:
                self.lied.add(workload.key)
        return told  # type: ignore[no-any-return]  # a lie is of any type


def outcomes(lie: Callable[[Rng], Answer], draws: int) -> Counter[str]:
    """Verdicts and reasons of failures in all draws, of what was lied about; honest, of all."""
    found: Counter[str] = Counter()
    request = ProfileRequest("fake", SPACE, Path("unwritten.json"), PROTOCOL, chosen=CHOSEN)
    for seed in range(draws):
        device = LyingDevice(lie(np.random.default_rng(seed)), seed)
        with Journal(None) as journal:
            try:
                table = Campaign(request, device, journal, SILENT).run()
            except PnagError as error:
                found[f"ends: {type(error).__name__}"] += 1
                continue
        came_out = {key: op.verdict.value for key, op in table.ops.items()}
        came_out |= {network.arch: network.verdict.value for network in table.networks}
        came_out |= {key: why.partition(":")[0] for key, why in table.failures.items()}
        found.update(came_out[key] for key in came_out if lie is honest or key in device.lied)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--lies", nargs="+", choices=LIES, default=list(LIES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/lies.json"))
    arguments = parser.parse_args()
    rows = []
    for name in ("honest", *arguments.lies):
        found = outcomes(LIES.get(name, honest), arguments.draws)
        rows.append({"lie": name, "outcomes": dict(found), "stable": found[Verdict.STABLE]})
        told = ", ".join(f"{count} {what}" for what, count in found.most_common())
        print(f"{name:20}{found.total():>5} {told}", flush=True)
    write_json(arguments.out, {"draws": arguments.draws, "rows": rows})


if __name__ == "__main__":
    main()
