"""Android phones over adb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from profiler.devices.android.options import RECORDED_AS, AndroidOptions
from profiler.devices.backend import Backend, DeviceStatus, Settings

if TYPE_CHECKING:
    from profiler.devices.base import Device, DeviceInfo


def open_phone(spec: str, settings: Settings, options: AndroidOptions) -> Device:
    from profiler.devices.android.device import AndroidDevice

    return AndroidDevice(
        spec,
        benchmark_binary=options.benchmark_binary,
        delegate=options.delegate,
        allow_partial_delegation=options.allow_partial_delegation,
        fixed_performance=options.fixed_performance,
        timing=options.timing,
        rests=options.rests,
        **asdict(settings),
    )


def recorded(info: DeviceInfo) -> dict[str, Any]:
    """How a table's phone ran its models."""
    options = dict(info.options)
    delegates = {name: delegate for delegate, name in RECORDED_AS.items()}
    return {
        "delegate": delegates[options.get("delegate", RECORDED_AS["cpu"])],
        "allow_partial_delegation": options.get("partial_delegation") == "allowed",
        "fixed_performance": options.get("performance") == "fixed",
    }


def discover_phones() -> Sequence[DeviceStatus]:
    from profiler.devices.android.attached import discover

    return discover()


ADB = Backend(
    name="adb",
    forms=("adb:SERIAL", "adb://HOST:PORT/SERIAL"),
    suffix="(:.+)?",
    open=open_phone,
    options=AndroidOptions,
    recorded=recorded,
    discover=discover_phones,
    protocols=("phone", "phone quick"),
    shares_host=False,
    model_formats=(".tflite",),
)
