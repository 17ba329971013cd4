"""Android phones over adb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from profiler.devices.backend import Backend, DeviceStatus, Settings, flag
from profiler.devices.base import Device


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


def open_phone(spec: str, settings: Settings, options: AndroidOptions) -> Device:
    from profiler.devices.android.device import AndroidDevice

    return AndroidDevice(
        spec,
        benchmark_binary=options.benchmark_binary,
        timing=options.timing,
        **asdict(settings),
    )


def discover_phones() -> Sequence[DeviceStatus]:
    from profiler.devices.android.attached import discover

    return discover()


ADB = Backend(
    name="adb",
    forms=("adb:SERIAL", "adb://HOST:PORT/SERIAL"),
    suffix="(:.+)?",
    open=open_phone,
    options=AndroidOptions,
    discover=discover_phones,
    protocols=("phone", "phone quick"),
    shares_host=False,
)
