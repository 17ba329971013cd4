"""What every backend must do: one suite, subclassed once per device.

class TestMyDevice(DeviceConformance):
    @contextmanager
    def open(self): ...
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import asdict

import pytest

from profiler.devices.base import Device, Workload
from profiler.graph.ops import OpConfig, OpKind
from profiler.spaces.mobilenetv3 import Architecture, MobileNetV3Space

SPACE = MobileNetV3Space()
SMALL = next(op for op in SPACE.distinct_ops().values() if op.kind is OpKind.AVG_POOL)
LARGE = max(SPACE.distinct_ops().values(), key=lambda op: op.madds)


def op_workload(op: OpConfig = LARGE) -> Workload:
    return Workload(op.key, (op,))


def network_workload(arch: Architecture | None = None) -> Workload:
    arch = arch or SPACE.extremes()[0]
    return Workload(str(arch), tuple(SPACE.ops(arch)))


class DeviceConformance:
    """Inherit and implement `open`; runs on anything that satisfies `Device`."""

    def open(self) -> AbstractContextManager[Device]:
        raise NotImplementedError

    @pytest.fixture
    def device(self):
        with self.open() as device:
            yield device

    def test_satisfies_the_protocol(self, device: Device) -> None:
        for name in ("info", "min_sample_ms", "uses_canary", "prepare", "state", "blockers"):
            assert hasattr(device, name), name
        assert device.min_sample_ms >= 0
        assert isinstance(device.uses_canary, bool)

    def test_info_names_everything_that_changes_the_numbers(self, device: Device) -> None:
        info = device.info
        assert info.platform
        assert info.model
        assert info.runtime
        assert info.runtime_version
        assert info.threads >= 1
        assert info.batch_size >= 1
        assert info.precision in {"float32", "float16", "int8", "tf32", "bfloat16"}
        assert all(len(option) == 2 for option in info.options)
        for value in asdict(info).values():
            assert value not in (0, 0.0, ""), "what cannot be read is None"

    def test_info_is_the_same_on_every_read(self, device: Device) -> None:
        assert device.info == device.info

    def test_samples_are_finite_and_positive(self, device: Device) -> None:
        prepared = device.prepare(op_workload())
        try:
            samples = [prepared.sample_ms(2) for _ in range(3)]
        finally:
            prepared.close()
        assert all(math.isfinite(sample) and sample > 0 for sample in samples)

    def test_a_sample_is_per_run(self, device: Device) -> None:
        """Ten runs in a sample must not read as ten times the latency."""
        prepared = device.prepare(op_workload())
        try:
            single = min(prepared.sample_ms(1) for _ in range(5))
            batched = min(prepared.sample_ms(10) for _ in range(5))
        finally:
            prepared.close()
        assert batched < 3 * single

    def test_orders_a_pooling_below_the_largest_block(self, device: Device) -> None:
        least = {}
        for op in (SMALL, LARGE):
            prepared = device.prepare(op_workload(op))
            try:
                least[op.kind] = min(prepared.sample_ms(3) for _ in range(5))
            finally:
                prepared.close()
        assert least[OpKind.AVG_POOL] < least[OpKind.MBCONV]

    def test_measures_a_whole_network(self, device: Device) -> None:
        prepared = device.prepare(network_workload())
        try:
            assert 0 < prepared.sample_ms(1) < 60_000
        finally:
            prepared.close()

    def test_several_workloads_are_held_at_once(self, device: Device) -> None:
        """The sweep interleaves, so that preparing one must not disturb another."""
        first, second = device.prepare(op_workload(SMALL)), device.prepare(op_workload(LARGE))
        try:
            assert first.sample_ms(1) > 0
            assert second.sample_ms(1) > 0
            assert first.sample_ms(1) > 0
        finally:
            first.close()
            second.close()

    def test_a_workload_may_be_closed_twice(self, device: Device) -> None:
        """Ctrl-C between two closings must not end in another error."""
        prepared = device.prepare(op_workload(SMALL))
        prepared.close()
        prepared.close()

    def test_state_says_none_for_what_it_cannot_read(self, device: Device) -> None:
        device.state()
        state = device.state()
        for name in ("steal_pct", "waiting_pct", "cpu_pressure_pct"):
            value = getattr(state, name)
            assert value is None or 0 <= value <= 100
        for name in ("clock_mhz", "temperature_c"):
            value = getattr(state, name)
            assert value is None or value > 0
        assert isinstance(state.throttle_reasons, tuple)
        assert isinstance(state.warnings, tuple)

    def test_blockers_are_readable_lines(self, device: Device) -> None:
        assert all(isinstance(line, str) and line.strip() for line in device.blockers())
