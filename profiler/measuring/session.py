"""One job on one device, which is opened, and so locked, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from profiler.devices.base import Device, DeviceInfo
from profiler.devices.registry import open_device
from profiler.measuring.campaign import ProfileRequest, profile_on
from profiler.measuring.follow_up import FollowUpSweep, follow_up, open_as_measured
from profiler.measuring.protocol import MeasuringProtocol
from profiler.system.context_manager import Closing
from profiler.tables.table import LatencyTable, NetworkEntry
from profiler.terminal import SILENT, Terminal


class Session(Closing):
    """Measures ops and networks into a table, then what is asked for later, until `close`."""

    def __init__(self, device: Device, terminal: Terminal = SILENT) -> None:
        self.device, self.terminal = device, terminal

    @classmethod
    def open(cls, spec: str, terminal: Terminal = SILENT, **settings: Any) -> Self:
        """On a device that is opened as by `open_device`."""
        return cls(open_device(spec, **settings), terminal)

    @classmethod
    def as_measured(
        cls,
        table: LatencyTable,
        spec: str,
        terminal: Terminal = SILENT,
        device_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """On a device that is opened with the settings of a table."""
        return cls(open_as_measured(table, spec, device_options), terminal)

    @property
    def info(self) -> DeviceInfo:
        return self.device.info

    def profile(self, request: ProfileRequest) -> Path:
        """Ops and networks, as `profile_device` does."""
        return profile_on(self.device, request, self.terminal)

    def measure_networks(
        self, table: LatencyTable, archs: Sequence[str], *, seed: int = 0
    ) -> list[NetworkEntry]:
        """Networks on the scale of a table, as `measure_networks` does."""
        return self.follow_up(table, archs, seed=seed).networks

    def follow_up(
        self,
        table: LatencyTable,
        archs: Sequence[str],
        *,
        protocol: MeasuringProtocol | None = None,
        seed: int = 0,
        journal_at: Path | None = None,
    ) -> FollowUpSweep:
        """The same, and how this session differs from the table; as `follow_up`."""
        return follow_up(self.device, table, archs, self.terminal, protocol, seed, journal_at)

    def close(self) -> None:
        self.device.close()
