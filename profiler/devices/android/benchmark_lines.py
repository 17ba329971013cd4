"""What both official benchmark tools print alike: log lines, refusals, statistics of each phase.

Formats: tensorflow/lite/tools/benchmark/benchmark_model.cc (LiteRT has it as tflite/tools/...),
tensorflow/core/util/stats_calculator.h, tflite/minimal_logging_android.cc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from profiler.errors import MeasurementError
from profiler.numerals import WHOLE, whole_number
from profiler.printable import shown

NUMBER = rf"{WHOLE}(?:\.[0-9]+)?(?:e[+-][0-9]{{1,2}})?"  # always finite
# severity, and in LiteRT's own log the place: "INFO: [benchmark_litert_model.h:72] "
_LOG_PREFIX = re.compile(r"(?:VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): (?:\[[^\]\s]+:[0-9]+\] )?")
_PHASE = re.compile(
    rf"Running benchmark for at least ([0-9]{{1,18}}) iterations and at least {NUMBER} seconds.*"
)
_STATS = re.compile(
    rf"(?:(?:count|first|curr|min|max|avg|std|p5|median|p95)={NUMBER}(?: |$))+", re.ASCII
)
_STATS_START = re.compile(r"(?:count|curr)=")
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

    @property
    def first_ms(self) -> float:
        """Its first run; of a single one, which is printed as the mean."""
        return float(self.first_text or self.avg_text) / 1e3


@dataclass(frozen=True, slots=True)
class BenchmarkTimings:
    """A benchmark_model run that may be believed: `runs` inferences of `latency_ms` mean.

    Attributes:
        init_ms: from the file to a model that can run.
        first_ms: its first inference.
        memory_mb: memory that the model added to the tool's own; None where it prints none, or 0.
        partly: the delegate ran a part of the model only.
    """

    latency_ms: float
    runs: int
    warmup_ms: float
    warmup_runs: int
    init_ms: float
    first_ms: float
    memory_mb: float | None
    partly: bool = False


def log_lines(text: str) -> list[str]:
    """Lines without what the log puts before them.

    Raises:
        MeasurementError: unknown_flag, bad_flag or delegate_not_applied, in the tool's words.
    """
    lines = [_LOG_PREFIX.sub("", line.rstrip("\r"), count=1) for line in text.split("\n")]
    for line in lines:
        _refuse(line)
    return lines


def two_phases(lines: list[str]) -> tuple[PhaseStats, PhaseStats, int]:
    """Statistics of warm-up and inference, and how many inferences were asked for.

    Raises:
        MeasurementError: missing_summary, garbled_output, localized_number, all_same or
            parse_mismatch.
    """
    found = list(_phases(lines))
    if len(found) < 2:
        raise failure("printed no complete summary", "missing_summary")
    if len(found) > 2:
        raise failure("printed more than one summary (two runs mixed?)", "garbled_output")
    (_, warmup), (requested, inference) = found
    return warmup, inference, requested


def check_inference(inference: PhaseStats, requested: int, runs: int) -> None:
    """Refuse another run than that of `runs` inferences, or one that did not do them.

    Raises:
        MeasurementError: parse_mismatch, incomplete_run or nonpositive_latency.
    """
    if requested != runs:
        raise failure(f"ran with num_runs={requested}, not {runs}", "parse_mismatch")
    if inference.count < runs:
        raise failure(f"ended after {inference.count} of {runs} runs", "incomplete_run")
    if inference.avg_us <= 0:
        raise failure("reports a latency of 0 µs", "nonpositive_latency")


def known_flags(help_text: str) -> frozenset[str]:
    """Names of the flags that `--help` lists.

    >>> sorted(known_flags("Flags:\\n\\t--graph=  \\tstring\\toptional\\n\\t--num_runs=50\\tint32"))
    ['graph', 'num_runs']
    """
    return frozenset(re.findall(r"^\s*--([a-z0-9_]+)=", help_text, re.MULTILINE))


def failure(what: str, reason: str) -> MeasurementError:
    return MeasurementError(f"benchmark_model {what}", reason=reason)


def unreadable(line: str) -> MeasurementError:
    """A decimal comma and foreign digits are a locale's; the rest is a mixed or cut line."""
    localized = re.search(r"[0-9],[0-9]|[^\x00-\x7f]", line)
    reason = "localized_number" if localized else "garbled_output"
    return failure(f"printed an unreadable line {shown(line)}", reason)


def _refuse(line: str) -> None:
    for pattern, reason, verb in _REFUSALS:
        if match := pattern.search(line):
            raise failure(f"{verb} {match['what'].strip()}", reason)


def _phases(lines: list[str]) -> Iterator[tuple[int, PhaseStats]]:
    """(requested runs, statistics) of each phase, in order."""
    requested = None
    for line in lines:
        if phase := _PHASE.fullmatch(line):
            requested = int(phase[1])
        elif line.startswith("Running benchmark for "):
            raise unreadable(line)
        elif _STATS_START.match(line):
            if requested is None:
                raise failure(f"printed statistics of no phase: {line!r}", "garbled_output")
            yield requested, _stats(line)
            requested = None


def _stats(line: str) -> PhaseStats:
    if line.rstrip().endswith("(all same)"):
        raise failure(f"cannot resolve this model's time: {line!r}", "all_same")
    if not _STATS.fullmatch(line):
        raise unreadable(line)
    tokens = [token.split("=") for token in line.split()]
    values = dict(tokens)
    count = whole_number(values.get("count", ""))
    if len(values) < len(tokens) or "curr" not in values or count is None:
        raise failure(f"printed an unreadable line {line!r}", "garbled_output")
    current = float(values["curr"])
    if count == 1:  # one run is printed as an integer, its mean as a double of six digits
        text = f"{current:g}"
        return PhaseStats(1, current, text, values.get("first", values["curr"]))
    try:
        avg, low, high = (float(values[name]) for name in ("avg", "min", "max"))
    except KeyError:
        raise failure(f"printed an incomplete line {line!r}", "garbled_output") from None
    if not low <= current <= high or not low * (1 - 1e-5) <= avg <= high * (1 + 1e-5):
        raise failure(f"contradicts itself: {line!r}", "parse_mismatch")
    return PhaseStats(count, avg, values["avg"], values.get("first", ""))
