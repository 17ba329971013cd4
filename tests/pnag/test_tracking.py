"""Trackers get what a run keeps, in one run of theirs, and never cost a training."""

import json
import sys
from collections import defaultdict

import numpy as np
import pytest

from pnag.cli.app import run as pnag_command
from pnag.learning.settings import TrainSettings
from pnag.learning.train import run_round
from pnag.runs.run import train_run
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal
from tests.pnag.landscapes import tabular_problem
from tests.pnag.tracker_stand_ins import installed

TINY = TrainSettings(
    n_evaluations=24, n_budgets=2, rounds=3, evaluator_steps=2, evaluator_full_steps=1,
    generator_steps=1, evaluator_hidden=4, generator_hidden=4,
)  # fmt: skip
TABLES = ["config.json", "frontier.csv", "frontier.json", "metrics.jsonl", "tracking.json"]


@pytest.fixture(params=["mlflow", "wandb"])
def tracker(request, monkeypatch):
    return installed(monkeypatch, request.param)


@pytest.fixture(autouse=True)
def without_plots(monkeypatch):
    """Which take most of the time of so small a run."""
    monkeypatch.setattr("pnag.plots.frontier_plot", lambda *_, **__: None)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def metrics_of(entry):
    return {name: value for name, value in entry.items() if name not in ("learner", "round")}


def train(folder, tracker, **options):
    return train_run(tabular_problem(), TINY, folder, trackers=[tracker.__name__], **options)


def test_a_tracker_has_the_metrics_settings_and_tables_of_a_run(tracker, tmp_path):
    folder = tmp_path / "cpu"
    train(folder, tracker)
    (held,) = tracker.runs.values()
    assert (held.name, held.ended) == ("cpu", "FINISHED")
    assert held.settings == TINY.to_json()
    assert [entry["round"] for entry in lines(folder)] == [1, 2, 3]
    judged = {"hypervolume": json.loads((folder / "frontier.json").read_text())["hypervolume"]}
    if taus := json.loads((folder / "config.json").read_text())["evaluator_kendall_tau"]:
        judged["least_kendall_tau"] = min(taus)
    expected = {entry["round"]: metrics_of(entry) for entry in lines(folder)}
    assert held.metrics == expected | {3: expected[3] | judged}
    assert held.tables == {name: (folder / name).read_bytes() for name in TABLES}


def interrupt(monkeypatch, train):
    """After its first round."""
    rounds = iter([True, False])

    def once(*arguments):
        if next(rounds):
            yield from run_round(*arguments)
        else:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pnag.runs.run.run_round", once)
        train()


def test_an_interrupted_run_goes_on_in_the_trackers_run(tracker, tmp_path, monkeypatch):
    interrupt(monkeypatch, lambda: train(tmp_path, tracker))
    (held,) = tracker.runs.values()
    assert list(held.metrics) == [1] and held.ended == "FAILED"
    train(tmp_path, tracker, resume=True)
    assert list(tracker.runs) == [held.id]
    assert list(held.metrics) == [1, 2, 3] and held.ended == "FINISHED"


def test_a_finished_run_is_exported_whole(tracker, tmp_path):
    train(tmp_path / "a", tracker)
    train_run(tabular_problem(), TINY, tmp_path / "b")
    train(tmp_path / "b", tracker, resume=True)
    tracked, exported = tracker.runs.values()
    assert exported.metrics == tracked.metrics
    assert exported.tables.keys() == tracked.tables.keys()
    for name in ("frontier.json", "metrics.jsonl"):  # without a tracker they are not asked for
        (tmp_path / "b" / name).unlink()
    assert len(train_run(tabular_problem(), TINY, tmp_path / "b", resume=True).known)


def test_a_tracker_that_fails_is_named_once_and_the_run_is_the_same(
    tracker, tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("tests.pnag.tracker_stand_ins.Tracked.add", fail)
    run = train(tmp_path, tracker, terminal=Terminal())
    said = [line for line in capsys.readouterr().err.splitlines() if "nothing more" in line]
    assert said == [f"{tracker.__name__} gets nothing more (no route); training goes on"]
    untracked = train_run(tabular_problem(), TINY)
    for ours, theirs in zip(run.learners, untracked.learners, strict=True):
        assert np.array_equal(ours.archive.tokens, theirs.archive.tokens)


def test_a_tracker_that_cannot_begin_is_one_line(tracker, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no API key\nlog in")

    begins = {"mlflow": "start_run", "wandb": "init"}[tracker.__name__]
    monkeypatch.setattr(tracker, begins, refuse)
    with pytest.raises(InvalidInputError, match=f"^{tracker.__name__} cannot .*: no API key$"):
        train(tmp_path, tracker)
    monkeypatch.delattr(tracker, begins)
    train(tmp_path, tracker, resume=True)
    assert [held.ended for held in tracker.runs.values()] == ["FINISHED"]


def test_tensorboard_has_each_step_of_every_learner_once(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = TrainSettings(**TINY.to_json() | {"strategy": "independent"})

    def train(**options):
        train_run(tabular_problem(), settings, tmp_path, trackers=["tensorboard"], **options)

    interrupt(monkeypatch, train)
    train(resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    expected = defaultdict(list)
    for step, entry in enumerate(lines(tmp_path), 1):
        for name, value in metrics_of(entry).items():
            expected[f"budget_{entry['learner']}/{name}"].append((step, pytest.approx(value)))
    assert {name: logged[name] for name in expected} == expected
    assert [step for step, _ in logged["hypervolume"]] == [len(lines(tmp_path))]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "aim"])
def test_a_tracker_that_is_absent_is_refused_before_anything_is_written(
    name, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInputError, match=rf"pnag\[{name}\]|no tracker 'aim'"):
        train_run(tabular_problem(), TINY, tmp_path / "run", trackers=[name])
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_kept_is_not_tracked(tracker):
    with pytest.raises(InvalidInputError, match="only a run in a folder"):
        train(None, tracker)


def test_an_option_names_the_trackers(tmp_path, monkeypatch, capsys):
    def stop(*_, trackers, **__):
        raise InvalidInputError(",".join(trackers))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.csv").write_text("a,top1_pct,latency_ms\n1,50,1\n2,60,2\n")
    monkeypatch.setattr("pnag.runs.run.train_run", stop)
    line = "train --space tabular:b.csv --track tensorboard --track wandb"
    assert pnag_command(line.split()) == 2
    assert capsys.readouterr().err == "pnag: tensorboard,wandb\n"
