"""What is attached, whether it can be measured now, and what would make numbers unsteady."""

from __future__ import annotations

from profiler.devices.backend import DeviceStatus
from profiler.devices.registry import backends
from profiler.errors import PnagError


def discover_all() -> list[DeviceStatus]:
    """Every device of every backend; a backend that cannot be asked is not measurable."""
    found: list[DeviceStatus] = []
    for backend in backends().values():
        try:
            found += backend.discover()
        except ImportError as error:
            reason = f"{error.name or backend.name} is not installed"
            found.append(DeviceStatus(backend.name, "", "", False, reason))
        except PnagError as error:
            found.append(DeviceStatus(backend.name, "", "", False, str(error)))
    return found
