"""`pnag profile` as a function: from device specs to latency tables on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np

from profiler.devices.base import Device, ModelWorkload, Workload, epoch_of, network_workload
from profiler.devices.registry import backend_of, open_device
from profiler.errors import InvalidInputError, MeasurementError
from profiler.measuring.cold_starts import check_starts, network_start
from profiler.measuring.drift import session_levels
from profiler.measuring.journal import Journal, journal_path
from profiler.measuring.launches import run_sweep
from profiler.measuring.load import loads_of
from profiler.measuring.protocol import FULL, MAX_MINUTES, MIN_MINUTES, MeasuringProtocol
from profiler.measuring.records import Outcome, SweepReport
from profiler.measuring.sampling import deadline
from profiler.measuring.stopping import Decision
from profiler.measuring.summary import Levels, noise_floor, summarise
from profiler.measuring.task import Role, Task, make_task
from profiler.spaces.networks import NetworkSpace, SingleKernels, distinct_ops, file_stem
from profiler.spaces.sampling import draw_networks
from profiler.system.atomic import refuse_unwritable
from profiler.system.lock import device_lock
from profiler.system.stamp import this_tool
from profiler.tables.levels import Load
from profiler.tables.table import Entry, LatencyTable, NetworkEntry, SpaceRef
from profiler.terminal import SILENT, Terminal

AnyWorkload = Workload | ModelWorkload
# of kernels: how unsure a regression on the table is of each model of so many kernels
Doubts = Callable[[LatencyTable, Sequence[Sequence[str]]], Sequence[float]]


@dataclass(frozen=True)
class Chosen:
    """Ops, by key, and networks, as written, that are measured where not all are."""

    ops: tuple[str, ...]
    networks: tuple[str, ...]


Complete = Callable[[LatencyTable], LatencyTable]
Choose = Callable[[LatencyTable, int, int], Chosen]  # beside which table, how many, seed


@dataclass(frozen=True)
class ProfileRequest:
    """What to measure, on one device under one configuration.

    Raises:
        InvalidInputError: no minutes, or more than a day.
    """

    spec: str
    space: NetworkSpace | SingleKernels
    out: Path
    protocol: MeasuringProtocol = FULL
    n_networks: int | None = None  # None: the protocol's default
    threads: int = 1
    batch_size: int = 1
    precision: str = "float32"
    seed: int = 0
    resume: bool = True
    chosen: Chosen | None = None  # None: all ops of the space, and n_networks networks
    doubts: Doubts | None = None  # None: all kernels are drawn alike
    complete: Complete | None = None  # what the measured table becomes before it is written
    minutes: float | None = None  # None: until each has converged, or had its time
    cold_start: bool = False  # of whole networks, too
    fleet: str | None = None  # address of the Ray cluster that offers the device
    device_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.minutes is not None and not MIN_MINUTES <= self.minutes <= MAX_MINUTES:
            raise InvalidInputError(
                f"--minutes must be from {MIN_MINUTES:g} to {MAX_MINUTES:g}, got {self.minutes:g}"
            )


def profile_device(request: ProfileRequest, terminal: Terminal = SILENT) -> Path:
    """Measure all ops of the space and some whole networks; the table's path.

    Raises:
        DeviceUnavailableError: the device is absent, locked, or not quiescent, or another process
            measures for the same table.
        InvalidInputError: an unknown device, a setting that it lacks, or no place for the table.
        MeasurementError: no op could be measured at all.
        KeyboardInterrupt: what was measured is in the journal beside the table.
    """
    refuse_unwritable(request.out)
    if request.cold_start:
        check_starts(request.spec, fleet=request.fleet is not None)
    with open_requested(request) as device:
        return profile_on(device, request, terminal)


def profile_on(
    device: Device, request: ProfileRequest, terminal: Terminal,
    campaign: Callable[[ProfileRequest, Device, Journal, Terminal], Campaign] | None = None,
) -> Path:  # fmt: skip
    """`profile_device` on a device that was opened as `request` asks.

    Args:
        campaign: what is measured; by default ops and networks of the request's space.
    """
    refuse_unwritable(request.out)
    campaign = campaign or Campaign
    with (
        device_lock(f"table {request.out.resolve()}"),
        Journal(journal_path(request.out), fresh=not request.resume) as journal,
        journal.telling(terminal.note),
    ):
        table = campaign(request, device, journal, terminal).run()
        if not (table.ops or table.networks):
            raise MeasurementError(
                f"no op could be measured on {request.spec}, first "
                f"{next(f'{key}: {why}' for key, why in table.failures.items())}",
                reason="all_failed",
            )
        if request.complete is not None:
            table = request.complete(table)
        table.save(request.out)  # before the device is closed, which may fail
    if table.failures:
        terminal.note(f"{len(table.failures)} configurations failed; pnag table show lists them")
    return request.out


def open_requested(request: ProfileRequest) -> Device:
    settings: dict[str, Any] = {
        "threads": request.threads,
        "batch_size": request.batch_size,
        "precision": request.precision,
        **request.protocol.options_for(backend_of(request.spec)),
        **request.device_options,
    }
    if request.fleet is None:
        return open_device(request.spec, **settings)
    from profiler.devices.fleet import FleetDevice

    return FleetDevice(request.fleet, request.spec, **settings)


def default_out(
    spec: str, space: NetworkSpace | SingleKernels, *, quick: bool, settings: Sequence[str] = ()
) -> Path:
    """Where a table goes unless told; `settings` are those that are not the defaults.

    >>> from profiler.spaces.registry import open_space
    >>> default_out("cpu", open_space("mbv3"), quick=True).as_posix()
    'tables/cpu_mbv3_w1.0_224_quick.json'
    >>> default_out("cpu", open_space("mbv3"), quick=False, settings=["t2", "b8"]).as_posix()
    'tables/cpu_mbv3_w1.0_224_t2_b8.json'
    """
    facts = {} if isinstance(space, SingleKernels) else SpaceRef.of(space).facts
    parts = [
        spec,
        file_stem(space),
        *(_fact(name, fact) for name, fact in facts.items()),
        *settings,
        *(["quick"] if quick else []),
    ]
    return Path("tables") / f"{'_'.join(map(_file_name, parts))}.json"


def _fact(name: str, fact: Any) -> str:
    if name == "width_mult":
        return f"w{fact:.1f}"
    return "-".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text).strip("-")


class Campaign:
    """All sweeps of one request on one open device, and the table made of them."""

    goes_on_unconverged = True  # when the same is asked for again

    def __init__(
        self, request: ProfileRequest, device: Device, journal: Journal, terminal: Terminal
    ) -> None:
        self._request, self._device, self._journal = request, device, journal
        self._terminal = terminal
        self._protocol = request.protocol
        self._epoch = epoch_of(device.info)
        self._levels = Levels(journal, request.protocol)
        self._bridges: dict[str, float] = {self._epoch: 1.0}
        self._loads: dict[int, Load] = {}  # by sweep
        minutes = inf if request.minutes is None else request.minutes
        self._until_s = device.now() + 60 * minutes

    def run(self) -> LatencyTable:
        tasks = self._tasks()
        for blocker in self._device.blockers():
            self._terminal.note(f"unsteady now: {blocker} (pnag devices says what to do)")
        if self._protocol.sustained is None:  # a load of another boot is another load
            self._bridge(tasks)
        pending = self._pending(tasks)
        if pending:
            skipped = len(tasks) - len(pending)
            if skipped:
                self._terminal.note(f"going on: {skipped} of {len(tasks)} configurations are done")
            self._sweep(pending)
        if self._request.cold_start:
            self._start_networks(tasks)
        return self._table(tasks)

    def _start_networks(self, tasks: Sequence[Task]) -> None:
        """Once in an epoch, of every network that has a latency."""
        outcomes, done = self._journal.outcomes(), self._journal.starts(self._epoch)
        for task in tasks:
            if task.role is not Role.NETWORK or task.key in done or outcomes[task.key].failed:
                continue
            try:
                with deadline(self._protocol.sampling.deadline_s, "its first use"):
                    start = network_start(self._device, cast(Workload, task.workload))
            except MeasurementError as error:
                self._terminal.note(f"no cold start of {task.workload.key}: {error}")
            else:
                self._journal.set_start(self._epoch, task.key, start)

    def _pending(self, tasks: Sequence[Task]) -> list[Task]:
        """What is not measured yet or has failed; once nothing is left unmeasured, what did not
        converge, too, which then goes on for as long again."""
        self._fail_again(tasks)
        outcomes = self._journal.outcomes()
        failed = {key for key, outcome in outcomes.items() if outcome.failed}
        left = {task.key for task in tasks if not self._carried(task, outcomes.get(task.key))}
        if not left - failed and self.goes_on_unconverged:
            of_space = {task.key for task in tasks}
            capped = {key for key in of_space if outcomes[key].decision is Decision.CAPPED}
            if capped:
                self._terminal.note(f"going on with {len(capped)} that did not converge")
            left |= capped
        return [task for task in tasks if task.key in left]

    def _fail_again(self, tasks: Sequence[Task]) -> None:
        """What hung under this runtime is not tried as its hidden repeat either."""
        outcomes = self._journal.outcomes()
        hung = {o.name: o for o in outcomes.values() if o.hung and o.epoch == self._epoch}
        for task in tasks:
            if task.workload.key in hung and task.key not in outcomes:
                self._journal.add_outcome(task.key, hung[task.workload.key])

    def _carried(self, task: Task, outcome: Outcome | None) -> bool:
        """Whether there is a result of this epoch or a bridged one, with samples to make it of; or
        nothing to expect in this epoch."""
        if outcome is not None and outcome.hung and outcome.epoch == self._epoch:
            return True
        if outcome is None or outcome.failed or outcome.epoch not in self._bridges:
            return False
        return bool(self._journal.blocks(task.key, epoch=outcome.epoch))

    def _tasks(self) -> list[Task]:
        info, seed = self._device.info, self._request.seed
        firsts = [
            make_task(workload, role, info, self._protocol) for workload, role in self._workloads()
        ]
        repeats = self._protocol.repeats
        n_repeats = min(len(firsts), max(repeats.min_count, round(repeats.share * len(firsts))))
        hidden = np.random.default_rng(seed).permutation(len(firsts))[:n_repeats]
        return firsts + [
            make_task(firsts[i].workload, Role.REPEAT, info, self._protocol) for i in sorted(hidden)
        ]

    def _workloads(self) -> list[tuple[AnyWorkload, Role]]:
        """All that the table is made of."""
        request, batch = self._request, self._request.batch_size
        space, count = cast(NetworkSpace, request.space), request.n_networks
        ops = distinct_ops(space, batch_size=batch)
        if request.chosen is not None:
            ops = {key: ops[key] for key in request.chosen.ops}
            drawn = [space.parse(arch) for arch in request.chosen.networks]
        else:
            default = self._protocol.default_networks
            count = default if count is None else count
            drawn = list(draw_networks(space, count, seed=request.seed))
        networks = (network_workload(space, tokens, batch_size=batch) for tokens in drawn)
        return [
            *((Workload(key, (op,)), Role.OP) for key, op in ops.items()),
            *((workload, Role.NETWORK) for workload in networks),
        ]

    def _sweep(self, tasks: Sequence[Task]) -> None:
        run_sweep(
            self._device, self._protocol, self._journal, tasks, self._terminal,
            seed=self._request.seed, what=f"{len(tasks)} configurations",
            max_s=self._until_s - self._device.now(),
        )  # fmt: skip
        self._levels.fix_references(self._epoch)

    def _bridge(self, tasks: Sequence[Task]) -> None:
        """Link results of an earlier epoch to this one.

        A few configurations done in the last epoch are measured again. If their ratios agree,
        its results are carried over, scaled by the ratio; otherwise everything is measured
        again.
        """
        outcomes = self._journal.outcomes()
        done = {
            task.key: outcomes[task.key]
            for task in tasks
            if task.key in outcomes
            and outcomes[task.key].epoch != self._epoch
            and not outcomes[task.key].failed
            and self._journal.blocks(task.key, epoch=outcomes[task.key].epoch)
        }
        rule = self._protocol.epochs
        for epoch in sorted({outcome.epoch for outcome in done.values()}):
            self._levels.fix_references(epoch)  # its first sweep may have been cut off
            members = [task for task in tasks if task.key in done and done[task.key].epoch == epoch]
            chosen = np.random.default_rng(self._request.seed).permutation(len(members))
            bridge = [members[i] for i in chosen[: rule.bridge_configs]]
            old = {task.key: self._entry(task, done[task.key]).latency_ms for task in bridge}
            self._terminal.note(
                f"new boot or runtime: measuring {len(bridge)} configurations again"
            )
            self._sweep(bridge)
            outcomes = self._journal.outcomes()
            ratios = [
                self._entry(task, outcomes[task.key]).latency_ms / old[task.key]
                for task in bridge
                if not outcomes[task.key].failed
            ]
            if ratios and max(ratios) / min(ratios) - 1 <= rule.max_spread:
                self._bridges[epoch] = float(np.median(ratios))
            else:
                self._terminal.note("the earlier results do not carry over; measuring all again")

    def _entry(self, task: Task, outcome: Outcome) -> Entry:
        blocks = self._journal.blocks(task.key, epoch=outcome.epoch)
        return summarise(
            blocks,
            self._levels,
            self._protocol,
            decision=outcome.decision,
            bridge=self._bridges.get(outcome.epoch, 1.0),
            load=self._loads.get(blocks[-1].sweep),
        )

    def _table(self, tasks: Sequence[Task]) -> LatencyTable:
        outcomes = self._journal.outcomes()
        measured = (task.key for task in tasks if not outcomes[task.key].failed)
        blocks = (self._journal.blocks(key, epoch=self._epoch) for key in measured)
        self._loads = loads_of(blocks, self._journal, self._protocol)
        entries: dict[tuple[Role, str], Entry] = {}
        networks_ms, failures = {}, {}
        for task in tasks:
            outcome = outcomes[task.key]
            name = task.workload.key
            if outcome.failed:
                failed = f"{name} (repeat)" if task.role is Role.REPEAT else name
                failures[failed] = outcome.message
            else:
                entries[task.role, name] = entry = self._entry(task, outcome)
                if task.role is Role.NETWORK:
                    networks_ms[task.key] = entry.latency_ms
        repeats = [name for role, name in entries if role is Role.REPEAT]
        firsts = {name: entry for (role, name), entry in entries.items() if role is not Role.REPEAT}
        both = [name for name in repeats if name in firsts]
        starts = self._journal.starts(self._epoch)
        started = {t.workload.key: asdict(starts[t.key]) for t in tasks if t.key in starts}
        return LatencyTable(
            space=SpaceRef.of(self._request.space),
            device=self._device.info,
            protocol=self._protocol_record(tasks),
            load=next(iter(self._loads.values()), None),
            ops={name: e for (role, name), e in entries.items() if role is Role.OP},
            networks=tuple(
                NetworkEntry(arch=name, **entry.model_dump(), **started.get(name, {}))
                for (role, name), entry in entries.items()
                if role is Role.NETWORK
            ),
            failures=failures,
            noise_floor=noise_floor(
                [firsts[name].latency_ms for name in both],
                [entries[Role.REPEAT, name].latency_ms for name in both],
                self._protocol,
            ),
            sessions=session_levels(self._journal, networks_ms, self._protocol, self._bridges),
            created=self._journal.started(),
            tool=this_tool(),
        )

    def _protocol_record(self, tasks: Sequence[Task]) -> dict[str, Any]:
        """The protocol, and how the sweeps went that these results are of."""
        outcomes = self._journal.outcomes()
        sweeps = {
            sweep
            for task in tasks
            for sweep in self._journal.sweeps_of(task.key, outcomes[task.key].epoch)
        }
        report = sum(map(self._journal.report, sorted(sweeps)), start=SweepReport())
        return self._protocol.as_dict() | {
            "seed": self._request.seed,
            "references_ms": self._journal.references_ms(self._epoch),
            "wall_s": round(report.wall_s, 3),
            "measuring_share": round(report.measuring_s / report.wall_s, 4)
            if report.n_blocks
            else None,
            "waited_s": round(report.waited_s, 3),
            "steady_state": report.steady,
        }
