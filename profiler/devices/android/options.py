"""What a phone may be told: its own options, and how long to measure and to wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from profiler.devices.backend import flag
from profiler.errors import InvalidInputError

Delegate = Literal["cpu", "gpu", "nnapi"]
RECORDED_AS: dict[Delegate, str] = {"cpu": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI"}


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
    lease_s: float = 600.0  # fixed performance mode ends after so long without a sign of life


@dataclass(frozen=True, slots=True)
class AndroidOptions:
    """Where a phone runs the models, and with what.

    Raises:
        InvalidInputError: no such delegate.
    """

    benchmark_binary: Path | None = field(
        default=None,
        metadata=flag(
            "--benchmark-binary", "TFLite's or LiteRT's benchmark_model (pnag help android)."
        ),
    )
    delegate: Delegate = field(
        default="cpu",
        metadata=flag("--delegate", "adb: cpu (XNNPACK), gpu or nnapi.", recorded=True),
    )
    allow_partial_delegation: bool = field(
        default=False,
        metadata=flag(
            "--allow-partial-delegation",
            "adb: measure, and flag, models of which the delegate runs a part only.",
            recorded=True,
        ),
    )
    fixed_performance: bool = field(
        default=False,
        metadata=flag(
            "--fixed-performance",
            "adb: hold clocks that do not throttle meanwhile (Android 11).",
            recorded=True,
        ),
    )
    timing: AndroidTiming = field(default_factory=AndroidTiming)
    rests: bool = True  # until it is cool, before each sample

    def __post_init__(self) -> None:
        if self.delegate not in get_args(Delegate):
            raise InvalidInputError(
                f"unknown delegate {self.delegate!r}; known: {', '.join(get_args(Delegate))}"
            )
