"""One sweep as a call; split over several launches of the runtime, where the device can start one.

Where in memory a launch places a workload moves its latency by a percent or two, for as long as it
is loaded. Samples of one launch, however many, do not show that; the spread between launches does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

from profiler.devices.base import Device, Launching, epoch_of
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.sweep import Sweep
from profiler.measuring.task import Task
from profiler.system.stamp import now
from profiler.terminal import Terminal


def run_sweep(
    device: Device, protocol: MeasuringProtocol, journal: Journal, tasks: Sequence[Task],
    terminal: Terminal, *, seed: int, what: str, max_s: float = inf,
) -> None:  # fmt: skip
    """Record one more sweep over `tasks` in the journal, with its progress on the terminal; of
    several launches each is a sweep of its own there.

    Args:
        seed: of the order; every sweep of a journal has another one.
        what: names the tasks with their number.
        max_s: for all launches; each configuration gets its least number of blocks all the same.
    """
    begin_s = device.now()
    n = protocol.launches if isinstance(device, Launching) else 1
    begun: list[int] = []
    for launch in range(1, n + 1):
        left = _left(tasks, journal, protocol, epoch_of(device.info), launch / n, begun)
        if launch < n and not left:  # by launches of an earlier command
            continue
        begun.append(journal.begin_sweep(device.info, protocol.as_dict(), now()))
        which = f", launch {launch} of {n}" if n > 1 else ""
        with (
            terminal.progress(f"{device.info.spec}: {what}{which}", len(left)) as progress,
            _launched(device, anew=n > 1) as here,
        ):
            Sweep(
                here, protocol, journal, begun[-1],
                seed=seed + begun[-1], progress=progress, share=launch / n, launched=n > 1,
                max_s=max_s - (device.now() - begin_s),
            ).run(left)  # fmt: skip


def _left(
    tasks: Sequence[Task], journal: Journal, protocol: MeasuringProtocol, epoch: str,
    share: float, begun: Sequence[int],
) -> list[Task]:  # fmt: skip
    """What has not failed in a launch before, nor has its share of blocks already."""
    outcomes = journal.outcomes()

    def is_left(task: Task) -> bool:
        known = outcomes.get(task.key)
        if known is not None and known.failed and known.sweep in begun:
            return False
        if share == 1:
            return True
        blocks = [one for one in journal.blocks(task.key, epoch=epoch) if not one.throttled]
        return not protocol.stopping.may_pause(
            len(blocks), sum(one.spent_s for one in blocks), share,
            is_network=task.workload.is_network,
        )  # fmt: skip

    return [task for task in tasks if is_left(task)]


@contextmanager
def _launched(device: Device, *, anew: bool) -> Iterator[Device]:
    if anew and isinstance(device, Launching):
        with device.launch() as launched:
            yield launched
    else:
        yield device
