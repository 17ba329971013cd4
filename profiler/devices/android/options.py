"""What a phone may be told: its own options, and how long to measure and to wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from profiler.devices.backend import flag


@dataclass(frozen=True, slots=True)
class AndroidTiming:
    """Durations of one sample and of waiting; the defaults are for real phones."""

    sample_s: float = 0.5
    warmup_s: float = 0.5
    deadline_s: float = 120.0  # for one benchmark process
    reconnect_s: float = 120.0  # a reboot takes about a minute
    backoff_s: float = 0.5
    cool_down_s: float = 5.0  # between looks at a phone that is too hot
    max_cool_down_s: float = 900.0


@dataclass(frozen=True, slots=True)
class AndroidOptions:
    benchmark_binary: Path | None = field(
        default=None,
        metadata=flag(
            "--benchmark-binary", "TFLite's benchmark_model for the phone (docs/android.md)."
        ),
    )
    timing: AndroidTiming = field(default_factory=AndroidTiming)
