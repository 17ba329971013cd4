"""Networks measured after their run: what `pnag generate --verify-on` and `pnag demo` print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError


@dataclass(frozen=True)
class MeasuredNetwork:
    """One generated network, and what the device showed."""

    arch: str
    latency_ms: float
    ci95_ms: tuple[float, float] | None = None
    verdict: str = "unknown"
    budget_ms: float | None = None


def read_measured(path: Path, device: DeviceInfo) -> list[MeasuredNetwork]:
    """Read measured networks; those of other settings of the same model are refused as well.

    Raises:
        InvalidInputError: unreadable, nothing measured, or measured on another device.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["rows"] if "rows" in document else document["results"]
        found = [network for row in rows for network in _networks(row)]
        recorded = document.get("device") or document.get("verification", {}).get("device")
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidInputError(
            f"{path} is no output of pnag generate --verify-on ... --json, nor a demo's report.json"
        ) from None
    if not found:
        raise InvalidInputError(f"{path} holds nothing measured (pnag generate --verify-on)")
    if recorded is not None:
        _check_device(path, recorded, device)
    return list({(network.arch, network.budget_ms): network for network in found}.values())


def _networks(row: Mapping[str, Any]) -> list[MeasuredNetwork]:
    """The network of one budget, and those that it was picked from."""
    measured = [_network(row)] if row.get("measured_ms") is not None else []
    return measured + [_network(candidate) for candidate in row.get("candidates", ())]


def _network(row: Mapping[str, Any]) -> MeasuredNetwork:
    interval, budget_ms = row.get("measured_ci95_ms"), row.get("budget_ms")
    return MeasuredNetwork(
        arch=str(row["arch"]),
        latency_ms=float(row["measured_ms"]),
        ci95_ms=(float(interval[0]), float(interval[1])) if interval else None,
        verdict=str(row.get("verdict", "unknown")),
        budget_ms=None if budget_ms is None else float(budget_ms),
    )


def _check_device(path: Path, recorded: Mapping[str, Any], device: DeviceInfo) -> None:
    """Latencies of two devices or settings never meet in one figure."""
    for name in ("platform", "model", "runtime", "threads", "batch_size", "precision"):
        if recorded.get(name) != getattr(device, name):
            raise InvalidInputError(
                f"{path} was measured with {name} {recorded.get(name)}, the run's table with "
                f"{getattr(device, name)}"
            )
