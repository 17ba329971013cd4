"""A device that answers with the latencies of a table: rehearsal without the hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiler.devices.base import DeviceBase, DeviceInfo, DeviceState, Workload
from profiler.errors import InvalidInputError, MeasurementError
from profiler.spaces.networks import NetworkSpace
from profiler.tables.table import load_table


class ReplayDevice(DeviceBase):
    """Measured networks come back as measured; others as the sum of their ops.

    Raises:
        InvalidInputError: the table is unreadable, or of other threads, batch or precision,
            or of another space than `space` if that is given.
    """

    min_sample_ms = 0.0
    uses_canary = False

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        batch_size: int = 1,
        precision: str = "float32",
        space: NetworkSpace | None = None,
    ) -> None:
        table = load_table(path, space=space)
        asked = {"threads": threads, "batch_size": batch_size, "precision": precision}
        for name, value in asked.items():
            recorded = getattr(table.device, name)
            if recorded != value:
                raise InvalidInputError(f"{path} was measured with {name} {recorded}, not {value}")
        self.info: DeviceInfo = replace(
            table.device, spec=f"replay:{path}", platform="replay", runtime="replay"
        )
        self._latency_ms = {key: entry.latency_ms for key, entry in table.ops.items()}
        self._latency_ms |= {entry.arch: entry.latency_ms for entry in table.networks}

    def prepare(self, workload: Workload) -> ReplayWorkload:
        known = self._latency_ms
        keys = [workload.key] if workload.key in known else [op.key for op in workload.ops]
        missing = [key for key in keys if key not in known]
        if missing:
            raise MeasurementError(f"the table lacks {missing[0]}", reason="not_in_table")
        return ReplayWorkload(sum(known[key] for key in keys))

    def state(self) -> DeviceState:
        return DeviceState()

    def blockers(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReplayWorkload:
    latency_ms: float

    def sample_ms(self, runs: int) -> float:
        return self.latency_ms

    def close(self) -> None:
        return None
