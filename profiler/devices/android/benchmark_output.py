"""What TFLite's `benchmark_model` says of one run, read strictly: a number or a typed failure.

The tool prints only aggregates, each of them twice (a `count=` line and the summary), with
ostream's six digits. Both must agree to the last digit, so that a cut or mixed line is noticed.
Formats: tensorflow/lite/tools/benchmark/benchmark_model.cc, tensorflow/core/util/
stats_calculator.h, tensorflow/lite/tools/benchmark/proto/benchmark_result.proto.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from profiler.errors import MeasurementError
from profiler.printable import shown

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]+)?(?:e[+-][0-9]{1,2})?"  # always finite
_LOG_PREFIX = re.compile(r"(?:INFO|WARN|WARNING|ERROR|FATAL): ")
_PHASE = re.compile(
    rf"Running benchmark for at least ([0-9]{{1,18}}) iterations and at least {_NUMBER} seconds.*"
)
_STATS = re.compile(
    rf"(?:(?:count|first|curr|min|max|avg|std|p5|median|p95)={_NUMBER}(?: |$))+", re.ASCII
)
_STATS_START = re.compile(r"(?:count|curr)=")
_SUMMARIES = (
    re.compile(
        rf"Inference timings in us: Init: (?P<init>{_NUMBER}), "
        rf"First inference: (?P<first>{_NUMBER}), Warmup \(avg\): (?P<warmup>{_NUMBER}), "
        rf"Inference \(avg\): (?P<inference>{_NUMBER})"
    ),
    re.compile(  # until 2019
        rf"Average inference timings in us: Warmup: (?P<warmup>{_NUMBER}), "
        rf"Init: (?P<init>{_NUMBER}), Inference: (?P<inference>{_NUMBER})(?P<first>)"
    ),
)
_MEMORY = re.compile(
    rf"Memory footprint delta from the start of the tool \(MB\): init={_NUMBER} "
    rf"overall=({_NUMBER})"
)
_SUMMARY_START = re.compile(r"(?:Average inference|Inference) timings in us: ")
_REFUSALS = (
    (re.compile(r"Unconsumed cmdline flags: (?P<what>.*)"), "unknown_flag", "does not know"),
    (re.compile(r"Failed to parse (?P<what>flag .*)"), "bad_flag", "cannot read"),
    (
        re.compile(
            r"(?P<what>Failed to apply .* delegate.*|Disallowed CPU fallback detected.*"
            r"|Though .* delegate is explicitly applied, .* will not be.*)"
        ),
        "delegate_not_applied",
        "did not apply the delegate:",
    ),
)


@dataclass(frozen=True, slots=True)
class PhaseStats:
    """One phase (warm-up or inference). `avg_text` is the mean in µs as it was printed."""

    count: int
    avg_us: float
    avg_text: str
    first_text: str


@dataclass(frozen=True, slots=True)
class BenchmarkTimings:
    """A benchmark_model run that may be believed: `runs` inferences of `latency_ms` mean.

    Attributes:
        init_ms: from the file to a model that can run.
        first_ms: its first inference.
        memory_mb: most memory above that of the tool itself; None where it prints none.
    """

    latency_ms: float
    runs: int
    warmup_ms: float
    warmup_runs: int
    init_ms: float
    first_ms: float
    memory_mb: float | None


def parse_benchmark_output(
    text: str, *, runs: int, delegate: str = "XNNPACK", require_full_delegation: bool = True
) -> BenchmarkTimings:
    """Mean latency from the text of one run that asked for at least `runs` inferences.

    Raises:
        MeasurementError: with reason unknown_flag, bad_flag, delegate_not_applied,
            missing_summary, garbled_output, localized_number, all_same, incomplete_run,
            parse_mismatch or nonpositive_latency.
    """
    lines = [_LOG_PREFIX.sub("", line.rstrip("\r"), count=1) for line in text.split("\n")]
    for line in lines:
        _refuse(line)
    _check_delegate(lines, delegate, require_full_delegation)
    phases = list(_phases(lines))
    summaries = [line for line in lines if _SUMMARY_START.match(line)]
    if not summaries or len(phases) < 2:
        raise _failure("printed no complete summary", "missing_summary")
    if len(summaries) > 1 or len(phases) > 2:
        raise _failure("printed more than one summary (two runs mixed?)", "garbled_output")
    (_, warmup), (requested, inference) = phases
    init_us = _init_us(summaries[0], warmup, inference)
    if requested != runs:
        raise _failure(f"ran with num_runs={requested}, not {runs}", "parse_mismatch")
    if inference.count < runs:
        raise _failure(f"ended after {inference.count} of {runs} runs", "incomplete_run")
    if inference.avg_us <= 0:
        raise _failure("reports a latency of 0 µs", "nonpositive_latency")
    memory = next((match[1] for line in lines if (match := _MEMORY.fullmatch(line))), None)
    return BenchmarkTimings(
        inference.avg_us / 1e3, inference.count, warmup.avg_us / 1e3, warmup.count,
        init_us / 1e3, float(warmup.first_text or warmup.avg_text) / 1e3,
        None if memory is None else float(memory),
    )  # fmt: skip


def check_result_proto(data: bytes, timings: BenchmarkTimings) -> None:
    """Compare the binary result file (`--result_file_path`) with what was printed.

    Raises:
        MeasurementError: result_file_broken, or parse_mismatch when the two differ.
    """
    try:
        result = dict(_proto_fields(data))
        latency = dict(_proto_fields(_nested(result, 2)))
        misc = dict(_proto_fields(_nested(result, 4)))
        avg_ms, runs = latency[1], misc[2]
    except (KeyError, ValueError, IndexError, struct.error, TypeError) as error:
        raise _failure(f"left a broken result file ({error!r})", "result_file_broken") from None
    if not isinstance(avg_ms, float) or runs != timings.runs:
        raise _failure(f"reports {runs!r} runs, but printed {timings.runs}", "parse_mismatch")
    if abs(avg_ms - timings.latency_ms) > 1e-5 * timings.latency_ms:  # both are rounded
        raise _failure(f"reports {avg_ms} ms, but printed {timings.latency_ms}", "parse_mismatch")


def known_flags(help_text: str) -> frozenset[str]:
    """Names of the flags that `--help` lists.

    >>> sorted(known_flags("Flags:\\n\\t--graph=  \\tstring\\toptional\\n\\t--num_runs=50\\tint32"))
    ['graph', 'num_runs']
    """
    return frozenset(re.findall(r"^\s*--([a-z0-9_]+)=", help_text, re.MULTILINE))


def _failure(what: str, reason: str) -> MeasurementError:
    return MeasurementError(f"benchmark_model {what}", reason=reason)


def _unreadable(line: str) -> MeasurementError:
    """A decimal comma and foreign digits are a locale's; the rest is a mixed or cut line."""
    localized = re.search(r"[0-9],[0-9]|[^\x00-\x7f]", line)
    reason = "localized_number" if localized else "garbled_output"
    return _failure(f"printed an unreadable line {shown(line)}", reason)


def _refuse(line: str) -> None:
    for pattern, reason, verb in _REFUSALS:
        if match := pattern.search(line):
            raise _failure(f"{verb} {match['what'].strip()}", reason)


def _check_delegate(lines: list[str], delegate: str, require_full: bool) -> None:
    applied = re.compile(
        rf"Explicitly applied {re.escape(delegate)} delegate, and the model graph will be "
        r"(completely|partially) executed by the delegate.*"
    )
    found = [match[1] for line in lines if (match := applied.fullmatch(line))]
    if not found:
        raise _failure(f"does not say that {delegate} was applied", "delegate_not_applied")
    if require_full and "partially" in found:
        raise _failure(f"ran only a part of the model in {delegate}", "delegate_not_applied")


def _phases(lines: list[str]) -> Iterator[tuple[int, PhaseStats]]:
    """(requested runs, statistics) of each phase, in order."""
    requested = None
    for line in lines:
        if phase := _PHASE.fullmatch(line):
            requested = int(phase[1])
        elif line.startswith("Running benchmark for "):
            raise _unreadable(line)
        elif _STATS_START.match(line):
            if requested is None:
                raise _failure(f"printed statistics of no phase: {line!r}", "garbled_output")
            yield requested, _stats(line)
            requested = None


def _stats(line: str) -> PhaseStats:
    if line.rstrip().endswith("(all same)"):
        raise _failure(f"cannot resolve this model's time: {line!r}", "all_same")
    if not _STATS.fullmatch(line):
        raise _unreadable(line)
    tokens = [token.split("=") for token in line.split()]
    values = dict(tokens)
    if len(values) < len(tokens) or "curr" not in values or not values.get("count", "").isdecimal():
        raise _failure(f"printed an unreadable line {line!r}", "garbled_output")
    count, current = int(values["count"]), float(values["curr"])
    if count == 1:  # one run is printed as an integer, its mean as a double of six digits
        text = f"{current:g}"
        return PhaseStats(1, current, text, values.get("first", values["curr"]))
    try:
        avg, low, high = (float(values[name]) for name in ("avg", "min", "max"))
    except KeyError:
        raise _failure(f"printed an incomplete line {line!r}", "garbled_output") from None
    if not low <= current <= high or not low * (1 - 1e-5) <= avg <= high * (1 + 1e-5):
        raise _failure(f"contradicts itself: {line!r}", "parse_mismatch")
    return PhaseStats(count, avg, values["avg"], values.get("first", ""))


def _init_us(line: str, warmup: PhaseStats, inference: PhaseStats) -> float:
    """Time to load, of a summary that repeats what the phases printed."""
    match = next((m for pattern in _SUMMARIES if (m := pattern.fullmatch(line))), None)
    if match is None:
        raise _unreadable(line)
    for name, printed, stats in (
        ("warm-up", match["warmup"], warmup.avg_text),
        ("inference", match["inference"], inference.avg_text),
        ("first inference", match["first"] or warmup.first_text, warmup.first_text),
    ):
        if printed != stats and stats:
            raise _failure(f"prints {name} as {stats} and as {printed} µs", "parse_mismatch")
    return float(match["init"])


def _nested(fields: dict[int, int | float | bytes], number: int) -> bytes:
    value = fields[number]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is not a message")
    return value


def _proto_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(number, value) of each field of one protobuf message (wire types 0, 1, 2 and 5)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire_type in (1, 5):
            size, form = (8, "<d") if wire_type == 1 else (4, "<f")
            yield number, float(struct.unpack_from(form, data, at)[0])
            at += size
        elif wire_type == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("truncated")
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire_type}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
