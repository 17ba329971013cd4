from dataclasses import dataclass, field, replace

import pytest

from profiler.devices.base import Workload
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.measuring.canary import (
    Canary,
    PreparedCanary,
    canary_workload,
    nearest_canary,
    prepare_canary,
)
from profiler.measuring.protocol import FULL
from profiler.measuring.sampling import Sampler
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space()
RULE = replace(FULL.canaries, window=4)
SAMPLER = Sampler(FULL.sampling)


@dataclass
class Scripted:
    """A loaded model that takes the given times, then the last one for ever."""

    times_ms: list[float]
    calls: list[int] = field(default_factory=list)

    def sample_ms(self, runs: int) -> float:
        self.calls.append(runs)
        return self.times_ms.pop(0) if len(self.times_ms) > 1 else self.times_ms[0]

    def close(self) -> None:
        self.calls.append(-1)


def test_the_two_canaries_differ_in_what_they_load():
    assert canary_workload(Canary.RESIDENT).weight_bytes == 4 * (128 * 128 + 2 * 128)
    assert 15e6 < canary_workload(Canary.STREAMING).weight_bytes < 25e6
    resident, streaming = (canary_workload(canary) for canary in Canary)
    assert resident.arithmetic_intensity > 2 * streaming.arithmetic_intensity


def test_ops_go_with_the_resident_and_networks_with_the_streaming_canary():
    nearest = {nearest_canary(Workload(k, (op,))) for k, op in SPACE.distinct_ops().items()}
    assert nearest == {Canary.RESIDENT}
    for arch in SPACE.extremes():
        assert nearest_canary(Workload("", tuple(SPACE.ops(arch)))) is Canary.STREAMING


def test_copies_take_turns():
    copies = [Scripted([1.0]), Scripted([2.0])]
    canary = PreparedCanary(copies, runs=1, rule=RULE, sampler=SAMPLER)
    assert [canary.sample_ms() for _ in range(4)] == [1.0, 2.0, 1.0, 2.0]


def test_a_short_canary_is_warmed_and_batched():
    device = FakeDevice(scenario=Scenario(noise=0))
    rule = replace(RULE, copies=2, sample_ms=10.0)
    canary = prepare_canary(device, Canary.RESIDENT, rule, SAMPLER)
    once_ms = device.latency_ms(canary_workload(Canary.RESIDENT))
    assert canary.runs == round(10.0 / once_ms)
    assert canary.sample_ms() == pytest.approx(once_ms)
    model = Scripted([1.0])
    PreparedCanary([model], runs=7, rule=RULE, sampler=SAMPLER).sample_ms()
    assert model.calls == [1, 7]


def test_excess_needs_a_full_window():
    canary = PreparedCanary([Scripted([2.0])], 1, RULE, SAMPLER, reference_ms=1.0)
    canary.sample_ms()
    assert canary.excess == 0
    for _ in range(3):
        canary.sample_ms()
    assert canary.excess == pytest.approx(1.0)
