"""Networks that the search picks are measured, and correct c(α) and its interval."""

import json
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest

from pnag.cli.app import run as pnag
from pnag.generate import generate_each
from pnag.refine import picks_along_frontier, refine_run
from pnag.runs.inputs import LATENCY_FILE
from pnag.runs.run import load_run
from pnag.runs.verification import (
    JOURNAL_FILE,
    LATER_JOURNAL_FILE,
    KeptVerification,
    drop_verification,
    read_verification,
)
from predictors.intervals import PICKS, Drift
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import network_workload
from profiler.devices.simulated.fake import NETWORK_SHARE, FakeDevice
from profiler.errors import InvalidInputError
from profiler.measuring.journal import Journal
from profiler.tables.table import NetworkEntry, Verdict, load_table
from profiler.terminal import Terminal
from tests.pnag.profiled import DEVICE, SILENT
from tests.profiler.fast import FAST


@pytest.fixture(scope="module")
def refined(profiled_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined") / "run"
    shutil.copytree(profiled_folder, folder)
    return refine_run(folder, DEVICE, SILENT, protocol=FAST)


@pytest.fixture
def copied(profiled_folder, tmp_path):
    return shutil.copytree(profiled_folder, tmp_path / "run")


def kept_of(run):
    assert run.verification is not None and run.verification.calibration is not None
    return run.verification, run.verification.calibration


def document(*arguments):
    with redirect_stdout(StringIO()) as out:
        assert pnag([*map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(out.getvalue())


def n_blocks(folder):
    with Journal(folder / JOURNAL_FILE, read_only=True) as journal:
        return int(journal.extent().split()[1].replace(",", ""))


def test_picks_lie_all_along_the_frontier_and_are_measured(refined):
    (kept, _), space = kept_of(refined), refined.problem.space
    assert len(kept.networks) == PICKS and kept.refined and not kept.picks
    assert all(entry.picked for entry in kept.networks)
    low, high = refined.problem.reachable_ms
    tokens = np.stack([space.parse(entry.arch) for entry in kept.networks])
    cost_ms = refined.problem.cost(tokens)
    places = np.sort((cost_ms - low) / (high - low))
    assert places[0] < 0.1 and np.diff(places).max() < 0.2
    trained = load_run(refined.folder, verified=False)
    (dear,) = trained.generate([high - (high - low) / (2 * PICKS)])
    assert cost_ms.max() >= dear.latency_ms
    device = FakeDevice(1)
    for entry in kept.networks:
        truth_ms = device.latency_ms(network_workload(space, space.parse(entry.arch)))
        assert entry.latency_ms == pytest.approx(truth_ms, rel=0.02)


def test_the_calibration_is_of_drawn_networks_and_picks_and_the_interval_of_picks(refined):
    kept, calibration = kept_of(refined)
    assert (calibration.n_networks, calibration.n_picked) == (20 + PICKS, PICKS)
    assert 20 / 21 in calibration.relative_quantiles  # of the picks alone
    assert calibration.n_sessions == len(kept.sessions) + len(
        load_table(refined.folder / LATENCY_FILE).sessions
    )
    half = calibration.relative_quantiles[0.95]
    low, high = refined.reachable_ms
    (made,) = refined.generate([0.5 * (low + high)], confidence=0.95)
    assert made.latency_ms * (1 + half) <= made.budget_ms
    assert refined.corrected.cost.relative_interval(0.95) == half


def test_a_refined_run_stays_as_it_is(refined):
    kept = read_verification(refined.folder)
    again = refine_run(refined.folder, DEVICE, SILENT, protocol=FAST)
    assert again.verification == kept


def test_in_another_hour_further_picks_show_how_hours_differ(refined, tmp_path):
    folder = shutil.copytree(refined.folder, tmp_path / "run")
    kept = read_verification(folder)
    assert kept is not None and len(kept.sessions) == FAST.launches > 0
    earlier = [
        session.model_copy(update={"started": f"2026-01-02T03:0{at}:00+00:00"})
        for at, session in enumerate(kept.sessions)
    ]
    kept.model_copy(update={"sessions": tuple(earlier)}).save(folder)
    again, calibration = kept_of(refine_run(folder, DEVICE, SILENT, protocol=FAST))
    assert len({entry.arch for entry in again.networks if entry.picked}) == 2 * PICKS
    assert again.networks[:PICKS] == kept.networks
    assert again.sessions[: len(earlier)] == tuple(earlier)
    assert len(again.sessions) == 2 * len(earlier)
    assert calibration.n_picked == 2 * PICKS
    drift = Drift.of(again.sessions)
    assert drift is not None and drift.n_hours == 2
    # the samples of both hours are kept, and go together
    later = folder / LATER_JOURNAL_FILE.format(len(earlier))
    assert later.exists() and (folder / JOURNAL_FILE).exists()
    assert drop_verification(folder) and not list(folder.glob("*.journal.sqlite*"))


def test_another_device_than_the_tables_is_known_by_the_picks_alone(copied):
    spec = f"replay:{copied / LATENCY_FILE}"
    run = refine_run(copied, spec, SILENT, protocol=FAST)
    kept, calibration = kept_of(run)
    assert not kept.same_device
    assert (calibration.n_networks, calibration.n_picked, calibration.n_sessions) == (
        PICKS,
        PICKS,
        0,
    )
    # a network is the sum of its ops there
    assert run.reachable_ms[1] == pytest.approx(
        run.problem.reachable_ms[1] / NETWORK_SHARE, rel=0.01
    )
    assert run.corrected.cost.relative_interval(0.95) < 0.01


def test_where_every_pick_was_measured_already_nothing_is(copied, capsys):
    """As in a space so small that the table has them all."""
    run, table = load_run(copied), load_table(copied / LATENCY_FILE)
    known: set[str] = set()
    while picks := picks_along_frontier(run, 1, known):
        known |= {pick.arch for pick in picks}
    networks = [
        NetworkEntry(arch=arch, latency_ms=9.0, verdict=Verdict.STABLE, picked=True)
        for arch in sorted(known)
    ]
    kept = KeptVerification.of(
        copied, table.device, same_device=True, calibration=table.calibration, networks=networks,
        sessions=(),
    )  # fmt: skip
    kept.save(copied)
    refined = refine_run(copied, DEVICE, Terminal(), n_picks=1, protocol=FAST)
    assert refined.verification == kept and not (copied / JOURNAL_FILE).exists()
    said = "all that the search picks along its frontier was measured on fake 1 already"
    assert said in capsys.readouterr().err


def test_a_refinement_without_picks_is_described(copied):
    """Former versions kept such."""
    table = load_table(copied / LATENCY_FILE)
    kept = KeptVerification.of(
        copied, table.device, same_device=True, calibration=table.calibration, networks=(),
        sessions=(), refines=True,
    )  # fmt: skip
    kept.save(copied)
    command = ["train", "--out", copied, "--resume", "--refine-on", DEVICE]
    found = document(*command)["refinement"]
    assert (found["n_networks"], found["error_before_pct"]) == (0, None)
    with redirect_stdout(StringIO()) as out:
        assert pnag([*map(str, command), "--quiet"]) == 0
    assert "refined on fake 1: 0 networks that the search picked; 95 %" in out.getvalue()


def test_what_is_interrupted_goes_on(copied, monkeypatch):
    added: list[str] = []
    add_block = Journal.add_block

    def counted(journal, key, block):
        if len(added) == 100:
            added.append("interrupted")
            raise KeyboardInterrupt
        add_block(journal, key, block)
        added.append(key)

    monkeypatch.setattr(Journal, "add_block", counted)
    with pytest.raises(KeyboardInterrupt):
        refine_run(copied, DEVICE, SILENT, protocol=FAST)
    assert read_verification(copied) is None
    assert n_blocks(copied) == 100
    run = refine_run(copied, DEVICE, SILENT, protocol=FAST)
    assert len(kept_of(run)[0].networks) == PICKS
    assert n_blocks(copied) == len(added) - 1  # the first hundred are there, none came twice


def test_the_command_refines_a_finished_run_and_drops_it_again(copied, monkeypatch):
    monkeypatch.setattr("profiler.measuring.protocol.FULL", FAST)
    trained = document("train", "--out", copied, "--resume")
    assert "refinement" not in trained
    refined = document("train", "--out", copied, "--resume", "--refine-on", DEVICE)
    summary = refined["refinement"]
    assert summary["n_networks"] == PICKS and summary["device"] == "fake 1"
    assert summary["error_before_pct"] < 1  # that calibration was right
    assert summary["interval_95"] == load_run(copied).corrected.cost.relative_interval(0.95)
    budget = np.mean(refined["reachable_ms"])
    document("generate", "--run", copied, "--budget", budget, "--drop-verification")
    assert read_verification(copied) is None and not (copied / JOURNAL_FILE).exists()


def test_what_an_interval_does_not_know_is_said_once_it_is_asked_for(
    profiled_folder, refined, capsys
):
    def said(folder, *options):
        budget_ms = np.mean(load_run(folder).reachable_ms)
        arguments = ["generate", "--run", folder, "--budget", budget_ms, *options]
        assert pnag([*map(str, arguments)]) == 0
        return capsys.readouterr().err

    doubts = said(profiled_folder, "--confidence", 0.9)
    assert "does not know networks that a search picks and other sessions" in doubts
    assert f"pnag train --resume --out {profiled_folder} --refine-on" in doubts
    assert "does not know" not in said(profiled_folder)
    assert "does not know" not in said(refined.folder, "--confidence", 0.9)


def test_a_tabular_space_has_no_networks_to_measure(tmp_path, capsys):
    table = tmp_path / "s.csv"
    table.write_text("a,top1,latency_ms\n0,0.5,1\n1,0.6,2\n")
    arguments = ["train", "--space", f"tabular:{table}", "--refine-on", DEVICE]
    assert pnag([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "--refine-on measures networks" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_where_nothing_supports_an_interval_the_advice_helps(profiled_folder):
    run = load_run(profiled_folder)
    table = load_table(profiled_folder / LATENCY_FILE)
    bare = table.model_copy(update={"networks": (), "calibration": None})
    problem = replace(run.problem, cost=cost_from_table(bare))
    budgets_ms = [problem.reachable_ms[1]]
    with pytest.raises(InvalidInputError, match=r"the 19 measured .* --refine-on DEVICE$"):
        generate_each(problem, run.learners, budgets_ms, confidence=0.95)
    with pytest.raises(InvalidInputError, match=r"--networks 999 is$"):  # no refining does
        generate_each(problem, run.learners, budgets_ms, confidence=0.999)
