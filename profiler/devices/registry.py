"""From a device spec, as given to --device, to an open device. Backends are imported lazily."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from profiler.devices.base import Device, DeviceInfo
from profiler.errors import DeviceUnavailableError, InvalidInputError

PLUGINS = "pnag.devices"  # entry points: kind of spec -> class, called with the whole spec
FORMS = "cpu | cuda[:I] | tflite | adb:SERIAL | adb://HOST:PORT/SERIAL | fake[:SEED] | replay:TABLE"


def open_device(
    spec: str, *, threads: int = 1, batch_size: int = 1, precision: str = "float32", **options: Any
) -> Device:
    """Open a device under one configuration; `options` are those of its backend.

    Raises:
        InvalidInputError: no such form of spec, or a setting the backend does not have.
        DeviceUnavailableError: absent, busy or not permitted.
    """
    if threads < 1 or batch_size < 1:
        raise InvalidInputError(
            f"threads and batch size must be at least 1, not {threads} and {batch_size}"
        )
    settings = {"threads": threads, "batch_size": batch_size, "precision": precision, **options}
    if spec.startswith("adb://"):
        return _backend("android.device", "AndroidDevice")(spec, **settings)
    kind, colon, argument = spec.partition(":")
    match kind:
        case "cpu" if not colon:
            return _backend("host.cpu", "CpuDevice")(**settings)
        case "tflite" if not colon:
            return _backend("host.tflite", "TFLiteDevice")(**settings)
        case "cuda":
            index = _index(spec, argument, colon)
            return _backend("cuda.device", "CudaDevice")(index, **settings)
        case "fake":
            return _backend("simulated.fake", "FakeDevice")(
                _index(spec, argument, colon), **settings
            )
        case "replay" if argument:
            return _backend("simulated.replay", "ReplayDevice")(Path(argument), **settings)
        case "adb" if argument or not colon:
            return _backend("android.device", "AndroidDevice")(spec, **settings)
    for plugin in entry_points(group=PLUGINS, name=kind):
        return cast(Device, plugin.load()(spec, **settings))
    raise InvalidInputError(f"unknown device {spec!r}; known forms: {FORMS}")


def recorded_options(info: DeviceInfo, spec: str) -> dict[str, Any]:
    """Options with which `spec` measures as the device of a table did; {} on another platform."""
    if info.platform != "cuda" or spec.partition(":")[0] != "cuda":
        return {}
    from profiler.devices.cuda import device as cuda

    return cuda.recorded_options(info)


def _index(spec: str, text: str, colon: str) -> int:
    if not colon:
        return 0
    if not text.isdecimal():
        raise InvalidInputError(f"malformed device {spec!r}; known forms: {FORMS}")
    return int(text)


def _backend(module: str, name: str) -> Callable[..., Device]:
    try:
        loaded = importlib.import_module(f"profiler.devices.{module}")
    except ImportError as error:
        raise DeviceUnavailableError(
            f"device {module} needs the package {error.name}, which is not installed"
        ) from None
    return cast(Callable[..., Device], getattr(loaded, name))
