"""Stands in for `benchmark_model` on the test phone: the same flags, the same output, and a real
latency, because it runs the model in the host's LiteRT.

The printed forms follow tensorflow/lite/tools/benchmark/benchmark_model.cc,
tensorflow/core/util/stats_calculator.{h,cc} and proto/benchmark_result.proto. The file
`$PHONE/state/fault` makes it misbehave once per line, the way real builds and phones do.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Flags = dict[str, tuple[str, str]]
Run = Callable[[dict[str, str], list[str], str], int]
FLAGS: Flags = {  # name -> (default, type)
    "graph": ("", "string"),
    "num_runs": ("50", "int32"),
    "min_secs": ("1", "float"),
    "max_secs": ("150", "float"),
    "warmup_runs": ("1", "int32"),
    "warmup_min_secs": ("0.5", "float"),
    "num_threads": ("-1", "int32"),
    "use_xnnpack": ("false", "bool"),
    "use_gpu": ("false", "bool"),
    "use_nnapi": ("false", "bool"),
    "require_full_delegation": ("false", "bool"),
    "enable_op_profiling": ("false", "bool"),
    "op_profiling_output_mode": ("stdout", "string"),
    "op_profiling_output_file": ("", "string"),
    "result_file_path": ("", "string"),
    "help": ("false", "bool"),
}


def stats_line(times_us: Sequence[int], *, percentiles: bool = False) -> str:
    """`Stat::OutputToStream`: ostream prints doubles with six digits, like `%g`."""
    count, last = len(times_us), times_us[-1]
    if min(times_us) == max(times_us):
        return f"count={count} curr={last}" + ("(all same)" if count > 1 else "")
    mean = sum(times_us) / count
    std = int((sum(t * t for t in times_us) / count - mean**2) ** 0.5)
    line = f"count={count} first={times_us[0]} curr={last} min={min(times_us)}"
    line += f" max={max(times_us)} avg={mean:g} std={std}"
    if percentiles:
        ordered = sorted(times_us)
        p5, median, p95 = (ordered[int(q * (count - 1))] for q in (0.05, 0.5, 0.95))
        line += f" p5={p5} median={median} p95={p95}"
    return line


def phase_lines(runs: int, min_s: float, times_us: Sequence[int], **style: bool) -> list[str]:
    return [
        f"INFO: Running benchmark for at least {runs} iterations and at least {min_s:g} seconds"
        " but terminate if exceeding 150 seconds.",
        "INFO: " + stats_line(times_us, **style),
        "",
    ]


def summary_line(init_us: int, warmup_us: Sequence[int], times_us: Sequence[int]) -> str:
    return (
        f"INFO: Inference timings in us: Init: {init_us}, First inference: {warmup_us[0]}, "
        f"Warmup (avg): {sum(warmup_us) / len(warmup_us):g}, "
        f"Inference (avg): {sum(times_us) / len(times_us):g}"
    )


def profile_csv(
    nodes: Sequence[tuple[str, str, Sequence[int]]], *, start_column: bool = False
) -> str:
    """The op profile of `nodes` (type, name, µs of each run); older builds have `start`."""
    runs = len(nodes[0][2])
    totals_us = [sum(node[2][run] for node in nodes) for run in range(runs)]
    start_name = "start, " if start_column else ""
    rows, elapsed_us = [], 0
    for node_type, name, times_us in nodes:
        start = f"{elapsed_us / runs / 1e3:g}, " if start_column else ""
        elapsed_us += sum(times_us)
        rows.append(
            f"{node_type}, {start}{times_us[0] / 1e3:g}, {sum(times_us) / runs / 1e3:g}, "
            f"{100 * sum(times_us) / sum(totals_us):g}%, "
            f"{100 * elapsed_us / sum(totals_us):g}%, 0, 1, {name}"
        )
    table = [f"node type, {start_name}first, avg_ms, %, cdf%, mem KB, times called, name", *rows]
    bar = "=" * 30
    return "\n".join([
        "Profiling Info for Benchmark Initialization:",
        f"{bar} Run Order {bar}",
        table[0],
        f"AllocateTensors, {'0, ' if start_column else ''}0.029, 0.029, 100%, 100%, 0, 1, "
        "AllocateTensors/0",
        "",
        "Timings (microseconds): count=1 curr=29",
        "Memory (bytes): count=0",
        "1 nodes observed",
        "",
        "Operator-wise Profiling Info for Regular Benchmark Runs:",
        f"{bar} Run Order {bar}",
        *table,
        "",
        f"{bar} Top by Computation Time {bar}",
        *table,
        "",
        f"Number of nodes executed: {len(nodes)}",
        "",
        f"Timings (microseconds): {stats_line(totals_us)}",
        "Memory (bytes): count=0",
        f"{len(nodes)} nodes observed",
        "",
    ])  # fmt: skip


def result_proto(times_us: Sequence[int], warmup_us: Sequence[int]) -> bytes:
    """A serialised BenchmarkResult with its latency and misc metrics."""
    mean_ms = sum(times_us) / len(times_us) / 1e3
    latency = b"".join(
        bytes([number << 3 | 5]) + struct.pack("<f", value)
        for number, value in ((1, mean_ms), (2, min(times_us) / 1e3), (3, max(times_us) / 1e3))
    )
    misc = b"\x10" + _varint(len(times_us)) + b"\x18" + _varint(len(warmup_us))
    return b"\x12" + _varint(len(latency)) + latency + b"\x22" + _varint(len(misc)) + misc


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def usage(known: Flags = FLAGS) -> str:
    rows = [f"\t--{name}={default}\t{kind}\toptional\t" for name, (default, kind) in known.items()]
    return "\n".join(["usage: benchmark_model <flags>", "Flags:", *rows])


def time_runs(invoke: Callable[[], object], runs: int, min_s: float) -> list[int]:
    """Latencies in µs: at least `runs`, and for at least `min_s` seconds."""
    times_us: list[int] = []
    begin = time.perf_counter()
    while len(times_us) < runs or time.perf_counter() - begin < min_s:
        start = time.perf_counter_ns()
        invoke()
        times_us.append((time.perf_counter_ns() - start) // 1000)
    return times_us


def next_fault() -> str:
    """Takes the first line of the file `fault`, if there is one."""
    path = Path(os.environ.get("PHONE", ".")) / "state/fault"
    if not path.exists():
        return ""
    fault, _, rest = path.read_text().partition("\n")
    path.write_text(rest)
    return fault


def run(flags: dict[str, str], unknown: list[str], fault: str) -> int:
    """One benchmark; prints as it goes, so that a kill leaves a cut output."""
    from profiler.graph.litert import Model

    def say(*lines: str) -> None:
        print(*lines, sep="\n", flush=True)

    say("INFO: STARTING!")
    if unknown:
        say("WARN: Unconsumed cmdline flags: " + " ".join(unknown))
    begin = time.perf_counter_ns()
    model = Model(Path(flags["graph"]).read_bytes(), threads=int(flags["num_threads"]))
    init_us = (time.perf_counter_ns() - begin) // 1000
    full = model.fully_delegated and fault != "partial_delegate"
    chosen = [name for name in ("gpu", "nnapi") if flags[f"use_{name}"] == "true"]
    delegate = chosen[0].upper() if chosen else "XNNPACK"
    if not full and flags["require_full_delegation"] == "true":
        print("ERROR: Disallowed CPU fallback detected.", file=sys.stderr)
        return 1
    how = "completely" if full else "partially"
    if fault != "no_delegate":
        say(
            f"INFO: Explicitly applied {delegate} delegate, and the model graph will be {how} "
            "executed by the delegate."
        )
    stall(fault)
    warmup_runs, warmup_s = int(flags["warmup_runs"]), float(flags["warmup_min_secs"])
    warmup_us = time_runs(model.invoke, warmup_runs, warmup_s)
    say(*phase_lines(warmup_runs, warmup_s, warmup_us))
    runs, min_s = int(flags["num_runs"]), float(flags["min_secs"])
    times_us = time_runs(model.invoke, runs, min_s)
    text = "\n".join([
        *phase_lines(runs, min_s, times_us, percentiles=True),
        summary_line(init_us, warmup_us, times_us),
    ])  # fmt: skip
    if flags["result_file_path"]:
        Path(flags["result_file_path"]).write_bytes(result_proto(times_us, warmup_us))
    if flags["enable_op_profiling"] == "true":
        name = "TfLiteXNNPackDelegate"
        Path(flags["op_profiling_output_file"]).write_text(
            profile_csv([(name, "[output]:0", times_us)])
        )
    say(distort(text, fault))
    return 9 if fault == "late_exit" else 0


def stall(fault: str) -> None:
    if fault == "hang":
        time.sleep(3600)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def distort(text: str, fault: str) -> str:
    """The output as a broken build, locale or log would leave it."""
    at = text.index("curr=") + 2  # within a word
    match fault:
        case "truncated":
            return text[:at]
        case "localized":
            return text.replace(".", ",")
        case "interleaved":
            return text[:at] + "INFO: Initialized TensorFlow Lite runtime.\n" + text[at:]
        case "garbage":
            return "\x00\xff\x1b[31m" * 40
        case "mismatch":
            return re.sub(r"(Inference \(avg\): +)", r"\g<1>1", text)
    return text


def main(arguments: Sequence[str], known: Flags, run: Run, alien_flag: str) -> int:
    """What a benchmark tool does with its flags; `alien_flag` is one that a broken build lacks."""
    flags = {name: default for name, (default, _) in known.items()}
    unknown = []
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name in known:
            flags[name] = value or "true"
        else:
            unknown.append(argument)
    if flags["help"] != "false":
        print("ERROR: " + usage(known), file=sys.stderr)
        return 1
    fault = next_fault()
    if fault == "unknown_flag":
        unknown.append(alien_flag)
    return run(flags, unknown, fault)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], FLAGS, run, "--use_xnnpack=true"))
