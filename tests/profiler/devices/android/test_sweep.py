"""Whole sweeps over links that break: everything ends in a right value or a typed failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.android.device import AndroidDevice
from profiler.devices.base import Device, Workload
from profiler.errors import DeviceUnavailableError
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import FULL
from profiler.measuring.sweep import Sweep
from profiler.measuring.task import Role, Task, make_task
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.adbd import Adbd, Fault

pytestmark = pytest.mark.slow

MakeDevice = Callable[..., AndroidDevice]
SPACE = MobileNetV3Space(resolution_px=128)
OPS = [SPACE.block_op(16, 3, 3), SPACE.block_op(12, 4, 5), *SPACE.head_ops()[1:]]
N_BLOCKS = 2
PROTOCOL = replace(
    FULL,
    warm_up=replace(FULL.warm_up, min_runs=1),
    sampling=replace(FULL.sampling, op_samples_per_block=1, network_samples_per_block=1),
    stopping=replace(FULL.stopping, min_blocks=N_BLOCKS, op_cap_s=0.0, network_cap_s=0.0),
)


def sweep(device: Device, journal: Journal) -> list[Task]:
    tasks = [make_task(Workload(op.key, (op,)), Role.OP, device.info, PROTOCOL) for op in OPS]
    number = journal.begin_sweep(device.info, PROTOCOL.as_dict(), "2026-11-24T00:00:00+00:00")
    Sweep(device, PROTOCOL, journal, number, seed=3).run(
        [task for task in tasks if task.key not in journal.outcomes()]
    )
    return tasks


def latencies_ms(journal: Journal, tasks: list[Task]) -> dict[str, list[float]]:
    return {
        task.workload.key: [s for block in journal.blocks(task.key) for s in block.samples_ms]
        for task in tasks
    }


def test_a_drop_at_every_tenth_service(adbd: Adbd, make_device: MakeDevice, tmp_path: Path) -> None:
    adbd.drop_every = 10
    with make_device(adbd) as device, Journal(tmp_path / "j.sqlite") as journal:
        tasks = sweep(device, journal)
        assert {outcome.decision for outcome in journal.outcomes().values()} == {"capped"}
        values = latencies_ms(journal, tasks)
    assert [len(samples) for samples in values.values()] == [1] * len(OPS)
    assert all(0 < sample < 1000 for samples in values.values() for sample in samples)
    assert len(adbd.received) > 40  # at least four drops


@pytest.mark.parametrize("tool", ["binary", "compiled_binary"])
def test_every_fault_on_the_way(
    adbd: Adbd, make_device: MakeDevice, request: pytest.FixtureRequest, tool: str, tmp_path: Path
) -> None:
    """One broken run of each kind in one sweep: typed rows for those, values for the rest."""
    program = request.getfixturevalue(tool)
    with (
        make_device(adbd, benchmark_binary=program) as device,
        Journal(tmp_path / "j.sqlite") as journal,
    ):
        adbd.faults = [
            Fault("drop_push"),
            Fault("drop_after", "--num_runs="),
            Fault("truncate", "df"),
        ]
        # after one run of each op: a killed run is tried again, a localised one is a failure
        adbd.phone.put("fault", "\n" * len(OPS) + "killed\n\n\nlocalized\n")
        tasks = sweep(device, journal)
        outcomes = journal.outcomes()
        failed = [o.message for o in outcomes.values() if o.failed]
        assert len(outcomes) == len(OPS)
        assert [message.partition(":")[0] for message in failed] == ["localized_number"]
        for task in tasks:
            assert bool(journal.blocks(task.key)) != outcomes[task.key].failed


def test_a_reboot_ends_the_sweep_and_resume_goes_on(
    adbd: Adbd, make_device: MakeDevice, tmp_path: Path
) -> None:
    path = tmp_path / "j.sqlite"
    # when the third op is measured; each is run once before
    adbd.faults = [Fault("reboot", "--num_runs=", skip=len(OPS) + 2)]
    with Journal(path) as journal:
        with pytest.raises(DeviceUnavailableError, match="--resume"), make_device(adbd) as device:
            sweep(device, journal)
        with make_device(adbd) as device:
            tasks = sweep(device, journal)
        assert set(journal.outcomes()) == {task.key for task in tasks}
        first, second = journal.epochs()
        blocks = [block.epoch for task in tasks for block in journal.blocks(task.key)]
        assert (blocks.count(first), blocks.count(second)) == (2, 5)
