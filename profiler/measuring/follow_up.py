"""Networks measured after their table, on the table's scale.

A later session differs from the table's by more than its canaries show: on a shared machine the
share of the last-level cache changes, which costs a small network proportionally more than a
large one (docs/measuring.md has figures). So networks of the table are measured again among the
new ones, and what became of them says how to read the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from profiler.devices.base import Device, DeviceInfo, epoch_of, network_workload
from profiler.devices.registry import backend_of, open_device, recorded_options
from profiler.errors import MeasurementError
from profiler.flags import Flag
from profiler.measuring.drift import session_levels
from profiler.measuring.journal import Journal
from profiler.measuring.launches import run_sweep
from profiler.measuring.protocol import FollowUp, MeasuringProtocol, protocol_of
from profiler.measuring.records import Outcome
from profiler.measuring.summary import Levels, summarise
from profiler.measuring.task import Role, Task, make_task
from profiler.tables.sessions import SessionLevel, fit_line
from profiler.tables.table import Entry, LatencyTable, NetworkEntry
from profiler.terminal import SILENT, Terminal


@dataclass(frozen=True)
class Bridge:
    """now = slope · then + offset, from networks measured in both sessions."""

    slope: float = 1.0
    offset_ms: float = 0.0

    @classmethod
    def fit(
        cls, then_ms: Sequence[float], now_ms: Sequence[float], rule: FollowUp, *,
        least_ms: float = inf,
    ) -> Bridge:  # fmt: skip
        """Least squares of relative error; few networks fix a factor only, or nothing.

        Networks that are alike tell no offset from a factor: it counts where its standard error is
        small beside the least latency that is read with it, and if something is left of that.

        Args:
            least_ms: the least that is read with it, beside `now_ms`.

        >>> rule = FollowUp(12, min_for_slope=2, min_for_offset=6, flagged_shift=0.05)
        >>> Bridge.fit([2, 4, 8, 10, 12, 16], [2.3, 4.4, 8.6, 10.7, 12.8, 17.0], rule)
        Bridge(slope=1.05, offset_ms=0.2)
        """
        then, current = np.asarray(then_ms, np.float64), np.asarray(now_ms, np.float64)
        if len(then) < rule.min_for_slope:
            return cls()
        factor = cls(slope=float(np.median(current / then)))
        if len(then) < rule.min_for_offset:
            return factor
        line, least_ms = fit_line(current / then, then), min(least_ms, *now_ms)
        is_told = line.offset_error_ms < rule.flagged_shift * least_ms
        if is_told and line.slope > 0 and line.offset_ms < least_ms:
            return cls(line.slope, line.offset_ms)
        return factor

    def then_ms(self, now_ms: float) -> float:
        """What the earlier session would have read."""
        return (now_ms - self.offset_ms) / self.slope


def measure_networks(
    table: LatencyTable,
    archs: Sequence[str],
    terminal: Terminal = SILENT,
    *,
    spec: str | None = None,
    protocol: MeasuringProtocol | None = None,
    device_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[NetworkEntry]:
    """Measure networks as the table's own were: same settings, canaries, and scale.

    `latency_ms` and its interval refer to the state of the machine that the table refers to;
    minimum, percentiles and mean are as they were read now. On another device than the
    table's, nothing is bridged.

    Args:
        archs: as they are written.
        spec: device; by default that of the table.
        protocol: by default the quick one of the device.
        device_options: what a table does not hold, as a phone's `benchmark_binary`.

    Raises:
        DeviceUnavailableError: the device is absent, locked, or not quiescent.
        MeasurementError: a network could not be measured.
    """
    with open_as_measured(table, spec or table.device.spec, device_options) as device:
        return follow_up(device, table, archs, terminal, protocol, seed).networks


@dataclass(frozen=True)
class FollowUpSweep:
    """Networks as they were asked for, and how each launch read those of the table."""

    networks: list[NetworkEntry]
    sessions: tuple[SessionLevel, ...]


def follow_up(
    device: Device, table: LatencyTable, archs: Sequence[str], terminal: Terminal,
    protocol: MeasuringProtocol | None = None, seed: int = 0, journal_at: Path | None = None,
) -> FollowUpSweep:  # fmt: skip
    """`measure_networks` on an open device.

    Args:
        journal_at: file that keeps the raw samples; what was interrupted goes on from there.
    """
    protocol = protocol or protocol_of(backend_of(device.info.spec), quick=True)
    with Journal(journal_at) as journal, journal.telling(terminal.note):
        return _followed_up(device, table, archs, terminal, protocol, seed, journal)


def _followed_up(
    device: Device, table: LatencyTable, archs: Sequence[str], terminal: Terminal,
    protocol: MeasuringProtocol, seed: int, journal: Journal,
) -> FollowUpSweep:  # fmt: skip
    recorded, epoch = table.device, epoch_of(device.info)
    same = same_device(device.info, recorded)
    if same and epoch == epoch_of(recorded):
        for canary, reference_ms in table.protocol.get("references_ms", {}).items():
            journal.set_reference_ms(epoch, canary, reference_ms)
    space = table.search_space
    wanted = [space.format(space.parse(arch)) for arch in archs]
    known = _bridge_networks(table, set(wanted), protocol) if same else []
    measured = list(dict.fromkeys([*wanted, *(entry.arch for entry in known)]))
    tasks = _tasks(table, measured, device.info, protocol)
    done = {key for key, o in journal.outcomes().items() if o.epoch == epoch and not o.failed}
    left = [task for task in tasks.values() if task.key not in done]
    if left:
        run_sweep(
            device, protocol, journal, left, terminal,
            seed=seed - 1, what=f"{len(tasks)} networks",  # `seed` itself is of the first sweep
        )  # fmt: skip
    outcomes, levels = journal.outcomes(), Levels(journal, protocol)
    levels.fix_references(epoch)  # of another boot than the table's: its own first sweep
    entries = {
        arch: _entry(task, outcomes[task.key], levels, epoch) for arch, task in tasks.items()
    }
    rule = protocol.follow_up
    bridge = Bridge.fit(
        [entry.latency_ms for entry in known], [entries[e.arch].latency_ms for e in known], rule,
        least_ms=min((_least_ms(entries[arch]) for arch in wanted), default=inf),
    )  # fmt: skip
    known_ms = {tasks[entry.arch].key: entry.latency_ms for entry in known}
    return FollowUpSweep(
        [_bridged(arch, entries[arch], bridge, rule.flagged_shift) for arch in wanted],
        session_levels(journal, known_ms, protocol, [epoch]),
    )


def open_as_measured(
    table: LatencyTable, spec: str, device_options: Mapping[str, Any] | None = None
) -> Device:
    """Open a device with the settings that the table was measured with."""
    recorded = table.device
    return open_device(
        spec,
        threads=recorded.threads,
        batch_size=recorded.batch_size,
        precision=recorded.precision,
        **{**recorded_options(recorded, spec), **(device_options or {})},
    )


def same_device(one: DeviceInfo, other: DeviceInfo) -> bool:
    """Whether latencies of the two belong on one scale."""
    return (one.platform, one.model, one.runtime) == (other.platform, other.model, other.runtime)


def _bridge_networks(
    table: LatencyTable, exclude: set[str], protocol: MeasuringProtocol
) -> list[NetworkEntry]:
    """Networks of the table, spread over its latencies."""
    known = sorted((n for n in table.networks if n.arch not in exclude), key=lambda n: n.latency_ms)
    count = min(protocol.follow_up.bridge_networks, len(known))
    return [known[i] for i in np.linspace(0, len(known) - 1, count).round().astype(int)]


def _tasks(
    table: LatencyTable, archs: Sequence[str], info: DeviceInfo,
    protocol: MeasuringProtocol,
) -> dict[str, Task]:  # fmt: skip
    space = table.search_space
    return {
        arch: make_task(
            network_workload(space, space.parse(arch), batch_size=info.batch_size),
            Role.NETWORK, info, protocol,
        )
        for arch in archs
    }  # fmt: skip


def _entry(task: Task, outcome: Outcome, levels: Levels, epoch: str) -> Entry:
    if outcome.failed:
        raise MeasurementError(f"{task.workload.key}: {outcome.message}", reason="network_failed")
    blocks = levels.journal.blocks(task.key, epoch=epoch)
    return summarise(blocks, levels, levels.protocol, decision=outcome.decision)


def _least_ms(entry: Entry) -> float:
    low_ms, _ = entry.ci95_ms or (entry.latency_ms, None)
    return min(entry.latency_ms, low_ms)


def _bridged(arch: str, entry: Entry, bridge: Bridge, flagged_shift: float) -> NetworkEntry:
    latency_ms = bridge.then_ms(entry.latency_ms)
    changed: dict[str, object] = {"latency_ms": latency_ms}
    if entry.ci95_ms is not None:
        low, high = entry.ci95_ms
        changed["ci95_ms"] = (bridge.then_ms(low), bridge.then_ms(high))
    if abs(entry.latency_ms / latency_ms - 1) > flagged_shift:
        changed["flags"] = (*entry.flags, Flag.SESSION_SHIFT)
    return NetworkEntry(arch=arch, **(entry.model_dump() | changed))
