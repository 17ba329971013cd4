"""What every device and every space must do: suites to inherit from; they need pytest.

class TestMyDevice(DeviceConformance):
    def open(self):
        return MyDevice()


class TestMySpace(SpaceConformance):
    def space(self):
        return MySpace()
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict

import numpy as np
import pytest

from profiler.devices.base import Device, Workload, network_workload
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.base import DEAD, MAX_CHOICES, SearchSpace, Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import NetworkSpace, distinct_ops, network_graph

SPACE = MobileNetV3Space()
SMALL, *_, LARGE = sorted(distinct_ops(SPACE).values(), key=lambda op: op.graph.madds)
NETWORK = network_workload(SPACE, SPACE.encode(SPACE.extremes())[0])


def op_workload(op: Op = LARGE) -> Workload:
    return Workload(op.key, (op,))


class DeviceConformance:
    """Implement `open`: one device, ready to measure."""

    def open(self) -> AbstractContextManager[Device]:
        raise NotImplementedError

    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with self.open() as device:
            yield device

    def test_satisfies_the_protocol(self, device: Device) -> None:
        for name in ("info", "min_sample_ms", "uses_canary", "prepare", "state", "blockers"):
            assert hasattr(device, name), name
        for name in ("now", "sleep", "free_memory_mb", "close"):
            assert callable(getattr(device, name)), name
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
                least[op.key] = min(prepared.sample_ms(3) for _ in range(5))
            finally:
                prepared.close()
        assert least[SMALL.key] < least[LARGE.key]

    def test_measures_a_whole_network(self, device: Device) -> None:
        prepared = device.prepare(NETWORK)
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

    def test_its_time_passes_in_sleep(self, device: Device) -> None:
        begun_s = device.now()
        device.sleep(0.01)
        assert 0.01 <= device.now() - begun_s < 1

    def test_free_memory_is_known_or_none(self, device: Device) -> None:
        free_mb = device.free_memory_mb()
        assert free_mb is None or free_mb > 0

    def test_blockers_are_readable_lines(self, device: Device) -> None:
        assert all(isinstance(line, str) and line.strip() for line in device.blockers())


N_SAMPLES = 200


class SpaceConformance:
    """Implement `space`."""

    def space(self) -> SearchSpace:
        raise NotImplementedError

    def drawn(self, n: int = N_SAMPLES, seed: int = 0) -> Tokens:
        return self.space().sample(n, np.random.default_rng(seed))

    def test_satisfies_the_protocol(self) -> None:
        assert isinstance(self.space(), SearchSpace)
        assert self.space().name

    def test_positions_have_names_of_their_own_and_choices(self) -> None:
        positions = self.space().positions
        assert positions
        assert len({position.name for position in positions}) == len(positions)
        for position in positions:
            assert 1 <= len(position.choices) <= MAX_CHOICES, position.name
            assert len(set(position.choices)) == len(position.choices), position.name

    def test_samples_are_tokens(self) -> None:
        tokens, positions = self.drawn(), self.space().positions
        assert tokens.dtype == np.int8
        assert tokens.shape == (N_SAMPLES, len(positions))
        assert (tokens >= DEAD).all()
        assert (tokens < [len(position.choices) for position in positions]).all()

    def test_samples_follow_the_seed(self) -> None:
        assert (self.drawn(seed=1) == self.drawn(seed=1)).all()

    def test_every_choice_of_every_position_is_drawn(self) -> None:
        """What sampling never draws, no evaluator learns and no budget reaches."""
        tokens = self.drawn(100 * N_SAMPLES)
        for column, position in zip(tokens.T, self.space().positions, strict=True):
            missing = set(range(len(position.choices))) - set(column.tolist())
            assert not missing, f"{position.name} never takes {missing}"

    def test_a_written_architecture_reads_back_as_itself(self) -> None:
        space = self.space()
        for row in self.drawn():
            text = space.format(row)
            assert text == text.strip() and text.isprintable()
            assert (space.parse(text) == row).all(), text

    def test_two_architectures_are_written_differently(self) -> None:
        tokens = np.unique(self.drawn(), axis=0)
        assert len({self.space().format(row) for row in tokens}) == len(tokens)

    def test_networks_are_ops_that_fit_each_other(self) -> None:
        """Of spaces that have networks: each from images to one output."""
        space = self.space()
        if isinstance(space, NetworkSpace):
            for row in self.drawn(20):
                graph = network_graph(space, row, batch_size=2)
                (images,), (output,) = graph.inputs, graph.outputs
                assert images.shape[0] == output.shape[0] == 2

    @pytest.mark.parametrize("text", ["", "no such architecture"])
    def test_what_is_no_architecture_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidInputError):
            self.space().parse(text)
