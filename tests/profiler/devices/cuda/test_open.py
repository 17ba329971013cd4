"""What opening a GPU sets, records and restores; its models; and a real one where there is one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from profiler.cli.profile import register
from profiler.devices.base import Workload
from profiler.devices.cuda import device as cuda
from profiler.devices.cuda import queue as cuda_queue
from profiler.devices.cuda.device import CudaDevice, discover, gpu_findings
from profiler.devices.cuda.nvml import GpuState
from profiler.devices.cuda.options import CudaMode
from profiler.devices.cuda.queue import Gpu, TorchQueue, as_ours, build, usable_torch
from profiler.devices.registry import open_device, recorded_options
from profiler.devices.seeded import seeded_module
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.measuring.protocol import QUICK
from profiler.measuring.several_devices import Profiled
from profiler.measuring.task import Role, make_task
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.testing import LARGE, NETWORK, SMALL, DeviceConformance, op_workload
from tests.profiler.devices.cuda.simulated_cuda import (
    ReplayedSensors,
    SimulatedQueue,
    reading,
    simulated,
)

OP = op_workload()


@pytest.fixture(autouse=True)
def own_locks(monkeypatch, tmp_path):
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))


# --- one configuration, opened and closed ---------------------------------------------


def test_everything_that_changes_the_numbers_is_recorded():
    with simulated(index=1, precision="float16", channels_last=True, batch_size=64) as device:
        info = device.info
    assert (info.spec, info.platform, info.model) == ("cuda:1", "cuda", "Simulated GPU")
    assert info.runtime_version == "0.0 CUDA 0.0 cuDNN 0 driver 555.42"
    assert (info.precision, info.batch_size, info.max_clock_mhz) == ("float16", 64, 2100.0)
    assert dict(info.options) == {
        "batch_norm": "folded",
        "cudnn_benchmark": "off",
        "l2": "hot",
        "launch": "graph",
        "memory_format": "channels_last",
        "tf32": "off",
        "uuid": "GPU-simulated",
    }


def test_every_mode_is_a_result_of_its_own():
    settings: list[dict[str, Any]] = [
        {}, {"launch": "eager"}, {"l2": "cold"}, {"channels_last": True}, {"precision": "tf32"},
        {"lock_clocks_mhz": 1350},
    ]  # fmt: skip
    keys = set()
    for chosen in settings:
        with simulated(**chosen) as device:
            keys.add(make_task(OP, Role.OP, device.info, QUICK).key)
    assert len(keys) == len(settings)


def test_clocks_are_touched_only_when_asked_and_restored_whatever_happens():
    sensors = ReplayedSensors()
    with simulated(sensors=sensors):
        pass
    assert sensors.calls == ["close"]
    sensors = ReplayedSensors()
    with (
        pytest.raises(KeyboardInterrupt),
        simulated(sensors=sensors, lock_clocks_mhz=1350) as device,
    ):
        assert dict(device.info.options)["locked_clock_mhz"] == "1350"
        assert sensors.calls == ["lock 1350"]
        raise KeyboardInterrupt
    assert sensors.calls == ["lock 1350", "unlock", "close"]


def test_a_device_that_cannot_be_opened_leaves_nothing_behind():
    queue, sensors = SimulatedQueue(), ReplayedSensors(may_lock=False)
    with pytest.raises(DeviceUnavailableError, match="needs root"):
        simulated(queue, sensors, lock_clocks_mhz=1350)
    assert queue.closed
    assert sensors.calls == ["close"]
    with simulated():  # and it is not locked
        pass


def test_one_process_at_a_time_measures_on_a_gpu_under_whatever_index():
    with simulated(index=0), pytest.raises(DeviceUnavailableError, match="GPU-simulated"):
        simulated(index=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"launch": "lazy"}, "unknown launch mode 'lazy'; known: graph, eager"),
        ({"l2": "warm"}, "unknown l2 mode 'warm'; known: hot, cold"),
        ({"launch": "eager", "l2": "cold"}, "a cold L2 needs graph launches"),
        ({"lock_clocks_mhz": 0}, "clocks cannot be locked at 0 MHz"),
        ({"threads": 2}, "no threads to set, but 2 were asked"),
        ({"precision": "int8"}, "measures float32, tf32, float16, bfloat16, not int8"),
    ],
)
def test_settings_a_gpu_does_not_have_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        simulated(**settings)


# --- torch ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op", [LARGE, SMALL, *MobileNetV3Space().head_ops()], ids=lambda op: op.key
)
def test_folding_batch_norm_does_not_change_an_op(op):
    workload = op_workload(replace(op, batch_size=2))
    folded, image = build(workload)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert image.shape == (2, op.in_channels, op.height_px, op.width_px)
    with torch.inference_mode():
        expected = seeded_module(workload)(image)
        torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-5)


def test_a_workload_is_the_same_model_every_time():
    outputs = []
    for _ in range(2):
        module, image = build(NETWORK)
        with torch.inference_mode():
            outputs.append(module(image))
    assert outputs[0].shape == (1, 1000)
    assert outputs[0].std() > 0.01
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    other, _ = build(Workload("another key", NETWORK.ops))
    assert not torch.equal(next(other.parameters()), next(module.parameters()))


def test_errors_of_torch_are_told_apart():
    memory = as_ours(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "net")
    assert isinstance(memory, MeasurementError)
    assert (memory.reason, str(memory)) == (
        "out_of_memory",
        "net does not fit into GPU memory: CUDA out of memory. Tried",
    )
    lost = as_ours(RuntimeError("CUDA error: an illegal memory access was encountered"), "net")
    assert isinstance(lost, DeviceUnavailableError)
    other = as_ours(RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "net")
    assert isinstance(other, MeasurementError)
    assert other.reason == "run_failed"


def test_switches_of_torch_are_restored():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark)
    for tf32 in (False, True):
        restore = cuda_queue._set_switches(torch, tf32=tf32)
        if hasattr(cudnn, "conv"):
            precision = "tf32" if tf32 else "ieee"
            assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == (precision, precision)
        else:
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (tf32, tf32)
        assert not cudnn.benchmark
        restore()
        assert (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark) == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9")
def test_switches_are_set_after_a_user_set_the_newer_ones():
    """Reading the older flags is an error then. The state is the process's, hence another one."""
    program = """
import torch
from profiler.devices.cuda.queue import _set_switches
torch.backends.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "ieee"
try:
    torch.backends.cudnn.allow_tf32
except RuntimeError:
    print("unreadable")
read = lambda: (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)
print(*read())
for tf32 in (False, True):
    restore = _set_switches(torch, tf32=tf32)
    print(*read())
    restore()
    print(*read())
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n") == [
        "unreadable", "ieee tf32", "ieee ieee", "ieee tf32", "tf32 tf32", "ieee tf32", "",
    ]  # fmt: skip


def test_switches_of_an_older_torch_are_its_flags():
    cudnn = SimpleNamespace(allow_tf32=True, benchmark=True)
    matmul = SimpleNamespace(allow_tf32=False)
    old = SimpleNamespace(
        backends=SimpleNamespace(cudnn=cudnn, cuda=SimpleNamespace(matmul=matmul))
    )
    restore = cuda_queue._set_switches(old, tf32=False)
    assert (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark) == (False, False, False)
    restore()
    assert (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark) == (True, False, True)


def test_a_torch_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceUnavailableError, match="is built without CUDA; install one"):
        usable_torch()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailableError, match="finds no usable GPU; check nvidia-smi"):
        usable_torch()


# --- specs and `pnag devices` ---------------------------------------------------------


def test_specs_and_options_reach_the_device(monkeypatch):
    opened: dict[str, Any] = {}

    def queue(index, **settings):
        opened.update(settings, index=index)
        return SimulatedQueue()

    monkeypatch.setattr(cuda, "TorchQueue", queue)
    monkeypatch.setattr(cuda, "NvmlSensors", lambda uuid: ReplayedSensors())
    monkeypatch.setattr(cuda, "require_driver", lambda: None)
    with open_device("cuda:2", batch_size=8, precision="bfloat16", launch="eager") as device:
        assert device.info.spec == "cuda:2"
        assert isinstance(device, CudaDevice)
        assert device.mode.launch == "eager"
    assert opened == {"index": 2, "precision": "bfloat16", "channels_last": False}


@pytest.mark.parametrize(
    "settings",
    [{}, {"launch": "eager", "channels_last": True}, {"l2": "cold", "lock_clocks_mhz": 1350}],
)
def test_a_device_is_opened_again_as_a_table_recorded_it(settings):
    with simulated(**settings) as device:
        first = device.info
    with simulated(**recorded_options(first, "cuda:1")) as device:
        assert device.info == first
    assert recorded_options(first, "cpu") == {}
    assert recorded_options(replace(first, platform="cpu"), "cuda") == {}


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ((), {}),
        (
            ("--launch", "eager", "--channels-last", "--lock-clocks", 1350),
            {"launch": "eager", "channels_last": True, "lock_clocks_mhz": 1350},
        ),
        (("--l2", "cold", "--precision", "tf32"), {"l2": "cold"}),
    ],
)
def test_the_command_line_sets_the_mode(monkeypatch, arguments, settings):
    requests = []

    def profiled(asked, terminal):
        requests.extend(asked)
        return Profiled(())

    monkeypatch.setattr("profiler.measuring.several_devices.profile_devices", profiled)
    app = typer.Typer()
    register(app)
    command = ["profile", "--device", "cuda:1", "--device", "fake", *map(str, arguments)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    on_cuda, on_fake = requests
    assert CudaMode(**on_cuda.device_options) == CudaMode(**settings)
    assert on_fake.device_options == {}


def no_driver():
    raise DeviceUnavailableError("no NVIDIA GPU can be used: NVML says so")


def test_without_a_driver_one_line_says_so_before_torch_is_asked(monkeypatch):
    monkeypatch.setattr(cuda, "require_driver", no_driver)
    monkeypatch.setattr(cuda, "usable_torch", lambda: pytest.fail("torch was imported"))
    with pytest.raises(DeviceUnavailableError, match="no NVIDIA GPU can be used") as error:
        open_device("cuda")
    assert error.value.exit_code == 4
    with pytest.raises(DeviceUnavailableError, match="no NVIDIA GPU can be used"):
        discover()


def test_gpus_are_listed_with_what_disturbs_them(monkeypatch):
    sensors = ReplayedSensors([reading(n_processes=1, event_reasons=0x80)])
    gpu = Gpu("Simulated GPU", "GPU-simulated", "2.9 CUDA 13.0 cuDNN 91")
    monkeypatch.setattr(cuda, "require_driver", lambda: None)
    monkeypatch.setattr(cuda, "usable_torch", lambda: torch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "describe_gpu", lambda index: gpu)
    monkeypatch.setattr(cuda, "NvmlSensors", lambda uuid: sensors)
    (status,) = discover()
    assert (status.spec, status.model, status.measurable) == ("cuda:0", "Simulated GPU", True)
    assert status.runtime == "torch 2.9 CUDA 13.0 cuDNN 91, driver 555.42"
    assert [finding.problem for finding in status.findings] == [
        "cuda:0 is slowed down: hw_power_brake",
        "processes compute on cuda:0: 1",
    ]
    with simulated():
        (status,) = discover()
    assert not status.measurable
    assert "is at work on gpu GPU-simulated" in status.reason


def test_a_gpu_that_cannot_be_asked_does_not_hide_the_others(monkeypatch):
    def describe(index):
        if index == 0:
            raise DeviceUnavailableError("torch 2.13 cannot use GPU 0: cuDNN is not compatible")
        return Gpu("Simulated GPU", "GPU-simulated", "2.13")

    monkeypatch.setattr(cuda, "require_driver", lambda: None)
    monkeypatch.setattr(cuda, "usable_torch", lambda: torch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "describe_gpu", describe)
    monkeypatch.setattr(cuda, "NvmlSensors", lambda uuid: ReplayedSensors())
    broken, usable = discover()
    assert (broken.spec, broken.measurable) == ("cuda:0", False)
    assert broken.reason == "torch 2.13 cannot use GPU 0: cuDNN is not compatible"
    assert (usable.spec, usable.measurable) == ("cuda:1", True)


def test_a_quiet_gpu_has_no_findings():
    assert gpu_findings(0, reading(n_processes=0)) == []
    assert gpu_findings(0, GpuState()) == []


# --- a real GPU -----------------------------------------------------------------------


@pytest.mark.gpu
class TestRealGraph(DeviceConformance):
    def open(self):
        return CudaDevice()


@pytest.mark.gpu
class TestRealEager(DeviceConformance):
    def open(self):
        return CudaDevice(precision="float16", mode=CudaMode("eager", channels_last=True))


@pytest.mark.gpu
def test_the_gpu_computes_what_the_cpu_computes():
    module, image = build(NETWORK)
    with torch.inference_mode():
        expected = module(image)
    queue = TorchQueue(0, precision="float32", channels_last=False)
    try:
        result = queue.load(NETWORK)()
        queue.synchronize()
    finally:
        queue.close()
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_modes_order_as_they_must():
    """The host adds to a small network at batch 1; a cold cache adds to an op."""
    latency_ms = {}
    for mode in (CudaMode("graph", "hot"), CudaMode("graph", "cold"), CudaMode("eager", "hot")):
        with CudaDevice(mode=mode) as device:
            workload = device.prepare(NETWORK)
            latency_ms[mode.launch, mode.l2] = min(workload.sample_ms(10) for _ in range(20))
            workload.close()
    assert latency_ms["graph", "hot"] < latency_ms["eager", "hot"]
    assert latency_ms["graph", "hot"] < latency_ms["graph", "cold"]
