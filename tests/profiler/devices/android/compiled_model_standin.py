"""Stands in for LiteRT's CompiledModel benchmark on the test phone; as benchmark_model_standin.py.

The printed forms follow google-ai-edge/LiteRT's litert/tools/benchmark_litert_model.{h,cc}, its log
(litert/c/internal/litert_logging.cc: severity, then the place) and tflite/core/subgraph.cc.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.profiler.devices.android.benchmark_model_standin import (
    FLAGS as CLASSIC_FLAGS,
)
from tests.profiler.devices.android.benchmark_model_standin import (
    Flags,
    distort,
    main,
    phase_lines,
    result_proto,
    stall,
    time_runs,
)

_CLASSIC_ONLY = ("use_xnnpack", "use_nnapi", "enable_op_profiling")
FLAGS: Flags = {
    name: form
    for name, form in CLASSIC_FLAGS.items()
    if name not in _CLASSIC_ONLY and not name.startswith("op_profiling")
} | {
    "use_cpu": ("true", "bool"),
    "use_gpu": ("false", "bool"),
    "use_npu": ("false", "bool"),
    "use_profiler": ("false", "bool"),
    "allow_fp16": ("true", "bool"),
    "gpu_low_priority": ("false", "bool"),
    "signature_to_run_for": ("", "string"),
}
PLACE = "[benchmark_litert_model.h:{}] "


def replaced_line(node: str, replaced: int, total: int, partitions: int = 1) -> str:
    return (
        f"VERBOSE: Replacing {replaced} out of {total} node(s) with delegate ({node}) node, "
        f"yielding {partitions} partitions for subgraph 0 (main)."
    )


def result_lines(
    init_us: int,
    warmup_us: Sequence[int],
    times_us: Sequence[int],
    *,
    memory_mb: tuple[float, float] | None = None,
    placed: bool = True,
) -> list[str]:
    """`BenchmarkLoggingListener::OnBenchmarkEnd`; builds of 2025 did not say the place."""
    mean_ms = [sum(times) / len(times) / 1e3 for times in (warmup_us, times_us)]
    deviation = (sum((t / 1e3 - mean_ms[1]) ** 2 for t in times_us) / len(times_us)) ** 0.5
    rows = [
        "\n========== BENCHMARK RESULTS ==========",
        f"Model initialization: {init_us / 1e3:.2f} ms",
        f"Warmup (first):       {warmup_us[0] / 1e3:.2f} ms",
        f"Warmup (avg):         {mean_ms[0]:.2f} ms ({len(warmup_us)} runs)",
        f"Inference (avg):      {mean_ms[1]:.2f} ms ({len(times_us)} runs)",
        f"Inference (min):      {min(times_us) / 1e3:.2f} ms",
        f"Inference (max):      {max(times_us) / 1e3:.2f} ms",
        f"Inference (std):      {deviation:.2f}",
        "Throughput:           197.97 MB/s",
    ]
    if memory_mb:
        rows += [
            "\nMemory Usage:",
            f"Init footprint:       {memory_mb[0]:.2f} MB",
            f"Overall footprint:    {memory_mb[1]:.2f} MB",
            "Peak memory usage not available. (peak_mem_mb <= 0)",
        ]
    rows.append("======================================\n")
    return [f"INFO: {PLACE.format(72 + i) if placed else ''}{row}" for i, row in enumerate(rows)]


def run(flags: dict[str, str], unknown: list[str], fault: str) -> int:
    from profiler.graph.litert import Model

    def log(*lines: str) -> None:  # Android's log also goes to stderr
        print(*lines, sep="\n", file=sys.stderr, flush=True)

    log("INFO: STARTING!")
    if unknown:
        log("WARN: Unconsumed cmdline flags: " + " ".join(unknown))
    on_gpu, on_cpu = (flags[f"use_{name}"] == "true" for name in ("gpu", "cpu"))
    full_wanted = flags["require_full_delegation"] == "true"
    if on_cpu and full_wanted:
        log("ERROR: Requesting full delegation and CPU acceleration are incompatible.")
        return 134  # it aborts
    begin = time.perf_counter_ns()
    model = Model(Path(flags["graph"]).read_bytes(), threads=int(flags["num_threads"]))
    init_us = (time.perf_counter_ns() - begin) // 1000
    full = model.fully_delegated and fault != "partial_delegate"
    if not full and full_wanted:
        log("ERROR: [compiled_model.cc:300] Failed to compile model", "ERROR: Benchmarking failed.")
        return 1
    if fault != "no_delegate":
        node = "LITERT_CL" if on_gpu else "TfLiteXNNPackDelegate"
        log(replaced_line(node, 9, 9) if full else replaced_line(node, 7, 9, 2))
    log(f"INFO: Initialized session in {init_us / 1e3:g}ms.")
    stall(fault)
    warmup_runs, warmup_s = int(flags["warmup_runs"]), float(flags["warmup_min_secs"])
    warmup_us = time_runs(model.invoke, warmup_runs, warmup_s)
    log(*phase_lines(warmup_runs, warmup_s, warmup_us, percentiles=True))
    runs, min_s = int(flags["num_runs"]), float(flags["min_secs"])
    times_us = time_runs(model.invoke, runs, min_s)
    text = "\n".join([
        *phase_lines(runs, min_s, times_us, percentiles=True),
        *result_lines(init_us, warmup_us, times_us, memory_mb=(6.14, 7.25)),
    ])  # fmt: skip
    if flags["result_file_path"]:
        Path(flags["result_file_path"]).write_bytes(result_proto(times_us, warmup_us))
    log(distort(text, fault))
    return 9 if fault == "late_exit" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], FLAGS, run, "--use_cpu=true"))
