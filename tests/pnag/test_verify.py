"""The closed loop: what measuring finds corrects c(α), and the picks follow."""

import json
import shutil

import pytest

from pnag.cli.app import run as pnag
from pnag.runs.run import load_run
from pnag.verify import Request, generate_verified
from profiler.devices.base import network_workload
from profiler.devices.simulated.fake import NETWORK_SHARE, FakeDevice
from profiler.devices.simulated.replay import ReplayDevice
from profiler.tables.table import load_table
from tests.pnag.profiled import DEVICE, SILENT


@pytest.fixture(scope="module")
def folder(profiled_folder):
    return profiled_folder


@pytest.fixture(scope="module")
def run(folder):
    return load_run(folder)


@pytest.fixture(scope="module")
def table(folder):
    return load_table(folder / "latency_table.json")


def budgets(run, *shares):
    low, high = run.reachable_ms
    return [low + share * (high - low) for share in shares]


@pytest.fixture(scope="module")
def replayed(run, table, folder):
    """The replay device has no gain of whole networks: it is slower than the calibration says."""
    spec = f"replay:{folder / 'latency_table.json'}"
    return generate_verified(run, table, spec, Request(budgets(run, 0.3, 0.6)), SILENT)


def test_what_was_promised_turns_out_too_slow_and_is_replaced(replayed):
    assert not replayed.same_device
    # a network is the sum of its ops here, and NETWORK_SHARE of it on the table's device
    assert replayed.error_before_pct == pytest.approx(100 * (1 / NETWORK_SHARE - 1), abs=0.5)
    for row in replayed.rows:
        first = row.candidates[0]
        assert first.arch == row.first.arch
        assert first.measured.latency_ms > row.first.budget_ms >= first.predicted_before_ms
        assert row.changed and row.picked.feasible
        assert row.measured.latency_ms <= row.picked.budget_ms
        assert row.picked.latency_ms <= row.picked.budget_ms


def test_the_corrected_cost_predicts_what_is_measured(replayed):
    for row in replayed.rows:
        assert row.measured.latency_ms == pytest.approx(row.picked.latency_ms, rel=1e-3)
        for candidate in row.candidates:
            assert candidate.predicted_ms == pytest.approx(candidate.measured.latency_ms, rel=1e-3)
    assert replayed.after.n_networks == 6  # three a budget; the table's are of another device
    assert replayed.after.residual_mape_pct < 0.1
    assert replayed.n_measured > replayed.after.n_networks  # the new picks were measured too


def test_networks_of_the_same_device_join_those_of_the_table(run, table):
    request = Request(budgets(run, 0.3, 0.6), n_candidates=2, confidence=0.9)
    verified = generate_verified(run, table, DEVICE, request, SILENT)
    assert verified.same_device
    assert verified.before is not None and verified.after is not None
    assert (verified.before.n_networks, verified.after.n_networks) == (20, 24)
    assert verified.error_before_pct < 1  # that calibration was right
    device = FakeDevice()
    for row in verified.rows:
        space = table.search_space
        workload = network_workload(space, space.parse(row.picked.arch))
        truth_ms = device.latency_ms(workload)
        assert row.measured.latency_ms == pytest.approx(truth_ms, rel=0.02)
        assert row.picked.feasible
        assert row.picked.interval_ms is not None
        assert row.picked.interval_ms[1] <= row.picked.budget_ms
        measured = [c for c in row.candidates if c.measured.latency_ms <= row.picked.budget_ms]
        assert row.picked.top1 >= min(c.top1 for c in measured)


def test_the_device_is_opened_once_for_all_that_is_measured(run, table, folder, monkeypatch):
    opened = []
    construct = ReplayDevice.__init__

    def counted(device, *arguments, **settings):
        opened.append(device)
        construct(device, *arguments, **settings)

    monkeypatch.setattr(ReplayDevice, "__init__", counted)
    spec = f"replay:{folder / 'latency_table.json'}"
    verified = generate_verified(run, table, spec, Request(budgets(run, 0.3, 0.6)), SILENT)
    assert verified.n_measured > 6  # what the corrected cost proposed was measured too
    assert len(opened) == 1


def test_two_networks_correct_nothing(run, table, folder):
    spec = f"replay:{folder / 'latency_table.json'}"
    (budget_ms,) = budgets(run, 0.5)
    verified = generate_verified(run, table, spec, Request([budget_ms], n_candidates=2), SILENT)
    assert verified.after is None and verified.n_measured == 2
    (row,) = verified.rows
    assert not row.picked.feasible  # both were too slow, and nothing was learnt to do better
    assert row.measured.latency_ms > budget_ms
    assert row.picked.latency_ms == run.problem.cost(row.picked.tokens[None])[0]


def test_a_budget_that_measuring_shows_to_be_out_of_reach_is_reported(run, table, folder):
    spec = f"replay:{folder / 'latency_table.json'}"
    (budget_ms,) = budgets(run, 0.01)
    verified = generate_verified(run, table, spec, Request([budget_ms]), SILENT)
    (row,) = verified.rows
    assert not row.picked.feasible
    assert row.measured.latency_ms == min(c.measured.latency_ms for c in row.candidates)


def test_the_command_prints_predicted_measured_and_what_changed(folder, run, tmp_path, capsys):
    (budget_ms,) = budgets(run, 0.4)
    folder = shutil.copytree(folder, tmp_path / "run")
    spec = f"replay:{folder / 'latency_table.json'}"
    arguments = ["generate", "--run", folder, "--budget", budget_ms, "--verify-on", spec]
    arguments = [*map(str, arguments), "--candidates", "3", "--quiet"]
    assert pnag([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["results"]
    assert row["measured_ms"] <= row["budget_ms"] and row["feasible"] and row["changed"]
    first = row["candidates"][0]
    assert first["measured_ms"] / first["predicted_before_ms"] == pytest.approx(
        1 / NETWORK_SHARE, rel=0.01
    )
    assert document["verification"]["calibration_after"]["n_networks"] == 3
    assert pnag(arguments) == 0
    text = capsys.readouterr().out
    assert f"was {first['arch']}" in text
    assert f"{row['measured_ms']:.3f}" in text


def test_the_run_is_left_as_it_was(run, replayed):
    again = run.generate([row.first.budget_ms for row in replayed.rows])
    assert [made.arch for made in again] == [row.first.arch for row in replayed.rows]
    assert [made.latency_ms for made in again] == [row.first.latency_ms for row in replayed.rows]
