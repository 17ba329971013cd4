"""Android phones over adb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from profiler.devices.android.options import AndroidOptions
from profiler.devices.backend import Backend, DeviceStatus, Settings

if TYPE_CHECKING:
    from profiler.devices.base import Device


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
    model_formats=(".tflite",),
)
