"""LiteRT on this machine as a device."""

import os
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest

from profiler.devices.base import Workload
from profiler.devices.host.tflite import TFLiteDevice, discover
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.graph.litert import Runtime, load_runtime
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind
from profiler.testing import DeviceConformance

BLOCK = OpConfig(OpKind.MBCONV, 16, 24, 8, 8, 48, 5, 2, True, OpActivation.HARD_SWISH)
WORKLOAD = Workload(BLOCK.key, (BLOCK,))


class TestFloat32(DeviceConformance):
    def open(self):
        return TFLiteDevice()


class TestInt8(DeviceConformance):
    def open(self):
        return TFLiteDevice(precision="int8")


@pytest.fixture
def device():
    with TFLiteDevice() as device:
        yield device


def test_what_is_fixed_is_described(device):
    info = device.info
    assert (info.spec, info.platform, info.threads, info.batch_size) == ("tflite", "tflite", 1, 1)
    assert (info.runtime, info.runtime_version) == ("LiteRT", version("ai-edge-litert"))
    assert info.precision == "float32"
    assert info.n_cores == os.cpu_count()
    assert dict(info.options) == {
        "clock": "thread_cpu",
        "delegate": "XNNPACK",
        "delegation": "full",
    }


def test_the_process_is_pinned_until_the_device_is_closed():
    before = os.sched_getaffinity(0)
    with TFLiteDevice() as device:
        cores = device.info.affinity
        assert cores is not None and len(cores) == 1
        assert os.sched_getaffinity(0) == set(cores)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_workload_is_the_same_model_every_time(precision):
    outputs = []
    with TFLiteDevice(precision=precision) as device:
        for _ in range(2):
            workload = device.prepare(WORKLOAD)
            assert workload.sample_ms(2) > 0
            outputs.append(workload.output())
            workload.close()
    assert outputs[0].shape == (1, 4, 4, 24)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert outputs[0].std() > 0.01


def test_the_batch_size_is_that_of_the_ops():
    with TFLiteDevice(batch_size=3, precision="int8") as device:
        workload = device.prepare(Workload(BLOCK.key, (replace(BLOCK, batch_size=3),)))
        workload.sample_ms(1)
        assert workload.output().shape == (3, 4, 4, 24)
        workload.close()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_whole_networks_are_prepared(precision):
    space = MobileNetV3Space(resolution_px=128)
    arch = space.decode(space.sample(1, np.random.default_rng(0))[0])
    with TFLiteDevice(precision=precision) as device:
        workload = device.prepare(Workload(str(arch), tuple(space.ops(arch))))
        workload.sample_ms(1)
        assert workload.output().shape == (1, 1000)
        workload.close()


def test_a_graph_that_xnnpack_does_not_run_whole_gives_no_number(monkeypatch):
    """As a runtime built without XNNPACK would: its default resolver has no delegate."""
    module = load_runtime().module
    kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    plain = SimpleNamespace(
        Interpreter=module.Interpreter, OpResolverType=SimpleNamespace(BUILTIN=kernels)
    )
    monkeypatch.setattr(
        "profiler.devices.host.tflite.load_runtime",
        lambda: Runtime(plain, "TensorFlow Lite", "2.9"),
    )
    with (
        TFLiteDevice() as device,
        pytest.raises(MeasurementError, match="XNNPACK does not run all of expanded_conv") as error,
    ):
        device.prepare(WORKLOAD)
    assert error.value.reason == "not_delegated"


def test_an_invocation_that_fails_gives_no_number(device):
    workload = device.prepare(WORKLOAD)

    def fail():
        raise RuntimeError("Node number 7 (TfLiteXNNPackDelegate) failed to invoke.")

    workload._model.invoke = fail
    with pytest.raises(MeasurementError, match="Node number 7") as error:
        workload.sample_ms(1)
    assert error.value.reason == "invoke_failed"


def test_closing_twice_is_harmless(device):
    workload = device.prepare(WORKLOAD)
    workload.close()
    workload.close()


def test_this_machine_is_listed_with_its_runtime(monkeypatch, tmp_path):
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))  # nobody else holds this lock
    (status,) = discover()
    assert (status.spec, status.measurable) == ("tflite", True)
    assert status.runtime == f"LiteRT {version('ai-edge-litert')}"


def test_unknown_precisions_and_too_many_threads_are_refused():
    with pytest.raises(InvalidInputError, match="measures float32 or int8, not float16"):
        TFLiteDevice(precision="float16")
    with pytest.raises(DeviceUnavailableError, match="may use"):
        TFLiteDevice(threads=4096)
