"""From a request to a table: resume after a kill, epochs, noise floor, networks to verify."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.base import Workload
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.measuring.campaign import (
    Campaign,
    ProfileRequest,
    default_out,
    profile_device,
)
from profiler.measuring.journal import Journal, journal_path
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.sampling import draw_networks
from profiler.system.lock import device_lock
from profiler.tables.table import Verdict, load_table
from profiler.terminal import Terminal
from tests.profiler.fast import FAST

SPACE = MobileNetV3Space()
SILENT = Terminal(quiet=True)


def request(out, **changes):
    return replace(ProfileRequest("fake", SPACE, out, FAST, n_networks=4), **changes)


def campaign(out, device, terminal=SILENT, **changes):
    with Journal(journal_path(out)) as journal:
        return Campaign(request(out, **changes), device, journal, terminal).run()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The journal of `campaign(..., FakeDevice(0))`, and its table."""
    out = tmp_path_factory.mktemp("undisturbed") / "t.json"
    table = campaign(out, FakeDevice(0))
    return journal_path(out), table


@pytest.fixture
def measured(tmp_path, undisturbed):
    """`t.json` whose first sweep is done, undisturbed, and what that sweep found."""
    journal, table = undisturbed
    out = tmp_path / "t.json"
    shutil.copyfile(journal, journal_path(out))
    return out, table


def latencies(table):
    return {key: entry.latency_ms for key, entry in table.ops.items()} | {
        entry.arch: entry.latency_ms for entry in table.networks
    }


def test_a_table_covers_the_space_and_says_how_it_was_made(tmp_path):
    out = profile_device(request(tmp_path / "t.json"), SILENT)
    table = load_table(out, space=SPACE)
    assert table.ops.keys() == SPACE.distinct_ops().keys()
    assert len(table.networks) == 4
    assert table.failures == {}
    assert table.protocol["name"] == "quick"
    assert table.protocol["stopping"]["min_blocks"] == 10
    assert 0 < table.protocol["measuring_share"] <= 1
    assert table.protocol["references_ms"].keys() == {"resident", "streaming"}
    floor = table.noise_floor
    assert floor is not None
    assert floor.n_repeats == 5  # 5 % of 100 configurations
    assert 0 < floor.median_pct <= floor.p95_pct < 1
    assert floor.publishable
    device = FakeDevice(0)
    truth = {key: device.latency_ms(task) for key, task in workloads().items()}
    found = {key: entry.latency_ms for key, entry in table.ops.items()}
    assert found == pytest.approx(truth, rel=0.015)


def workloads():
    return {key: Workload(key, (op,)) for key, op in SPACE.distinct_ops().items()}


def test_a_second_run_has_nothing_to_measure(measured):
    out, first = measured
    device = FakeDevice(5)
    object.__setattr__(device, "info", FakeDevice(0).info)
    second = campaign(out, device)
    assert device.now() == 0
    assert latencies(second) == latencies(first)


@pytest.mark.parametrize("spoilt", ["0.0", "NaN", "-1.0"])
def test_a_journal_with_samples_that_are_no_latencies_is_measured_again_there_only(
    measured, spoilt
):
    """Older versions committed what a device returned."""
    (out, first), key = measured, next(iter(SPACE.distinct_ops()))
    samples = f"[{spoilt}, 1.0, 1.0]"
    with sqlite3.connect(journal_path(out)) as journal:
        journal.execute("UPDATE block SET samples_ms = ? WHERE name = ?", (samples, key))
        journal.execute("UPDATE block SET canary_ms = 0 WHERE id % 50 = 0")
        journal.execute("UPDATE block SET canary_ms = 9e999 WHERE id % 50 = 1")
    journal.close()
    second = campaign(out, FakeDevice(0))
    assert second.ops.keys() == first.ops.keys()
    assert latencies(second) == pytest.approx(latencies(first), rel=0.02)
    assert keys_measured(out, sweep=2) <= 2  # it, and its hidden repeat if it has one


def test_one_sample_that_is_no_latency_is_left_out_with_its_block(measured):
    out, first = measured
    with sqlite3.connect(journal_path(out)) as journal:
        journal.execute("UPDATE block SET samples_ms = '[0.0, 1.0, 1.0]' WHERE id = 500")
    journal.close()
    assert latencies(campaign(out, FakeDevice(0))) == pytest.approx(latencies(first), rel=0.01)


def test_a_second_run_goes_on_with_what_did_not_converge_only(tmp_path, capsys):
    out, key = tmp_path / "t.json", next(iter(SPACE.distinct_ops()))
    draw = FakeDevice.draw_ms

    class Unsteady(FakeDevice):
        rng = np.random.default_rng(0)

        def draw_ms(self, workload, runs):
            value = draw(self, workload, runs)
            return value * np.exp(self.rng.normal(0, 0.6)) if workload.key == key else value

    first = campaign(out, Unsteady(0), n_networks=0)
    unconverged = [k for k, e in first.ops.items() if e.verdict is Verdict.UNCONVERGED]
    assert unconverged == [key]
    again = campaign(out, FakeDevice(0), Terminal(), n_networks=0)
    assert "going on with 1 that did not converge" in capsys.readouterr().err
    assert keys_measured(out, sweep=2) == 1
    assert again.ops[key].n_samples > 1.3 * first.ops[key].n_samples  # as long again, if need be
    others = first.ops.keys() - {key}
    assert all(again.ops[other] == first.ops[other] for other in others)


def test_what_was_cut_off_is_finished_before_what_did_not_converge(tmp_path):
    out = tmp_path / "t.json"
    never = replace(FAST, stopping=replace(FAST.stopping, op_half_width=0.0, op_cap_s=0.1))
    with pytest.raises(KeyboardInterrupt):
        campaign(out, interrupting(FakeDevice(0), 6000), protocol=never, n_networks=0)
    with Journal(journal_path(out)) as journal:
        done = len(journal.outcomes())
    assert 0 < done < 101
    campaign(out, FakeDevice(0), protocol=never, n_networks=0)
    assert keys_measured(out, sweep=2) == 101 - done


def test_after_its_minutes_a_table_is_made_of_what_there_is_and_is_gone_on_with(tmp_path):
    """Nothing converges here: without minutes it would take the caps of all, 75 minutes."""
    out, never = tmp_path / "t.json", replace(FAST.stopping, op_half_width=0.0, op_cap_s=45.0)
    protocol, device = replace(FAST, stopping=never), FakeDevice(0)
    begin_s = device.now()
    first = campaign(out, device, protocol=protocol, n_networks=0, minutes=1.0)
    pass_s = sum(entry.latency_ms for entry in first.ops.values())
    assert 60 <= device.now() - begin_s < 60 + pass_s
    assert {op.verdict for op in first.ops.values()} == {Verdict.UNCONVERGED}
    assert min(op.n_samples for op in first.ops.values()) >= never.min_blocks
    again = campaign(out, FakeDevice(0), protocol=protocol, n_networks=0, minutes=1.0)
    assert min(again.ops[key].n_samples / op.n_samples for key, op in first.ops.items()) > 1.5


@pytest.mark.parametrize("minutes", [0.0, -1.0, 0.09, 1441.0, float("nan"), float("inf")])
def test_minutes_that_are_none_are_refused(minutes):
    with pytest.raises(InvalidInputError, match=r"--minutes must be from 0\.1 to 1440"):
        request(Path("t.json"), minutes=minutes)


RECORD = ("wall_s", "measuring_share", "waited_s", "steady_state", "references_ms")


def record(table):
    """How the measuring of a table went."""
    return {name: table.protocol[name] for name in RECORD}


def test_a_second_run_keeps_the_record_of_the_first(tmp_path, monkeypatch):
    out, hot = tmp_path / "t.json", Scenario(throttle_at_s=2.0, throttle_for_s=1.0)
    device = FakeDevice(0, scenario=hot)
    never_steady = replace(FAST, warm_up=replace(FAST.warm_up, tolerance=0.0, max_s=1.0))
    first = campaign(out, device, protocol=never_steady)
    assert first.protocol["wall_s"] == pytest.approx(device.now(), rel=0.01)
    assert first.protocol["steady_state"] is False
    assert first.protocol["waited_s"] > 0.5
    monkeypatch.setattr("profiler.measuring.launches.now", lambda: "another day")
    again = campaign(out, FakeDevice(0), protocol=never_steady)
    assert (record(again), again.created) == (record(first), first.created)


def test_the_record_is_of_all_sweeps_that_the_table_was_made_of(tmp_path):
    out, cut_off, rest = tmp_path / "t.json", interrupting(FakeDevice(0), 1500), FakeDevice(0)
    with pytest.raises(KeyboardInterrupt):
        campaign(out, cut_off)
    table = campaign(out, rest)
    assert table.protocol["wall_s"] == pytest.approx(cut_off.now() + rest.now(), rel=0.01)
    with sqlite3.connect(journal_path(out)) as journal:
        (measuring_s,) = journal.execute("SELECT SUM(spent_s) FROM block").fetchone()
    journal.close()
    assert measuring_s / table.protocol["wall_s"] < table.protocol["measuring_share"] < 1


def test_sweeps_that_did_not_carry_over_are_not_in_the_record(measured):
    (out, _), keys = measured, tuple(SPACE.distinct_ops())
    device = FakeDevice(0, runtime_version="2", scenario=Scenario(step_keys=keys[::2]))
    table = campaign(out, device, seed=1)
    assert table.protocol["wall_s"] == pytest.approx(device.now(), rel=0.01)


def test_more_networks_are_added_on_the_same_scale(measured):
    out, first = measured
    slower = campaign(out, FakeDevice(0, scenario=Scenario(slowdown=1.1)), n_networks=8)
    common = latencies(slower).keys() & latencies(first).keys()
    assert len(common) >= 96 + 2  # all ops and both extremes are not measured again
    assert all(latencies(slower)[key] == latencies(first)[key] for key in common)
    device = FakeDevice(0)
    for entry in slower.networks:
        workload = tuple(SPACE.ops(SPACE.parse_architecture(entry.arch)))
        true_ms = device.latency_ms(Workload(entry.arch, workload))
        assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)


KILLED = """
import sys, time
from pathlib import Path
from profiler.devices.simulated import fake
from tests.profiler.measuring.test_campaign import SILENT, request, profile_device
draw = fake.FakeDevice.draw_ms
def slowly(self, workload, runs):
    time.sleep(0.0002)
    return draw(self, workload, runs)
fake.FakeDevice.draw_ms = slowly
print("ready", flush=True)
profile_device(request(Path(sys.argv[1])), SILENT)
"""


@pytest.mark.parametrize("after_blocks", [3, 150])
def test_kill_9_loses_at_most_the_block_in_flight(tmp_path, undisturbed, after_blocks):
    out = tmp_path / "t.json"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while n_blocks(out) < after_blocks and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()
    survived, spent_s = n_blocks(out), last_end_s(out)
    assert survived >= after_blocks
    assert not out.exists()
    one, (_, other) = load_table(profile_device(request(out), SILENT)), undisturbed
    assert latencies(one).keys() == latencies(other).keys()
    assert other.noise_floor is not None
    for key, value in latencies(one).items():
        assert value == pytest.approx(latencies(other)[key], rel=0.02), key
    with sqlite3.connect(journal_path(out)) as journal:
        sweeps = dict(journal.execute("SELECT launch, COUNT(*) FROM block GROUP BY launch"))
    journal.close()
    assert sweeps[1] == survived  # every block that was committed is still used
    assert one.protocol["wall_s"] >= spent_s > 0


def n_blocks(out: Path) -> int:
    return int(read_number(out, "SELECT COUNT(*) FROM block"))


def last_end_s(out: Path) -> float:
    return read_number(out, "SELECT MAX(started_s + spent_s) FROM block")


def read_number(out: Path, query: str) -> float:
    path = journal_path(out)
    if not path.exists():
        return 0.0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return float(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # not created yet
        return 0.0
    finally:
        connection.close()


def test_a_new_boot_is_bridged_by_three_configurations(measured):
    out, first = measured
    rebooted = FakeDevice(0, boot_id="another", scenario=Scenario(slowdown=1.25))
    second = campaign(out, rebooted)
    with Journal(journal_path(out)) as journal:
        assert len(journal.epochs()) == 2
    ratios = [latencies(second)[key] / value for key, value in latencies(first).items()]
    np.testing.assert_allclose(ratios, 1.25, rtol=0.01)
    assert keys_measured(out, sweep=2) == 3


def keys_measured(out: Path, *, sweep: int) -> int:
    with sqlite3.connect(journal_path(out)) as journal:
        count = journal.execute(
            "SELECT COUNT(DISTINCT key) FROM block WHERE launch = ?", (sweep,)
        ).fetchone()[0]
    journal.close()
    return int(count)


def test_a_runtime_that_changed_single_ops_is_measured_anew(measured, capsys):
    out, _ = measured
    keys = tuple(SPACE.distinct_ops())
    changed = Scenario(step_keys=keys[::2])  # every second op 20 % slower: ratios disagree
    table = campaign(out, FakeDevice(0, runtime_version="2", scenario=changed), Terminal(), seed=1)
    assert "do not carry over" in capsys.readouterr().err
    device = FakeDevice(0)
    for index, (key, workload) in enumerate(workloads().items()):
        true_ms = device.latency_ms(workload) * (1.2 if index % 2 == 0 else 1.0)
        assert table.ops[key].latency_ms == pytest.approx(true_ms, rel=0.02)


def test_what_is_measured_after_a_bridge_is_on_its_scale(measured):
    (out, _), keys = measured, tuple(SPACE.distinct_ops())
    slower_later = Scenario(
        step_keys=keys[::2], throttle_at_s=1.5, throttle_factor=1.08, throttle_visible=False
    )
    device = FakeDevice(0, runtime_version="2", scenario=slower_later)
    table = campaign(out, device, seed=1)
    assert device.now() > 10  # the bridge was measured before the machine got slower
    truth = {
        key: device.latency_ms(workload) * (1.2 if key in keys[::2] else 1.0)
        for key, workload in workloads().items()
    }
    ratios = [table.ops[key].latency_ms / true_ms for key, true_ms in truth.items()]
    np.testing.assert_allclose(ratios, 1.0, rtol=0.02)


def test_a_bridge_that_fails_carries_nothing_over(measured, capsys):
    (out, _), keys = measured, tuple(SPACE.distinct_ops())
    failing = Scenario(failing_keys=keys)
    table = campaign(out, FakeDevice(0, boot_id="b", scenario=failing), Terminal(), n_networks=0)
    assert "do not carry over" in capsys.readouterr().err
    assert table.ops == {}
    assert set(keys) <= table.failures.keys()


def test_an_epoch_that_was_cut_off_is_bridged_on_one_scale(measured):
    """Killed before the canaries of its first sweep were made the reference."""
    out, _ = measured
    campaign(out, FakeDevice(0, scenario=Scenario(slowdown=1.08)), n_networks=8)
    with sqlite3.connect(journal_path(out)) as journal:
        journal.execute("DELETE FROM reference")
    journal.close()
    table = campaign(out, FakeDevice(0, boot_id="another"), n_networks=8)
    assert keys_measured(out, sweep=3) == 3
    device = FakeDevice(0)
    for entry in table.networks:
        workload = tuple(SPACE.ops(SPACE.parse_architecture(entry.arch)))
        true_ms = device.latency_ms(Workload(entry.arch, workload))
        assert entry.latency_ms == pytest.approx(true_ms, rel=0.02)


def interrupting(device, at_sample):
    """Ctrl-C at a sample of the device."""
    draw, count = device.draw_ms, itertools.count(1)

    def draw_ms(workload, runs):
        if next(count) == at_sample:
            raise KeyboardInterrupt
        return draw(workload, runs)

    device.draw_ms = draw_ms
    return device


def test_a_slower_machine_after_an_interruption_still_converges(tmp_path):
    out, whole = tmp_path / "t.json", FakeDevice(0)
    campaign(tmp_path / "whole.json", whole)
    with pytest.raises(KeyboardInterrupt):
        campaign(out, interrupting(FakeDevice(0), 1500))
    slower = FakeDevice(0, scenario=Scenario(slowdown=1.08))
    table = campaign(out, slower)
    assert slower.now() < 2 * whole.now()
    assert all(entry.verdict is Verdict.STABLE for entry in table.ops.values())


def test_ctrl_c_says_what_is_kept(tmp_path, monkeypatch, capsys):
    opened = interrupting(FakeDevice(0), 3000)
    monkeypatch.setattr("profiler.measuring.campaign.open_device", lambda *_, **__: opened)
    with pytest.raises(KeyboardInterrupt):
        profile_device(request(tmp_path / "t.json", n_networks=0), Terminal())
    said = capsys.readouterr().err.splitlines()[-1]
    n = n_blocks(tmp_path / "t.json")
    assert n > 100
    assert said == f"kept: {n:,} blocks of 101 configurations, 0 of them done"


def test_a_failed_repeat_does_not_make_its_op_a_failure(tmp_path, monkeypatch):
    out = tmp_path / "t.json"
    prepare, seen = FakeDevice.prepare, set()

    def second_time_fails(self, workload):
        if workload.key in seen:
            raise MeasurementError("lost", reason="link")
        if not workload.key.startswith("canary"):
            seen.add(workload.key)
        return prepare(self, workload)

    monkeypatch.setattr(FakeDevice, "prepare", second_time_fails)
    table = campaign(out, FakeDevice(0), n_networks=0)
    assert len(table.failures) == 5  # in random order, so that some are of an op's first time
    assert 0 < sum(name.endswith(" (repeat)") for name in table.failures) < 5
    assert table.failures.keys().isdisjoint(table.ops)


def test_failures_are_listed_and_tried_again(tmp_path):
    out, key = tmp_path / "t.json", next(iter(SPACE.distinct_ops()))
    broken = campaign(out, FakeDevice(0, scenario=Scenario(failing_keys=(key,))))
    assert broken.failures == {key: "load_failed: told to fail"}
    broken.save(out)
    with pytest.raises(InvalidInputError, match="lacks 1 of 96 ops"):
        load_table(out)
    mended = campaign(out, FakeDevice(0))
    assert mended.failures == {}
    assert mended.ops.keys() == SPACE.distinct_ops().keys()


def test_fresh_forgets_the_journal(tmp_path):
    out = tmp_path / "t.json"
    profile_device(request(out), SILENT)
    profile_device(request(out, resume=False, seed=3), SILENT)
    with Journal(journal_path(out)) as journal:
        assert journal.sweeps(journal.epochs()[0]) == [1]


def test_without_any_op_there_is_no_table(tmp_path, monkeypatch):
    out = tmp_path / "t.json"

    def refuse(self, workload):
        if workload.key.startswith("canary"):
            return prepare(self, workload)
        raise MeasurementError("no such operator", reason="load_failed")

    prepare = FakeDevice.prepare
    monkeypatch.setattr(FakeDevice, "prepare", refuse)
    with pytest.raises(MeasurementError, match=r"no op could be measured on fake, first .*oper"):
        profile_device(request(out), SILENT)
    assert not out.exists()


def test_two_processes_do_not_write_one_table(tmp_path):
    out = tmp_path / "t.json"
    with (
        device_lock(f"table {out}"),
        pytest.raises(DeviceUnavailableError, match=r"is at work on table .*t\.json"),
    ):
        profile_device(request(out), SILENT)
    assert not journal_path(out).exists()


def drawn(count, seed=0):
    return [SPACE.decode(row) for row in draw_networks(SPACE, count, seed=seed)]


def test_networks_are_spread_over_the_range_and_follow_the_seed():
    networks = drawn(30)
    assert len(set(networks)) == 30
    assert set(SPACE.extremes()) <= set(networks)
    madds = sorted(SPACE.madds(arch) for arch in networks)
    gaps = np.diff(madds) / (madds[-1] - madds[0])
    assert gaps.max() < 0.15
    assert networks == drawn(30)
    assert set(networks) & set(drawn(30, seed=1)) == set(SPACE.extremes())
    for count in (0, 1, 2, 3):
        assert len(drawn(count)) == count


def test_networks_that_journals_hold_are_drawn_again():
    text = " ".join(map(str, drawn(30)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "79ed48341ada6955"


def test_a_device_lost_while_it_is_tidied_up_does_not_take_the_table(tmp_path, monkeypatch):
    def lost(_):
        raise DeviceUnavailableError("the phone could not be cleaned")

    monkeypatch.setattr(FakeDevice, "close", lost)
    with pytest.raises(DeviceUnavailableError, match="could not be cleaned"):
        profile_device(request(tmp_path / "t.json"), SILENT)
    assert load_table(tmp_path / "t.json").ops.keys() == SPACE.distinct_ops().keys()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("cpu", "cpu_mbv3_w1.0_224.json"),
        ("adb://10.0.0.2:5037/AB12", "adb---10.0.0.2-5037-AB12_mbv3_w1.0_224.json"),
    ],
)
def test_default_names_are_file_names(spec, name):
    assert default_out(spec, SPACE, quick=False) == Path("tables") / name
