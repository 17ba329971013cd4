from dataclasses import replace

import pytest

from profiler.errors import DeviceUnavailableError
from profiler.measuring.canary import PreparedCanary
from profiler.measuring.protocol import FULL
from profiler.measuring.waiting import CoolDown, GateKeeper, Throttling
from tests.profiler.measuring.test_canary import RULE, SAMPLER, Scripted

GATE = replace(FULL.gate, tolerance=0.1, wait_s=5, max_wait_s=15, refuse_above=0.25)


def disturbed(*times_ms):
    canary = PreparedCanary([Scripted(list(times_ms))], 1, RULE, SAMPLER, reference_ms=1.0)
    for _ in range(RULE.window):
        canary.sample_ms()
    return canary


def test_the_gate_lets_a_quiet_machine_pass():
    keeper = GateKeeper(GATE, sleep=lambda _: pytest.fail("waited"))
    keeper.wait(disturbed(1.09), now_s=lambda: 0.0)
    assert keeper.waited_s == 0


def test_the_gate_waits_until_the_disturbance_ends():
    naps: list[float] = []
    keeper = GateKeeper(GATE, sleep=naps.append)
    keeper.wait(disturbed(*[1.2] * 8, 1.0), now_s=lambda: 0.0)
    assert naps == [5, 5]


def test_the_gate_waits_no_longer_than_its_budget_over_the_sweep():
    naps: list[float] = []
    keeper = GateKeeper(GATE, sleep=naps.append)
    for _ in range(3):
        keeper.wait(disturbed(1.2), now_s=lambda: 0.0)
    assert sum(naps) == keeper.waited_s == GATE.max_wait_s


def test_far_off_for_long_is_refused():
    now = iter(range(0, 10_000, 200))
    keeper, slow = GateKeeper(GATE, sleep=lambda _: None), disturbed(1.3)
    with pytest.raises(DeviceUnavailableError, match=r"not quiescent.*30 % slower.*--resume"):
        for _ in range(10):
            keeper.wait(slow, now_s=lambda: float(next(now)))


def test_one_canary_far_off_is_refused_though_the_other_is_not():
    now = iter(range(0, 10_000, 50))
    keeper, slow, quiet = GateKeeper(GATE, sleep=lambda _: None), disturbed(1.3), disturbed(1.0)
    with pytest.raises(DeviceUnavailableError, match="not quiescent"):
        for _ in range(100):
            for canary in (slow, quiet):
                keeper.wait(canary, now_s=lambda: float(next(now)))


HOT = ("steal", "throttled:hw_slowdown", "throttled:thermal")


def test_each_pause_doubles_what_was_waited_until_it_is_given_up():
    naps: list[float] = []
    cool_down = CoolDown(Throttling(first_wait_s=1, give_up_s=10), "cuda:0", sleep=naps.append)
    for _ in range(5):
        cool_down.after(HOT)
    assert naps == [1, 1, 2, 4, 2]
    assert cool_down.waited_s == 10
    with pytest.raises(
        DeviceUnavailableError,
        match=r"cuda:0 stayed throttled \(hw_slowdown, thermal\) for 10 s of waiting.*--resume",
    ):
        cool_down.after(HOT)


def test_a_pause_that_lasts_is_said():
    said: list[str] = []
    rule = Throttling(first_wait_s=0.5, give_up_s=10)
    cool_down = CoolDown(rule, "cuda:0", sleep=lambda _: None, say=said.append)
    for _ in range(4):
        cool_down.after(HOT)
    hot = "cuda:0 is throttled (hw_slowdown, thermal): it cools for"
    assert said == [f"{hot} 1 s", f"{hot} 2 s"]  # the first two were half a second


def test_a_device_that_cooled_is_given_all_the_time_again():
    naps: list[float] = []
    cool_down = CoolDown(Throttling(first_wait_s=1, give_up_s=10), "cuda:0", sleep=naps.append)
    for flags in (HOT, HOT, ("steal",), HOT, (), ()):
        cool_down.after(flags)
    assert naps == [1, 1, 1]
    assert cool_down.waited_s == 3
