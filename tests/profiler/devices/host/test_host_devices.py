"""The host's own devices: this CPU for real, the fake and the replay; conformance of all."""

import os
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from profiler.devices.base import Workload
from profiler.devices.host import monitor
from profiler.devices.host.cpu import CpuDevice, discover
from profiler.devices.host.tflite import TFLiteDevice
from profiler.devices.registry import open_device
from profiler.devices.simulated.fake import NETWORK_SHARE, FakeDevice, Scenario
from profiler.devices.simulated.replay import ReplayDevice
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.measuring.protocol import QUICK
from profiler.measuring.records import HUNG
from profiler.measuring.sampling import deadline
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table
from profiler.terminal import Terminal
from profiler.testing import LARGE, NETWORK, DeviceConformance, op_workload

SPACE = MobileNetV3Space()
FAST = replace(QUICK, stopping=replace(QUICK.stopping, min_blocks=10, resamples=50))


@pytest.fixture(scope="module")
def table_path(tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "fake.json"
    return profile_device(
        ProfileRequest("fake", SPACE, out, FAST, n_networks=2), Terminal(quiet=True)
    )


class TestCpu(DeviceConformance):
    def open(self):
        return CpuDevice()


class TestFake(DeviceConformance):
    def open(self):
        return FakeDevice(3)


class TestReplay(DeviceConformance):
    @pytest.fixture(autouse=True)
    def _table(self, table_path):
        self.path = table_path

    @contextmanager
    def open(self):
        with ReplayDevice(self.path) as device:
            yield device


# --- this CPU -----------------------------------------------------------------------


def test_the_process_is_pinned_to_allowed_cores_until_the_device_is_closed():
    before = os.sched_getaffinity(0)
    with CpuDevice() as device:
        cores = device.info.affinity
        assert cores is not None and len(cores) == 1
        assert os.sched_getaffinity(0) == set(cores)
        assert set(cores) <= before
    assert os.sched_getaffinity(0) == before


def test_the_cores_are_locked_for_every_runtime_until_the_device_is_closed():
    for first, second in ((CpuDevice, TFLiteDevice), (TFLiteDevice, CpuDevice)):
        with (
            first(),
            pytest.raises(DeviceUnavailableError, match="is at work on host cpu"),
        ):
            second()
        second().close()


def test_a_workload_is_the_same_model_every_time():
    outputs = []
    with CpuDevice() as device:
        for _ in range(2):
            prepared = device.prepare(op_workload())
            prepared.sample_ms(1)
            outputs.append(prepared.output().copy())
            prepared.close()
    assert outputs[0].shape == LARGE.graph.outputs[0].shape
    assert outputs[0].std() > 0.01
    np.testing.assert_array_equal(*outputs)


def test_batches_are_run_as_such():
    op = SPACE.distinct_ops(batch_size=3)[LARGE.key]
    with CpuDevice(batch_size=3) as device:
        prepared = device.prepare(Workload(op.key, (op,)))
        prepared.sample_ms(1)
        assert prepared.output().shape[0] == 3


def test_a_model_that_does_not_load_is_a_typed_failure(monkeypatch):
    monkeypatch.setattr("profiler.devices.host.cpu.seeded_onnx", lambda *_: b"not a model")
    with CpuDevice() as device, pytest.raises(MeasurementError) as caught:
        device.prepare(op_workload())
    assert caught.value.reason == "load_failed"


def test_a_model_that_does_not_run_is_a_typed_failure():
    with CpuDevice() as device:
        prepared = device.prepare(op_workload())
        prepared._session._binding.clear_binding_inputs()
        with pytest.raises(MeasurementError) as caught:
            prepared.sample_ms(1)
    assert caught.value.reason == "run_failed"


def test_one_thread_is_timed_by_its_cpu_time_several_by_the_wall():
    assert monitor.clock_name(monitor.sample_clock(1)) == "thread_cpu"
    assert monitor.clock_name(monitor.sample_clock(2)) == "wall"
    assert monitor.clock_name(monitor.sample_clock(1, wall=True)) == "wall"
    with CpuDevice() as device:
        assert dict(device.info.options)["clock"] == "thread_cpu"


def test_more_threads_than_allowed_cores_are_refused():
    n = len(os.sched_getaffinity(0))
    with pytest.raises(DeviceUnavailableError, match=f"may use {n} cores"):
        CpuDevice(threads=n + 1)


def test_the_quietest_cores_are_among_the_allowed():
    allowed = os.sched_getaffinity(0)
    assert set(monitor.quietest_cores(1, probe_s=0.01)) <= allowed
    assert monitor.quietest_cores(len(allowed)) == tuple(sorted(allowed))


def test_the_cpu_is_discovered_with_its_runtime():
    (status,) = discover()
    assert status.spec == "cpu"
    assert status.runtime.startswith("onnxruntime ")
    assert all(finding.problem and finding.remedy for finding in status.findings)


# --- reading the host -----------------------------------------------------------------


@pytest.fixture
def proc(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "PROC", tmp_path)
    monkeypatch.setattr(monitor, "CPUFREQ", tmp_path / "cpu")
    return tmp_path


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_what_cannot_be_read_is_none(proc):
    state = monitor.HostMonitor((0,)).state()
    assert (state.steal_pct, state.waiting_pct, state.cpu_pressure_pct, state.clock_mhz) == (
        (None,) * 4
    )
    assert monitor.governor() is None
    assert monitor.turbo_enabled() is None
    assert monitor.smt_active() is None
    assert monitor.boot_id() is None
    assert monitor.scattered_free_mb() is None


BUDDYINFO = """\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
Node 0, zone   Normal   1000    500    250    100     50      5      0      0      0      0   2000
"""


def test_free_memory_in_small_pieces(proc, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 4096)
    write(proc, {"buddyinfo": BUDDYINFO})
    pages = 1000 + 2 * 500 + 4 * 250 + 8 * 100  # 16 pages are 64 KiB
    assert monitor.scattered_free_mb() == pages * 4096 / 1e6
    write(proc, {"buddyinfo": "Node 0, zone Normal 1 two 3"})
    assert monitor.scattered_free_mb() is None


def test_what_is_no_number_is_none(proc):
    write(proc, {
        "stat": "cpu0 1 2 3 4\n", "pressure/cpu": "some avg10=1.2.3 avg60=0\n",
        "thread-self/schedstat": "12\n", "cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n",
    })  # fmt: skip
    state = monitor.HostMonitor((0,)).state()
    assert (state.steal_pct, state.waiting_pct, state.cpu_pressure_pct, state.clock_mhz) == (
        (None,) * 4
    )


def test_steal_and_waiting_are_shares_since_the_last_read(proc, monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("profiler.devices.host.monitor.time.monotonic", lambda: next(clock))
    write(proc, {"stat": "cpu0 100 0 0 100 0 0 0 0 0 0\n", "thread-self/schedstat": "5 0 1"})
    watch = monitor.HostMonitor((0,))
    watch.state()
    write(
        proc,
        {
            # user nice system idle iowait irq softirq steal: 200 ticks, 10 of them stolen
            "stat": "cpu0 190 0 0 200 0 0 0 10 0 0\n",
            "thread-self/schedstat": "5 500000000 1",  # waited 0.5 s of 2 s
            "pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n",
            "cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        },
    )
    state = watch.state()
    assert state.steal_pct == pytest.approx(5.0)
    assert state.waiting_pct == pytest.approx(25.0)
    assert state.cpu_pressure_pct == 12.5
    assert state.clock_mhz == 2400.0


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({"cpu/intel_pstate/no_turbo": "1\n"}, False),
        ({"cpu/intel_pstate/no_turbo": "0\n"}, True),
        ({"cpu/cpufreq/boost": "1\n"}, True),
        ({"cpu/cpufreq/boost": "0\n"}, False),
    ],
)
def test_turbo_is_read_from_intel_and_from_others(proc, files, turbo):
    write(proc, files)
    assert monitor.turbo_enabled() is turbo


# --- fake and replay ------------------------------------------------------------------


def test_the_fake_device_has_a_closed_form():
    device = FakeDevice(0, scenario=Scenario(noise=0))
    expected = NETWORK_SHARE * sum(
        op.graph.madds / 2e7 + op.graph.bytes_moved / 1e7 + 0.01 for op in NETWORK.ops
    )
    assert device.prepare(NETWORK).sample_ms(1) == pytest.approx(expected)
    assert device.now() == pytest.approx(expected / 1e3)


def test_replay_answers_with_the_table(table_path):
    table = load_table(table_path)
    with ReplayDevice(table_path) as device:
        for key, op in list(SPACE.distinct_ops().items())[::30]:
            prepared = device.prepare(Workload(key, (op,)))
            assert prepared.sample_ms(5) == table.ops[key].latency_ms
        measured = table.networks[0]
        ops = tuple(SPACE.ops(SPACE.parse_architecture(measured.arch)))
        assert device.prepare(Workload(measured.arch, ops)).sample_ms(1) == measured.latency_ms
        other = device.prepare(Workload("not in the table", ops)).sample_ms(1)
        assert other == pytest.approx(sum(table.ops[op.key].latency_ms for op in ops))
        foreign = MobileNetV3Space(width_mult=1.2).block_op(0, 3, 3)
        with pytest.raises(MeasurementError, match="lacks") as caught:
            device.prepare(Workload("x", (foreign,)))
        assert caught.value.reason == "not_in_table"


def test_replay_refuses_other_settings(table_path):
    with pytest.raises(InvalidInputError, match="threads 1, not 2"):
        ReplayDevice(table_path, threads=2)


# --- specs ----------------------------------------------------------------------------


def test_specs_open_what_they_name(table_path):
    for spec, platform in (("cpu", "cpu"), ("fake:7", "fake"), (f"replay:{table_path}", "replay")):
        with open_device(spec) as device:
            assert device.info.platform == platform
            assert device.info.spec == spec


@pytest.mark.parametrize(
    "spec",
    ["", "gpu", "cpu:1", "cuda:x", "fake:-1", "replay:", "adb:", "tflite:0", "CPU", "replay"],
)
def test_unknown_specs_are_refused_with_the_known_forms(spec):
    with pytest.raises(InvalidInputError, match=r"known forms: cpu \| cuda"):
        open_device(spec)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"batch_size": -1}])
def test_counts_below_one_are_refused(settings):
    with pytest.raises(InvalidInputError, match="at least 1"):
        open_device("fake", **settings)


def test_a_precision_the_runtime_lacks_is_refused():
    with pytest.raises(InvalidInputError, match="float32, not int8"):
        open_device("cpu", precision="int8")


def test_a_launch_runs_workloads_in_a_process_of_its_own():
    op = MobileNetV3Space(resolution_px=96).head_ops()[1]
    with CpuDevice() as device:
        with device.launch() as launch:
            assert launch.info == device.info
            prepared = launch.prepare(Workload(op.key, (op,)))
            here = device.prepare(Workload(op.key, (op,)))
            there_ms, here_ms = (one.sample_ms(20) for one in (prepared, here))
            for _ in range(5000):  # a neighbour slows one core or the other for a while
                if there_ms == pytest.approx(here_ms, rel=0.5):
                    break
                there_ms = min(there_ms, prepared.sample_ms(20))
                here_ms = min(here_ms, here.sample_ms(20))
            assert there_ms == pytest.approx(here_ms, rel=0.5)
            assert launch.state().load_1min is not None
            assert os.sched_getaffinity(launch._process.pid or 0) == set(device.cores)
            assert os.sched_getaffinity(0) == set(device.other_cores or device.cores)
            with pytest.raises(MeasurementError, match="cannot be interpreted as an integer"):
                launch.ask("sample_ms", 0, "no number")
            assert prepared.sample_ms(1) > 0  # what failed there ended nothing
        with device.launch() as launch:
            prepared = launch.prepare(Workload(op.key, (op,)))
            with (
                pytest.raises(MeasurementError, match="did not come back") as hung,
                deadline(0.2, ""),
            ):
                prepared.sample_ms(10**9)
            assert hung.value.reason == HUNG
            prepared.close()
            with pytest.raises(DeviceUnavailableError, match="process of the runtime died"):
                launch.prepare(Workload(op.key, (op,)))
        with device.launch() as launch:
            launch.prepare(Workload(op.key, (op,)))
            launch._pipe.send(("sample_ms", (0, 50_000)))  # closed meanwhile, as by Ctrl-C
        assert launch._process.exitcode == 0
        assert os.sched_getaffinity(0) == set(device.cores)
