"""Another program that times a file by its runtime's own API: it shares nothing with the profiler.

A process has one file, as it is deployed. What is started first gets the small pieces of free
memory and runs slower: `pnag devices` says where there are many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

ONNX_RUNTIME = """
import onnxruntime
def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
def fed(session):
    (image,) = session.get_inputs()
    values = {image.name: rng.standard_normal(image.shape, dtype=numpy.float32)}
    return lambda: session.run(None, values)
"""

LITERT = """
from ai_edge_litert.interpreter import Interpreter
def load(path):
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
def fed(interpreter):
    (image,) = interpreter.get_input_details()
    values = rng.standard_normal(image["shape"], dtype=numpy.float32)
    interpreter.set_tensor(image["index"], values)
    return interpreter.invoke
"""

# reads a number of runs, answers with ms of each; the first line is the cold start
TIMER = """
import json, sys, time
import numpy
WARM_S = 0.005
rng = numpy.random.default_rng(0)
clock = getattr(time, sys.argv[1])
begun = time.perf_counter()
model = load(sys.argv[2])
loaded = time.perf_counter()
run = fed(model)
made = time.perf_counter()
run()
print(json.dumps([1e3 * (loaded - begun), 1e3 * (time.perf_counter() - made)]), flush=True)
for line in sys.stdin:
    begun = time.perf_counter()
    while True:  # it slept, and others ran: as the profiler does before a block
        run()
        if time.perf_counter() - begun > WARM_S:
            break
    taken = []
    for _ in range(int(line)):
        begun = clock()
        run()
        taken.append(1e3 * (clock() - begun))
    print(json.dumps(taken), flush=True)
"""


class Timer:
    """The other program, with this file, of ONNX Runtime or LiteRT by its ending.

    Args:
        wall: time by the wall clock, not by the thread's own time.
    """

    def __init__(self, file: Path, *, wall: bool) -> None:
        clock = "perf_counter" if wall else "thread_time"
        program = (LITERT if file.suffix == ".tflite" else ONNX_RUNTIME) + TIMER
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, clock, str(file)],
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.load_ms, self.first_run_ms = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        answer: list[float] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, runs: int) -> list[float]:
        """Each of the runs, in ms."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()
