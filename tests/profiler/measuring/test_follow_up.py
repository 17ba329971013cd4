import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.base import network_workload
from profiler.devices.registry import open_device
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.measuring.campaign import Campaign, ProfileRequest
from profiler.measuring.follow_up import Bridge, follow_up, measure_networks
from profiler.measuring.journal import Journal, journal_path
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.sampling import draw_networks
from profiler.terminal import Terminal
from tests.profiler.fast import FAST

SPACE = MobileNetV3Space()
RULE = FAST.follow_up
SILENT = Terminal(quiet=True)


@given(
    st.floats(0.8, 1.5),
    st.floats(0.0, 1.0),
    st.lists(st.floats(1, 100), min_size=6, max_size=30, unique_by=lambda v: round(v, 1)),
)
def test_a_bridge_undoes_a_slower_core_and_a_smaller_cache(slope, offset_ms, then_ms):
    bridge = Bridge.fit(then_ms, [slope * ms + offset_ms for ms in then_ms], RULE)
    for ms in then_ms:
        assert bridge.then_ms(slope * ms + offset_ms) == pytest.approx(ms, rel=1e-4)


def test_few_networks_fix_a_factor_only_and_one_nothing():
    bridge = Bridge.fit([2.0, 4.0, 8.0], [2.2, 4.4, 9.6], RULE)
    assert bridge == Bridge(slope=bridge.slope)
    assert bridge.slope == pytest.approx(1.1)
    assert Bridge.fit([2.0], [4.0], RULE) == Bridge.fit([], [], RULE) == Bridge(1.0, 0.0)


def test_noise_of_the_bridge_averages_out():
    rng = np.random.default_rng(0)
    then = np.linspace(3, 14, 12)
    now = (1.01 * then + 0.2) * (1 + 0.005 * rng.standard_normal((200, 12)))
    read = [Bridge.fit(then.tolist(), row.tolist(), RULE).then_ms(1.01 * 8 + 0.2) for row in now]
    assert np.std(read) / 8 < 0.002
    assert np.mean(read) == pytest.approx(8, rel=0.001)


def test_networks_that_are_alike_fix_a_factor_only():
    """Their noise tilts the line: a slope of any sign, and an offset as large as a latency."""
    rng = np.random.default_rng(0)
    then = 10 + 0.01 * np.arange(12)
    for _ in range(200):
        now = 1.02 * then * (1 + 0.005 * rng.standard_normal(12))
        bridge = Bridge.fit(then.tolist(), now.tolist(), RULE)
        read = [bridge.then_ms(1.02 * ms) for ms in (5.0, 10.0, 20.0)]
        assert read == pytest.approx([5.0, 10.0, 20.0], rel=0.01)


def test_networks_that_are_equal_fix_a_factor_only():
    bridge = Bridge.fit([10.0] * 12, [11.0] * 11 + [11.5], RULE)
    assert bridge == Bridge(slope=1.1)


def test_a_line_that_leaves_nothing_of_a_network_is_not_used():
    then = [8.0, 9.0, 10.0, 11.0, 12.0, 13.0]
    now = [ms + 2.0 for ms in then]
    assert Bridge.fit(then, now, RULE, least_ms=2.5) == Bridge(slope=1.0, offset_ms=2.0)
    factor = Bridge(slope=float(np.median(np.array(now) / then)))
    assert Bridge.fit(then, now, RULE, least_ms=2.0) == factor


@given(
    st.lists(st.floats(0.01, 1000), min_size=6, max_size=12),
    st.lists(st.floats(0.01, 1000), min_size=12, max_size=12),
    st.floats(0.01, 1000),
)
def test_whatever_the_sessions_were_a_latency_is_read_as_one(then_ms, now_ms, read_ms):
    bridge = Bridge.fit(then_ms, now_ms[: len(then_ms)], RULE, least_ms=read_ms)
    assert bridge.slope > 0
    assert bridge.then_ms(read_ms) > 0


def drawn(count):
    return [SPACE.format(tokens) for tokens in draw_networks(SPACE, count, seed=9)]


@pytest.mark.parametrize("n_networks", [3, 8])
def test_networks_are_read_on_the_scale_of_the_table(tmp_path, n_networks):
    slow, out = FakeDevice(0, scenario=Scenario(slowdown=1.3)), tmp_path / "t.json"
    request = ProfileRequest("fake", SPACE, out, FAST, n_networks=n_networks)
    with Journal(journal_path(out)) as journal:
        table = Campaign(request, slow, journal, SILENT).run()
    chosen = drawn(3)
    for arch, entry in zip(chosen, measure_networks(table, chosen, SILENT), strict=True):
        true_ms = 1.3 * FakeDevice(0).latency_ms(network_workload(SPACE, SPACE.parse(arch)))
        assert entry.arch == arch
        assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)
        assert "session_shift" not in entry.flags


def test_without_canaries_only_the_bridge_knows_the_session(tmp_path):
    out = tmp_path / "t.json"
    slow = FakeDevice(0, scenario=Scenario(slowdown=1.3))
    request = ProfileRequest("fake", SPACE, out, FAST, n_networks=8)
    with Journal(journal_path(out)) as journal:
        table = Campaign(request, slow, journal, SILENT).run()
    table = table.model_copy(update={"protocol": {}})
    [arch] = drawn(1)
    [entry] = measure_networks(table, [arch], SILENT)
    true_ms = 1.3 * FakeDevice(0).latency_ms(network_workload(SPACE, SPACE.parse(arch)))
    assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)
    assert "session_shift" in entry.flags


def test_networks_of_another_boot_are_read_by_the_canary_as_the_sweep_itself_is(tmp_path):
    """The bridge was measured before the machine slowed down, a network after it."""
    request = ProfileRequest("fake", SPACE, tmp_path / "t.json", FAST, n_networks=8)
    with Journal(journal_path(request.out)) as journal:
        table = Campaign(request, FakeDevice(0), journal, SILENT).run()
    journal_at = tmp_path / "later.sqlite"
    first, *others = drawn(13)[-5:]  # the table has those that are drawn first
    device = FakeDevice(0, boot_id="another boot")
    follow_up(device, table, [first], SILENT, FAST, journal_at=journal_at)
    slower = FakeDevice(0, boot_id="another boot", scenario=Scenario(slowdown=1.2))
    found = follow_up(slower, table, others, SILENT, FAST, journal_at=journal_at)
    for arch, entry in zip(others, found.networks, strict=True):
        true_ms = FakeDevice(0).latency_ms(network_workload(SPACE, SPACE.parse(arch)))
        assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)
        assert entry.mean_ms == pytest.approx(1.2 * true_ms, rel=0.02)


def test_several_processes_may_measure_on_a_simulated_device(tmp_path):
    request = ProfileRequest("fake", SPACE, tmp_path / "t.json", FAST, n_networks=0)
    with Journal(journal_path(request.out)) as journal:
        table = Campaign(request, FakeDevice(0), journal, SILENT).run()
    arch = str(SPACE.extremes()[0])
    with open_device("fake"):
        [entry] = measure_networks(table, [arch], SILENT, protocol=FAST)
    true_ms = FakeDevice(0).latency_ms(network_workload(SPACE, SPACE.parse(arch)))
    assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)
