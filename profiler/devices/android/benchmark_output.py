"""What TFLite's `benchmark_model` says of one run, read strictly: a number or a typed failure.

The tool prints only aggregates, each of them twice (a `count=` line and the summary), with
ostream's six digits. Both must agree to the last digit, so that a cut or mixed line is noticed.
Format: tensorflow/lite/tools/benchmark/benchmark_model.cc.
"""

from __future__ import annotations

import re

from profiler.devices.android.benchmark_lines import (
    NUMBER,
    BenchmarkTimings,
    PhaseStats,
    check_inference,
    failure,
    log_lines,
    two_phases,
    unreadable,
)

_SUMMARIES = (
    re.compile(
        rf"Inference timings in us: Init: (?P<init>{NUMBER}), "
        rf"First inference: (?P<first>{NUMBER}), Warmup \(avg\): (?P<warmup>{NUMBER}), "
        rf"Inference \(avg\): (?P<inference>{NUMBER})"
    ),
    re.compile(  # until 2019
        rf"Average inference timings in us: Warmup: (?P<warmup>{NUMBER}), "
        rf"Init: (?P<init>{NUMBER}), Inference: (?P<inference>{NUMBER})(?P<first>)"
    ),
)
_MEMORY = re.compile(
    rf"Memory footprint delta from the start of the tool \(MB\): init={NUMBER} "
    rf"overall=({NUMBER})"
)
_SUMMARY_START = re.compile(r"(?:Average inference|Inference) timings in us: ")
_TITLES = {"cpu": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI"}  # names of delegate providers


def parse_benchmark_output(
    text: str, *, runs: int, delegate: str = "cpu", require_full_delegation: bool = True
) -> BenchmarkTimings:
    """Mean latency from the text of one run that asked for at least `runs` inferences.

    Raises:
        MeasurementError: with reason unknown_flag, bad_flag, delegate_not_applied,
            missing_summary, garbled_output, localized_number, all_same, incomplete_run,
            parse_mismatch or nonpositive_latency.
    """
    lines = log_lines(text)
    partly = _check_delegate(lines, _TITLES[delegate], require_full_delegation)
    warmup, inference, requested = two_phases(lines)
    summaries = [line for line in lines if _SUMMARY_START.match(line)]
    if not summaries:
        raise failure("printed no complete summary", "missing_summary")
    if len(summaries) > 1:
        raise failure("printed more than one summary (two runs mixed?)", "garbled_output")
    init_us = _init_us(summaries[0], warmup, inference)
    check_inference(inference, requested, runs)
    memory = next((match[1] for line in lines if (match := _MEMORY.fullmatch(line))), None)
    return BenchmarkTimings(
        inference.avg_us / 1e3, inference.count, warmup.avg_us / 1e3, warmup.count,
        init_us / 1e3, warmup.first_ms,
        float(memory) or None if memory else None, partly,
    )  # fmt: skip


def _check_delegate(lines: list[str], delegate: str, require_full: bool) -> bool:
    """Whether it ran a part only."""
    applied = re.compile(
        rf"Explicitly applied {re.escape(delegate)} delegate, and the model graph will be "
        r"(completely|partially) executed by the delegate.*"
    )
    found = [match[1] for line in lines if (match := applied.fullmatch(line))]
    if not found:
        raise failure(f"does not say that {delegate} was applied", "delegate_not_applied")
    if require_full and "partially" in found:
        raise failure(f"ran only a part of the model in {delegate}", "delegate_not_applied")
    return "partially" in found


def _init_us(line: str, warmup: PhaseStats, inference: PhaseStats) -> float:
    """Time to load, of a summary that repeats what the phases printed."""
    match = next((m for pattern in _SUMMARIES if (m := pattern.fullmatch(line))), None)
    if match is None:
        raise unreadable(line)
    for name, printed, stats in (
        ("warm-up", match["warmup"], warmup.avg_text),
        ("inference", match["inference"], inference.avg_text),
        ("first inference", match["first"] or warmup.first_text, warmup.first_text),
    ):
        if printed != stats and stats:
            raise failure(f"prints {name} as {stats} and as {printed} µs", "parse_mismatch")
    return float(match["init"])
