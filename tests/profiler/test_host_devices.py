"""The host's own devices: this CPU for real, the fake and the replay; conformance of all."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from profiler.devices.cpu import CpuDevice
from profiler.devices.fake import FakeDevice
from profiler.devices.replay import ReplayDevice
from profiler.profiling import ProfileRequest, profile_device
from profiler.protocol import QUICK
from profiler.space import MobileNetV3Space
from profiler.terminal import Terminal
from tests.device_conformance import DeviceConformance

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


# --- this CPU ---------------------------------------------------------------------------


def test_the_cpu_runs_the_same_model_as_torch():

    from profiler.onnx_oracle import run  # noqa: F401
