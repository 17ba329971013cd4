"""From a device spec, as given to --device, to its backend's record and to an open device."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from profiler.devices.backend import Backend, DeviceStatus, Settings
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.extras import extra_with, how_to_install

if TYPE_CHECKING:
    from profiler.devices.base import Device, DeviceInfo, ModelDevice

GROUP = "pnag.devices"  # of entry points, each of which names a Backend


@cache
def backends() -> Mapping[str, Backend]:
    """All records by name, those of this computer first."""
    found = (_record(point) for point in entry_points(group=GROUP))
    return {
        backend.name: backend
        for backend in sorted(found, key=lambda backend: (not backend.shares_host, backend.name))
    }


def backend_of(spec: str) -> Backend:
    """The record that a spec belongs to.

    Raises:
        InvalidInputError: no such form of spec.
        DeviceUnavailableError: an installation that registers no backend.
    """
    known = backends()
    if not known:
        raise DeviceUnavailableError(
            f"no backend is registered ({GROUP}); install pnag again: pip install -e . in a "
            "checkout"
        )
    backend = known.get(spec.partition(":")[0])
    if backend is None or not re.fullmatch(backend.name + backend.suffix, spec, re.DOTALL):
        forms = " | ".join(form for one in known.values() for form in one.forms)
        kind = "unknown" if backend is None else "malformed"
        raise InvalidInputError(f"{kind} device {spec!r}; known forms: {forms}")
    return backend


def backend_named(platform: str) -> Backend | None:
    """The record of a table's platform; None where its backend is not installed."""
    return backends().get(platform)


def open_device(
    spec: str, *, threads: int = 1, batch_size: int = 1, precision: str = "float32", **options: Any
) -> Device:
    """Open a device under one configuration; `options` are those of its backend.

    Raises:
        InvalidInputError: no such form of spec, or a setting the backend does not have.
        DeviceUnavailableError: absent, busy or not permitted.
    """
    backend = backend_of(spec)
    return _opened(backend, backend.open, spec, Settings(threads, batch_size, precision), options)


def open_for_models(
    spec: str, *, threads: int = 1, batch_size: int = 1, **options: Any
) -> ModelDevice:
    """Open a device for model files of the formats that its backend names.

    Raises:
        InvalidInputError: no such form of spec, or a setting the backend does not have.
        DeviceUnavailableError: absent, busy or not permitted.
    """
    backend, settings = backend_of(spec), Settings(threads, batch_size)
    device = _opened(backend, backend.open_models or backend.open, spec, settings, options)
    return cast("ModelDevice", device)


def check_runs(spec: str, models: Sequence[Path]) -> None:
    """Refuse a device that does not run files of these formats."""
    formats = backend_of(spec).model_formats
    if not formats:
        able = [one for one in backends().values() if one.model_formats]
        named = ", ".join(f"{one.name} ({', '.join(one.model_formats)})" for one in able)
        raise InvalidInputError(f"device {spec} runs no model files; {named} do")
    for path in models:
        if path.suffix.lower() not in formats:
            raise InvalidInputError(f"device {spec} runs {', '.join(formats)} files, not {path}")


def options_of(backend: Backend, given: Mapping[str, Any]) -> Any:
    """The backend's options, those not given at their defaults.

    Raises:
        InvalidInputError: an option that it does not have, or a value that the option does not.
    """
    unknown = given.keys() - {field.name for field in fields(backend.options)}
    if unknown:
        raise InvalidInputError(f"device {backend.name} has no option {min(unknown)}")
    return backend.options(**given)


def recorded_options(info: DeviceInfo, spec: str) -> dict[str, Any]:
    """Options with which `spec` measures as the device of a table did; {} on another platform."""
    backend = backend_of(spec)
    return dict(backend.recorded(info)) if backend.name == info.platform else {}


def _opened(
    backend: Backend,
    opening: Callable[[str, Settings, Any], Device],
    spec: str,
    settings: Settings,
    options: Mapping[str, Any],
) -> Device:
    chosen = options_of(backend, options)
    try:
        return opening(spec, settings, chosen)
    except ImportError as error:
        raise DeviceUnavailableError(_not_installed(backend.name, error)) from None


def _record(point: EntryPoint) -> Backend:
    """A plugin that cannot be loaded says so when it is asked for, and hides no other."""
    try:
        loaded = point.load()
    except ImportError as error:
        return _unusable(point.name, _not_installed(point.name, error))
    except AttributeError:
        loaded = None
    if not isinstance(loaded, Backend):
        return _unusable(point.name, f"device {point.name}: {point.value} is no Backend record")
    return loaded


def _unusable(name: str, why: str) -> Backend:
    def refuse(*_: object) -> Device:
        raise DeviceUnavailableError(why)

    def discover() -> Sequence[DeviceStatus]:
        raise DeviceUnavailableError(why)

    return Backend(name=name, forms=(name,), suffix="(:.*)?", open=refuse, discover=discover)


def _not_installed(name: str, error: ImportError) -> str:
    extra = extra_with(error.name or "")
    remedy = f": {how_to_install(extra)}" if extra else ""
    return f"device {name} needs the package {error.name}, which is not installed{remedy}"
