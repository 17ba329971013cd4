"""The GPU device on a simulated queue and replayed sensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiler.devices.base import Workload, network_workload
from profiler.devices.cuda.nvml import GpuState
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import QUICK
from profiler.measuring.sweep import Sweep
from profiler.measuring.task import Role, make_task
from profiler.testing import NETWORK, SMALL, SPACE, DeviceConformance, op_workload
from tests.profiler.devices.cuda.simulated_cuda import (
    COLD_BYTES_PER_MS,
    LAUNCH_MS,
    POWER_W,
    RESOLUTION_MS,
    ReplayedSensors,
    SimulatedQueue,
    launch_ms,
    reading,
    simulated,
    work_ms,
)

OP = op_workload()


@pytest.fixture(autouse=True)
def own_locks(monkeypatch, tmp_path):
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))


class TestGraph(DeviceConformance):
    def open(self):
        return simulated()


class TestCold(DeviceConformance):
    def open(self):
        return simulated(l2="cold", precision="tf32")


class TestEager(DeviceConformance):
    def open(self):
        return simulated(launch="eager", precision="float16", channels_last=True)


class TestNothingCanBeRead(DeviceConformance):
    def open(self):
        silent = ReplayedSensors([GpuState()], while_working=None, max_clock_mhz=None)
        return simulated(sensors=silent, precision="bfloat16")


# --- what is timed --------------------------------------------------------------------


@pytest.mark.parametrize("workload", [OP, op_workload(SMALL), NETWORK], ids=["op", "pool", "net"])
@pytest.mark.parametrize("runs", [5, 40])
def test_a_graph_is_timed_by_the_work_of_the_gpu_alone(workload, runs):
    with simulated() as device:
        measured = device.prepare(workload).sample_ms(runs)
    assert measured == pytest.approx(work_ms(workload), abs=RESOLUTION_MS / runs)


def test_at_batch_1_eager_is_the_time_of_the_host():
    with simulated(launch="eager") as device:
        measured = device.prepare(NETWORK).sample_ms(20)
    assert work_ms(NETWORK) < 0.5 * launch_ms(NETWORK)
    assert measured == pytest.approx(launch_ms(NETWORK), rel=0.01)
    assert len(NETWORK.ops) * LAUNCH_MS == pytest.approx(launch_ms(NETWORK))


def test_at_a_large_batch_eager_is_the_work_of_the_gpu():
    large = network_workload(SPACE, SPACE.parse(NETWORK.key), batch_size=256)
    with simulated(launch="eager", batch_size=256) as device:
        workload = device.prepare(large)
        workload.sample_ms(1)  # fills the cache
        measured = workload.sample_ms(20)
        assert device.info.batch_size == 256
    assert measured == pytest.approx(work_ms(large), rel=0.02)


@pytest.mark.parametrize("runs", [1, 8])
def test_a_cold_cache_costs_the_bytes_of_every_run_and_not_the_flush(runs):
    with simulated(l2="cold") as device:
        measured = device.prepare(OP).sample_ms(runs)
    extra_ms = sum(op.graph.bytes_moved for op in OP.ops) / COLD_BYTES_PER_MS
    assert extra_ms > 10 * RESOLUTION_MS
    assert measured == pytest.approx(work_ms(OP) + extra_ms, abs=2 * RESOLUTION_MS)


def test_a_sample_is_long_enough_for_the_events():
    with simulated() as device:
        assert device.min_sample_ms == 0.1
    with simulated(launch="eager") as device:
        assert device.min_sample_ms == 2.0


def test_energy_is_the_counter_over_the_runs():
    queue = SimulatedQueue()
    with simulated(queue, ReplayedSensors(queue=queue)) as device:
        workload = device.prepare(OP)
        workload.sample_ms(1)
        assert workload.energy_mj(2.0) == pytest.approx(POWER_W * work_ms(OP), rel=0.001)
        with pytest.raises(InvalidInputError, match=r"window of 0.1 s is too short; 2 s at least"):
            workload.energy_mj(0.1)


@pytest.mark.parametrize("launch", ["graph", "eager"])
def test_energy_replays_short_graphs(launch):
    queue = SimulatedQueue()
    with simulated(queue, ReplayedSensors(queue=queue), launch=launch) as device:
        workload = device.prepare(OP)
        assert workload.energy_mj(2.0) == pytest.approx(POWER_W * work_ms(OP), rel=0.02)
    assert max(queue.captured_runs, default=0) * work_ms(OP) < 6.0


def test_without_a_counter_there_is_no_energy():
    with simulated() as device:
        assert device.prepare(OP).energy_mj(2.0) is None


def test_a_closed_workload_gives_no_number():
    with simulated() as device:
        workload = device.prepare(OP)
        workload.sample_ms(2)
        workload.close()
        workload.close()
        with pytest.raises(InvalidInputError, match="closed"):
            workload.sample_ms(2)


# --- what is watched ------------------------------------------------------------------


def state_after(now, *, before=None, while_working=0):
    sensors = ReplayedSensors([before or reading(), now], while_working)
    with simulated(sensors=sensors) as device:
        device.prepare(OP).sample_ms(1)
        return device.state()


@pytest.mark.parametrize(
    ("bits", "reasons", "warnings"),
    [
        (0x0, (), ()),
        (0x1, (), ()),
        (0x2, (), ()),
        (0x4, (), ("power_capped",)),
        (0x8, ("hw_slowdown",), ()),
        (0x20, ("sw_thermal_slowdown",), ()),
        (0x40, ("hw_thermal_slowdown",), ()),
        (0x80, ("hw_power_brake",), ()),
        (0x4 | 0x48, ("hw_slowdown", "hw_thermal_slowdown"), ("power_capped",)),
    ],
)
def test_reasons_discard_or_flag_whenever_they_are_seen(bits, reasons, warnings):
    for state in (
        state_after(reading(event_reasons=bits)),
        state_after(reading(event_reasons=0x1), while_working=bits),
    ):
        assert (state.throttle_reasons, state.warnings) == (reasons, warnings)


def test_a_reason_belongs_to_the_block_in_which_it_was_seen():
    sensors = ReplayedSensors(while_working=0x40)
    with simulated(sensors=sensors) as device:
        workload = device.prepare(OP)
        workload.sample_ms(1)
        sensors.while_working = 0
        workload.sample_ms(1)
        assert device.state().throttle_reasons == ("hw_thermal_slowdown",)
        workload.sample_ms(1)
        assert device.state().throttle_reasons == ()


@pytest.mark.parametrize(
    ("before", "now", "warnings"),
    [
        ({}, {"sm_clock_mhz": 1530.0}, ()),
        ({}, {"sm_clock_mhz": 1350.0}, ("sm_clock_moved",)),
        ({}, {"memory_clock_mhz": 5000.0}, ("memory_clock_moved",)),
        ({"sm_clock_mhz": None}, {}, ()),
        ({}, {"sm_clock_mhz": None, "memory_clock_mhz": None, "event_reasons": None}, ()),
        ({}, {"n_processes": 2}, ("other_processes",)),
        ({}, {"n_processes": 0}, ()),
        ({}, {"n_processes": None}, ()),
    ],
)
def test_what_moves_between_two_blocks_is_flagged(before, now, warnings):
    state = state_after(reading(**now), before=reading(**before))
    assert state.warnings == warnings
    assert state.throttle_reasons == ()


def test_the_host_counts_in_eager_mode_only():
    with simulated() as device:
        assert device.state().load_1min is None
        assert (device.state().clock_mhz, device.state().temperature_c) == (1545.0, 50.0)
    with simulated(launch="eager") as device:
        assert device.state().load_1min is not None
        assert device.state().clock_mhz == 1545.0


def test_blockers_name_slowdowns_and_other_processes():
    sensors = ReplayedSensors([reading(event_reasons=0x20, n_processes=3)])
    with simulated(sensors=sensors) as device:
        assert device.blockers() == [
            "the GPU is slowed down: sw_thermal_slowdown",
            "other processes compute on the GPU: 2",
        ]
    with simulated() as device:
        assert device.blockers() == []


# --- through the sweep ----------------------------------------------------------------


PROTOCOL = replace(
    QUICK,
    warm_up=replace(QUICK.warm_up, min_s=0.0),
    stopping=replace(QUICK.stopping, resamples=200),
)


def make_tasks(device, workloads):
    return [
        make_task(w, Role.OP if len(w.ops) == 1 else Role.NETWORK, device.info, PROTOCOL)
        for w in workloads
    ]


def sweep(device, journal, workloads):
    number = journal.begin_sweep(device.info, PROTOCOL.as_dict(), "now")
    tasks = make_tasks(device, workloads)
    Sweep(device, PROTOCOL, journal, number, seed=0).run(tasks)
    blocks = {task.workload.key: journal.blocks(task.key) for task in tasks}
    return blocks, journal.outcomes(), tasks


class HeatingSensors(ReplayedSensors):
    """Hot during some of its readings."""

    def __init__(self, hot):
        super().__init__()
        self.hot, self.n_read = hot, 0

    def read(self):
        self.n_read += 1
        return reading(event_reasons=0x40 if self.hot(self.n_read) else 0x4)


def test_a_sweep_measures_flags_and_discards():
    with simulated(sensors=HeatingSensors(lambda n: n % 10 == 0)) as device:
        blocks, outcomes, tasks = sweep(device, Journal(None), [OP, NETWORK])
    assert {outcomes[task.key].decision for task in tasks} == {"converged"}
    for workload in (OP, NETWORK):
        of_workload = blocks[workload.key]
        hot = [block for block in of_workload if block.throttled]
        kept = [block for block in of_workload if not block.throttled]
        assert len(kept) == 30
        assert hot
        assert all("throttled:hw_thermal_slowdown" in block.flags for block in hot)
        assert all("power_capped" in block.flags for block in kept)
        samples = np.array([block.samples_ms for block in kept])
        np.testing.assert_allclose(samples, work_ms(workload), atol=RESOLUTION_MS)
        assert all(block.runs * work_ms(workload) >= 0.099 for block in of_workload)


def test_a_gpu_that_stays_hot_is_waited_for_then_refused(monkeypatch):
    journal = Journal(None)
    naps: list[float] = []
    with (
        simulated(sensors=HeatingSensors(lambda n: n > 11)) as device,
        pytest.raises(
            DeviceUnavailableError,
            match=r"cuda:0 stayed throttled \(hw_thermal_slowdown\) for 300 s of waiting",
        ),
    ):
        monkeypatch.setattr(device, "sleep", naps.append)
        sweep(device, journal, [OP, NETWORK])
    tasks = make_tasks(device, [OP, NETWORK])
    throttled = [block.throttled for task in tasks for block in journal.blocks(task.key)]
    assert sum(naps) == pytest.approx(300)
    assert throttled.count(True) == len(naps) + 1
    assert throttled.count(False) == 10


def test_what_is_loaded_at_once_fits_into_the_memory_of_the_gpu():
    """Half of what is free; at a large batch the inputs are most of it."""
    op = SPACE.distinct_ops(batch_size=64)[OP.key]
    large = [Workload(f"large {index}", (op,)) for index in range(6)]
    input_mb = 1e-6 * op.graph.inputs[0].n_bytes
    assert input_mb > 5.0
    for free, most in ((4.8 * input_mb, 2), (1e6, 6), (0.0, 1)):
        with simulated(SimulatedQueue(free=free), batch_size=64) as device:
            number = Journal(None).begin_sweep(device.info, PROTOCOL.as_dict(), "now")
            running = Sweep(device, PROTOCOL, Journal(None), number, seed=0)
            groups = list(running._groups(make_tasks(device, large)))
        assert max(map(len, groups)) == most
        assert sum(map(len, groups)) == 6


def test_what_does_not_fit_into_memory_is_a_failure_with_its_reason():
    queue = SimulatedQueue(too_large=frozenset({NETWORK.key}))
    with simulated(queue) as device:
        blocks, outcomes, tasks = sweep(device, Journal(None), [OP, NETWORK])
    outcome = outcomes[tasks[1].key]
    assert outcome.failed
    assert outcome.message.startswith("out_of_memory: ")
    assert blocks[NETWORK.key] == []
    assert outcomes[tasks[0].key].decision == "converged"
