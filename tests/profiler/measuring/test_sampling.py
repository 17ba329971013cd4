"""Samples are tried again, bounded in time, and checked before they are used."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import FULL
from profiler.measuring.sampling import Sampler, checked_ms, deadline
from profiler.printable import shown
from tests.profiler.measuring.test_sweep import PROTOCOL, WORKLOADS, measured


@pytest.mark.parametrize(
    "sample", [2, 2.0, np.float64(2), np.float32(2), np.int64(2), np.array(2.0), np.array([2.0])[0]]
)
def test_every_kind_of_number_is_one(sample):
    value = checked_ms(sample)
    assert type(value) is float
    assert value == 2.0


NO_LATENCIES = [
    0, 0.0, -0.0, -1.5, float("nan"), float("inf"), -float("inf"), np.float64("nan"), 10**400,
    10**5000, None, "2.0", b"2", "2" * 999, True, 2j, [2.0], np.array([1.0, 2.0]), object,
]  # fmt: skip


@pytest.mark.parametrize("sample", NO_LATENCIES, ids=shown)
def test_what_is_no_latency_is_a_failure(sample):
    with pytest.raises(MeasurementError, match=r"the device returned .* ms") as caught:
        checked_ms(sample)
    assert caught.value.reason == "bad_sample"
    assert len(str(caught.value)) < 300
    assert not caught.value.transient


@dataclass
class Spoilt(FakeDevice):
    """One sample of one workload is spoilt: `call` counts from its first single run."""

    key: str
    call: int
    spoil: object  # a value, or what raises
    calls: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        super().__init__(1)

    def draw_ms(self, workload, runs):
        value = super().draw_ms(workload, runs)
        at = self.calls[workload.key] = self.calls.get(workload.key, 0) + 1
        if workload.key != self.key or at != self.call:
            return value
        return self.spoil() if callable(self.spoil) else self.spoil


KEY = WORKLOADS[1].key


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0, None])
@pytest.mark.parametrize("call", [1, 4, 5, 60])  # warming up, untimed, timed, late
def test_a_bad_sample_fails_its_configuration_and_nothing_else(value, call):
    journal = Journal(None)
    entries, _ = measured(Spoilt(KEY, call, value), journal, workloads=WORKLOADS[:3])
    assert entries.keys() == {WORKLOADS[0].key, WORKLOADS[2].key}
    [failed] = [one for one in journal.outcomes().values() if one.failed]
    assert (failed.name, failed.message) == (KEY, f"bad_sample: the device returned {value!r} ms")
    good, _ = measured(FakeDevice(1), journal, workloads=WORKLOADS[:3])  # the next run mends it
    assert good.keys() == {w.key for w in WORKLOADS[:3]}


def link_lost():
    raise MeasurementError("link lost", reason="link", transient=True)


@pytest.mark.parametrize("key", [KEY, "canary:resident", "canary:streaming"])
@pytest.mark.parametrize("call", [1, 4, 5, 40])
def test_one_transient_failure_anywhere_costs_nothing(key, call):
    journal = Journal(None)
    entries, _ = measured(Spoilt(key, call, link_lost), journal, workloads=WORKLOADS[:3])
    assert entries.keys() == {w.key for w in WORKLOADS[:3]}
    assert not any(one.failed for one in journal.outcomes().values())


@pytest.mark.parametrize("when", ["loading", "warming up", "measuring"])
def test_a_reference_op_that_fails_for_good_ends_the_sweep_and_keeps_what_was_measured(when):
    whole = Spoilt("", 0, None)
    measured(whole, workloads=WORKLOADS[:3])
    call = {"loading": 1, "warming up": 30, "measuring": whole.calls["canary:resident"] - 20}[when]
    device, journal = Spoilt("canary:resident", call, 0.0), Journal(None)
    with pytest.raises(DeviceUnavailableError, match=r"reference op .*0\.0 ms.*--resume"):
        measured(device, journal, workloads=WORKLOADS[:3])
    assert (len(journal.canary_series(1, "resident")[0]) > 0) is (when == "measuring")
    assert journal.outcomes() == {}  # no configuration is to blame


HANGS = {
    "asleep": lambda: time.sleep(60),
    "busy": lambda: [None for _ in iter(int, 1)],
    "waiting": lambda: threading.Event().wait(60),
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_a_device_that_hangs_meets_a_deadline(hang):
    journal, start_s = Journal(None), time.monotonic()
    protocol = replace(PROTOCOL, sampling=replace(PROTOCOL.sampling, deadline_s=0.2))
    entries, _ = measured(Spoilt(KEY, 5, hang), journal, protocol, WORKLOADS[:3])
    assert time.monotonic() - start_s < 30
    assert entries.keys() == {WORKLOADS[0].key, WORKLOADS[2].key}
    [failed] = [one for one in journal.outcomes().values() if one.failed]
    assert (failed.name, failed.message) == (KEY, "deadline: a sample took longer than 0.2 s")


def test_loading_that_hangs_meets_the_deadline_too():
    sampler = Sampler(replace(FULL.sampling, deadline_s=0.05))
    with pytest.raises(MeasurementError, match=r"loading took longer than 0\.05 s"):
        sampler.load(lambda: time.sleep(60))


def test_a_deadline_leaves_timers_as_they_were():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 50.0)
        with deadline(10.0, "it"):
            pass
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        assert 40 < left_s <= 50
        signal.raise_signal(signal.SIGALRM)
        assert rang == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_another_thread_has_no_deadline_and_no_error():
    found = []

    def sampled():
        found.append(Sampler(FULL.sampling).load(lambda: 7))

    thread = threading.Thread(target=sampled)
    thread.start()
    thread.join()
    assert found == [7]
