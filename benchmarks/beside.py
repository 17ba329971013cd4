"""Another program that times the same files with ONNX Runtime while they are measured.

It shares nothing with the profiler. After each block of a sweep it takes as many samples of the
same file: the same number in the same minutes, however busy the machine is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from profiler.devices.base import DeviceState, ModelWorkload, PreparedWorkload, Workload
from profiler.devices.host.cpu import CpuDevice

# reads the number of a file and of runs, answers with ms of each; the first line is the cold start
TIMER = """
import json, sys, time
import numpy, onnxruntime
WARM_S = 0.005
clock = getattr(time, sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
begun = time.perf_counter()
provider = ["CPUExecutionProvider"]
sessions = [onnxruntime.InferenceSession(f, options, provider) for f in sys.argv[2:]]
loaded = time.perf_counter()
(image,) = sessions[0].get_inputs()
rng = numpy.random.default_rng(0)
feed = {image.name: rng.standard_normal(image.shape, dtype=numpy.float32)}
made = time.perf_counter()
sessions[0].run(None, feed)
print(json.dumps([1e3 * (loaded - begun), 1e3 * (time.perf_counter() - made)]), flush=True)
for line in sys.stdin:
    at, runs = map(int, line.split())
    begun = time.perf_counter()
    while True:  # it slept, and others ran: as the profiler does before a block
        sessions[at].run(None, feed)
        if time.perf_counter() - begun > WARM_S:
            break
    taken = []
    for _ in range(runs):
        begun = clock()
        sessions[at].run(None, feed)
        taken.append(1e3 * (clock() - begun))
    print(json.dumps(taken), flush=True)
"""


class Timer:
    """The other program, with these files.

    Args:
        wall: time by the wall clock, not by the thread's own time.
    """

    def __init__(self, files: Sequence[Path], *, wall: bool) -> None:
        clock = "perf_counter" if wall else "thread_time"
        self._process = subprocess.Popen(
            [sys.executable, "-c", TIMER, clock, *map(str, files)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.load_ms, self.first_run_ms = self._answer()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        answer: list[float] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, at: int, runs: int) -> list[float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{at} {runs}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()


class Beside(CpuDevice):
    """After each block, of which the sweep then asks the state, the other program has its turn.

    Args:
        files: of the other program.
        which: of these a workload is; None: the other program has none.
        runs: samples that it takes after a block.

    Attributes:
        samples_ms: that it took, by file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        which: Callable[[Workload | ModelWorkload], int | None],
        runs: int,
        *,
        wall: bool,
    ) -> None:
        super().__init__(wall_clock=wall)
        self._which, self._runs = which, runs
        self._timer = Timer(files, wall=wall)
        self.last: int | None = None
        self.samples_ms: dict[int, list[float]] = defaultdict(list)

    def prepare(self, workload: Workload) -> Noted:  # type: ignore[override]
        return Noted(self, self._which(workload), super().prepare(workload))

    def prepare_model(self, workload: ModelWorkload) -> Noted:  # type: ignore[override]
        return Noted(self, self._which(workload), super().prepare_model(workload))

    def state(self) -> DeviceState:
        if self.last is not None:
            self.samples_ms[self.last] += self._timer.ask(self.last, self._runs)
        return super().state()

    def close(self) -> None:
        self._timer.close()
        super().close()


class Noted:
    """A prepared workload that tells its device when it was at work."""

    def __init__(self, device: Beside, at: int | None, prepared: PreparedWorkload) -> None:
        self._device, self._at, self._prepared = device, at, prepared

    def sample_ms(self, runs: int) -> float:
        self._device.last = self._at
        return self._prepared.sample_ms(runs)

    def close(self) -> None:
        self._prepared.close()
