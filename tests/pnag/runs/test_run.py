import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from benchmarks.measures import best_within
from pnag.generate import generate_each
from pnag.generated import GeneratedArchitecture, UnmetBudget
from pnag.learning.settings import TrainSettings
from pnag.learning.train import run_round
from pnag.runs.run import load_run, train_run
from pnag.search.frontier import hypervolume
from pnag.search.problem import Problem
from predictors.base import Margin
from predictors.cost import AdditiveCost, madds_cost, params_cost
from predictors.tabular import TabularAccuracy, TabularCost
from profiler.errors import DeviceUnavailableError, InfeasibleBudgetError, InvalidInputError
from profiler.spaces.base import TokenPosition
from profiler.spaces.tabular import TabularSpace
from profiler.system.lock import device_lock
from profiler.system.tensor_files import read_tensors, write_tensors
from tests.pnag.landscapes import mobilenet_problem, tabular_problem

pytestmark = pytest.mark.slow

QUICK = TrainSettings(
    n_evaluations=1200, n_budgets=5, rounds=3, evaluator_steps=60, evaluator_full_steps=4,
    generator_steps=25, evaluator_hidden=64, generator_hidden=32,
)  # fmt: skip
TINY = TrainSettings(
    n_evaluations=20, n_budgets=2, rounds=2, evaluator_steps=2, evaluator_full_steps=1,
    generator_steps=1, evaluator_hidden=4, generator_hidden=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def mobilenet_run(tmp_path_factory):
    return train_run(mobilenet_problem(), QUICK, tmp_path_factory.mktemp("runs") / "mbv3")


def test_ten_thousand_samples_for_a_hundred_budgets_violate_none(mobilenet_run):
    problem = mobilenet_run.problem
    low, high = mobilenet_run.reachable_ms
    budgets = np.linspace(low, high, 100)
    made = mobilenet_run.generate(budgets.tolist(), n_samples=100, seed=0)
    assert (problem.cost(np.stack([m.tokens for m in made])) <= budgets).all()
    assert all(m.feasible for m in made)


@pytest.mark.parametrize("n_samples", [1, 5, 32])
@pytest.mark.parametrize("pure", [True, False])
def test_a_budget_gives_the_same_architecture_whatever_else_is_asked_for(
    mobilenet_run, n_samples, pure
):
    def archs(budgets_ms):
        made = mobilenet_run.generate(budgets_ms, n_samples=n_samples, pure=pure, seed=3)
        return [one.arch for one in made]

    low, high = mobilenet_run.reachable_ms
    budgets_ms = np.linspace(low, high, 12).tolist()
    every = archs(budgets_ms)
    assert archs(budgets_ms[::-1]) == every[::-1]
    for at in (0, 5, 11):
        budget_ms = budgets_ms[at]
        assert archs([budget_ms]) == [every[at]]
        first, _, again, _ = archs([budget_ms, budgets_ms[3], budget_ms, budgets_ms[7]])
        assert first == every[at]
        assert archs([budget_ms, budget_ms]) == [first, again]


def test_budgets_that_are_decoded_in_parts_get_the_same_architectures(mobilenet_run, monkeypatch):
    low, high = mobilenet_run.reachable_ms
    budgets_ms = np.linspace(low, high, 12).tolist()
    at_once = [one.arch for one in mobilenet_run.generate(budgets_ms, n_samples=5)]
    monkeypatch.setattr("pnag.generate.ROWS_AT_ONCE", 17)
    assert [one.arch for one in mobilenet_run.generate(budgets_ms, n_samples=5)] == at_once


def test_a_budget_given_again_draws_anew(mobilenet_run):
    middle_ms = float(np.mean(mobilenet_run.reachable_ms))
    made = mobilenet_run.generate([middle_ms] * 20, n_samples=1, pure=True)
    assert len({one.arch for one in made}) > 10


def test_the_evaluator_ranks_fresh_architectures(mobilenet_run):
    taus = mobilenet_run.evaluator_taus()
    assert len(taus) == 5
    assert min(taus) > 0.85  # 1,200 evaluations, a tenth of the default


def test_what_training_evaluated_is_returned_where_it_is_better(mobilenet_run):
    low, high = mobilenet_run.reachable_ms
    budgets = np.linspace(low, high, 25)
    pure = mobilenet_run.generate(budgets.tolist(), n_samples=1, pure=True)
    made = mobilenet_run.generate(budgets.tolist(), n_samples=1)
    archive = mobilenet_run.learners[0].archive
    known = best_within(archive.cost_ms, archive.top1, budgets)
    for one, alone, best in zip(made, pure, known, strict=True):
        assert alone.origin == "generated"
        assert one.top1 == max(alone.top1, best)
        assert one.origin == ("evaluated" if best > alone.top1 else "generated")
        assert one.feasible and one.latency_ms <= one.budget_ms
    assert {one.origin for one in made} == {"generated", "evaluated"}


def test_what_is_known_keeps_confidence_and_limits(mobilenet_run):
    low, high = mobilenet_run.reachable_ms
    params = params_cost(mobilenet_run.problem.space)
    bounds = {"params": 5e6}
    budgets = np.linspace(1.05 * low, 1.05 * high, 25).tolist()
    made = mobilenet_run.generate(budgets, n_samples=1, confidence=0.95, bounds=bounds)
    margin = mobilenet_run.problem.cost.margin(0.95)
    known = [one for one in made if one.origin == "evaluated"]
    assert known
    for one in known:
        assert margin.added(one.latency_ms) <= one.budget_ms
        assert params(one.tokens[None])[0] <= 5e6


def test_generated_architectures_beat_random_ones_of_as_many_evaluations(mobilenet_run):
    problem = mobilenet_run.problem
    low, high = mobilenet_run.reachable_ms
    budgets = low + (high - low) * (np.arange(10) + 0.5) / 10
    made = mobilenet_run.generate(budgets.tolist(), pure=True)
    random = problem.space.sample(QUICK.n_evaluations, np.random.default_rng(0))
    found = best_within(problem.cost(random), problem.accuracy.top1(random), budgets)
    found = np.where(np.isfinite(found), found, 0.6)
    ours = np.array([m.top1 for m in made])
    assert (ours > found - 1e-4).all()
    assert hypervolume(budgets, ours, high, 0.6) > hypervolume(budgets, found, high, 0.6)


def test_a_loaded_run_generates_the_same(mobilenet_run):
    loaded = load_run(mobilenet_run.folder, mobilenet_run.problem)
    low, high = mobilenet_run.reachable_ms
    budgets = np.linspace(low, high, 7).tolist()
    assert [m.arch for m in loaded.generate(budgets)] == [
        m.arch for m in mobilenet_run.generate(budgets)
    ]


def test_two_trainings_do_not_write_one_run(tmp_path):
    """Under whatever name the folder is given; the one that came second wrote nothing."""
    (tmp_path / "link").symlink_to("run")
    problem = tabular_problem(n_positions=3, n_choices=3)
    with device_lock(f"run {tmp_path / 'run'}"):
        for folder in (tmp_path / "run", tmp_path / "link", tmp_path / "x" / ".." / "run"):
            with pytest.raises(DeviceUnavailableError, match=r"is at work on run .*run; wait"):
                train_run(problem, QUICK, folder)
    assert not (tmp_path / "run").exists()


def test_what_is_known_is_sorted_once_for_all_that_is_asked(mobilenet_run):
    known = mobilenet_run.known_under(mobilenet_run.problem.cost)
    assert "_front" not in vars(known)
    budgets = [float(np.mean(mobilenet_run.reachable_ms))]
    generate_each(mobilenet_run.problem, mobilenet_run.learners, budgets, known=known)
    assert "_front" in vars(known)


def test_a_time_that_sessions_add_is_left_free_in_every_budget(mobilenet_run):
    problem = mobilenet_run.problem
    assert isinstance(problem.cost, AdditiveCost)
    cost = replace(problem.cost, margins={0.95: Margin(0.01, 0.2)})
    low, high = mobilenet_run.reachable_ms
    budgets = np.linspace(1.02 * low + 0.2, high, 9).tolist()
    made = generate_each(
        replace(problem, cost=cost), mobilenet_run.learners, budgets, confidence=0.95
    )
    for one in made:
        assert isinstance(one, GeneratedArchitecture)
        assert 1.01 * one.latency_ms + 0.2 <= one.budget_ms
        assert one.costs["latency"].used == pytest.approx(
            (1.01 * one.latency_ms + 0.2) / one.budget_ms
        )
    (unmet,) = generate_each(
        replace(problem, cost=cost), mobilenet_run.learners, [low + 0.1], confidence=0.95
    )
    assert isinstance(unmet, UnmetBudget)
    assert unmet.reachable_ms == pytest.approx((1.01 * low + 0.2, 1.01 * high + 0.2))


def test_confidence_keeps_the_interval_within_the_budget_where_no_bound_is_known(mobilenet_run):
    low, high = mobilenet_run.reachable_ms
    for made in mobilenet_run.generate(np.linspace(1.04 * low, high, 9).tolist(), confidence=0.95):
        assert made.latency_ms * 1.03 <= made.budget_ms
        assert made.interval_ms == (made.latency_ms * 0.97, made.latency_ms * 1.03)
    with pytest.raises(InfeasibleBudgetError):
        mobilenet_run.generate([low * 1.02], confidence=0.95)
    with pytest.raises(InvalidInputError, match="no interval"):
        mobilenet_run.generate([high], confidence=0.999)


def test_parameters_and_madds_are_bounds_too(mobilenet_run):
    space = mobilenet_run.problem.space
    budgets = np.linspace(20, mobilenet_run.reachable_ms[1], 8)
    bounds = {"params": 5e6, "madds": 280e6}
    made = mobilenet_run.generate(budgets.tolist(), bounds=bounds)
    tokens = np.stack([m.tokens for m in made])
    assert (params_cost(space)(tokens) <= 5e6).all()
    assert (madds_cost(space)(tokens) <= 280e6).all()
    assert (mobilenet_run.problem.cost(tokens) <= budgets).all()
    with pytest.raises(InfeasibleBudgetError, match="params are reachable"):
        mobilenet_run.generate([budgets[-1]], bounds={"params": 3e6})


def test_the_cheapest_architecture_is_the_last_feasible_one(mobilenet_run):
    low, _ = mobilenet_run.reachable_ms
    (made,) = mobilenet_run.generate([low])
    assert made.latency_ms == low
    with pytest.raises(InfeasibleBudgetError, match="is reachable") as error:
        mobilenet_run.generate([low * (1 - 1e-9)])
    assert error.value.exit_code == 3


def test_the_run_directory_holds_what_the_contract_says(mobilenet_run):
    folder = mobilenet_run.folder
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "evaluator.safetensors", "generator.safetensors",
        "archive.safetensors", "frontier.json", "frontier.csv", "frontier.svg", "frontier.png",
    }  # fmt: skip
    document = json.loads((folder / "frontier.json").read_text())
    points = document["points"]
    assert all(a["top1"] < b["top1"] for a, b in pairwise(points))
    half_ms = mobilenet_run.problem.cost.relative_interval(0.95)
    for point in points:
        relative = np.array(point["interval_ms"]) / point["latency_ms"] - 1
        assert relative == pytest.approx([-half_ms, half_ms])
        assert point["top1_interval"] is None  # these accuracies state no error
    low, high = mobilenet_run.reachable_ms
    (cheapest,) = mobilenet_run.generate([low])
    assert document["reference_point"] == {"latency_ms": high, "top1": cheapest.top1}
    costs, top1 = np.array([[point["latency_ms"], point["top1"]] for point in points]).T
    assert document["hypervolume"] == hypervolume(costs, top1, high, cheapest.top1)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["evaluations"] for entry in metrics] == [400, 800, 1200]


def test_a_second_run_in_the_same_directory_is_refused(mobilenet_run):
    with pytest.raises(InvalidInputError, match="holds a run already"):
        train_run(mobilenet_run.problem, QUICK, mobilenet_run.folder)


def test_an_interrupted_run_resumes_to_the_same_result(tmp_path, monkeypatch):
    problem = tabular_problem()
    settings = TrainSettings(
        n_evaluations=300, n_budgets=3, rounds=3, evaluator_steps=5, generator_steps=5
    )
    train_run(problem, settings, tmp_path / "whole")

    def interrupted(*args, **kwargs):
        yield from run_round(*args, **kwargs)
        if args[1].rounds_done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("pnag.runs.run.run_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_run(problem, settings, tmp_path / "cut")
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="unfinished"):
        load_run(tmp_path / "cut", problem)
    resumed = train_run(problem, settings, tmp_path / "cut", resume=True)
    assert resumed.learners[0].rounds_done == 3
    for name in ("evaluator", "generator", "archive"):
        files = [tmp_path / run / f"{name}.safetensors" for run in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
    metrics = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "cut")]
    assert metrics[0] == metrics[1]


def test_a_run_interrupted_after_its_last_round_is_not_trained_again(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise OSError("no space left")

    problem = tabular_problem()
    settings = TrainSettings(n_evaluations=60, rounds=1, evaluator_steps=2, generator_steps=2)
    with monkeypatch.context() as patch:
        patch.setattr("pnag.plots.frontier_plot", interrupted)
        with pytest.raises(OSError, match="no space"):
            train_run(problem, settings, tmp_path / "cut")
    monkeypatch.setattr("pnag.runs.run.run_round", interrupted)
    train_run(problem, settings, tmp_path / "cut", resume=True)
    assert load_run(tmp_path / "cut", problem).learners[0].rounds_done == 1
    assert not (tmp_path / "cut" / "checkpoint.safetensors").exists()


def test_a_space_of_one_latency_is_refused_before_anything_is_written(tmp_path):
    space = replace(tabular_problem().space, latency_ms=np.full(4**5, 2.0))
    problem = Problem(space, TabularCost(space), TabularAccuracy(space))
    with pytest.raises(InvalidInputError, match="every architecture takes 2 ms"):
        train_run(problem, QUICK, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_all_are_equally_accurate_loose_budgets_have_no_order_to_judge(tmp_path):
    space = replace(tabular_problem().space, top1=np.full(4**5, 0.5))
    problem = Problem(space, TabularCost(space), TabularAccuracy(space))
    run = train_run(problem, replace(QUICK, n_evaluations=60, rounds=1), tmp_path / "run")
    assert len(run.evaluator_taus()) == QUICK.n_budgets - 1
    config = (tmp_path / "run" / "config.json").read_text()
    assert json.loads(config, parse_constant=pytest.fail)["evaluator_kendall_tau"]


def tiny_problem(top1):
    rows = np.arange(len(top1), dtype=np.int8)[:, None]
    choices = tuple(map(str, range(1, len(top1) + 1)))
    space = TabularSpace(
        "tabular:tiny",
        (TokenPosition("a", choices),),
        rows,
        np.array(top1),
        rows[:, 0].astype(float) + 1,
    )
    return Problem(space, TabularCost(space), TabularAccuracy(space))


def test_the_dearest_architecture_is_evaluated_and_generated():
    run = train_run(tiny_problem([0.5, 0.6, 0.7]), replace(QUICK, n_evaluations=60))
    assert run.n_evaluated == 3
    made = run.generate([1.0, 2.0, 3.0, 10.0])
    assert [m.arch for m in made] == ["1", "2", "3", "3"]
    assert [point.arch for point in run.frontier()] == ["1", "2", "3"]


def test_without_an_order_to_judge_there_is_no_tau(tmp_path):
    settings = replace(QUICK, n_evaluations=20, rounds=1, n_budgets=1, reward="mnasnet")
    run = train_run(tiny_problem([0.0, 0.0]), settings, tmp_path / "run")
    assert run.evaluator_taus() == []
    assert run.generate([5.0])[0].feasible


def test_a_damaged_or_foreign_directory_is_one_clear_line(tmp_path, mobilenet_run):
    with pytest.raises(InvalidInputError, match=r"no config.json"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not JSON"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"schema": "pnag.run/9"}')
    with pytest.raises(InvalidInputError, match="schema"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text((mobilenet_run.folder / "config.json").read_text())
    with pytest.raises(InvalidInputError, match="is missing"):
        load_run(tmp_path, mobilenet_run.problem)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("settings", None),
        ("settings", []),
        ("settings", {"n_budgets": "many"}),
        ("inputs", [1]),
        ("inputs", {"latency_table.json": {"sha256": "0"}}),
        ("inputs", {"latency_table.json": {"source": 5, "sha256": "0"}}),
        ("finished", 5),
        ("versions", ["numpy"]),
        ("versions", {"numpy": 2}),
        ("reachable_ms", [1.0]),
        ("reachable_ms", ["1", "2"]),
        ("evaluator_kendall_tau", ["0.9"]),
        ("evaluator_kendall_tau", [float("nan")]),
    ],
)
def test_what_no_config_of_a_run_says_is_one_line(tmp_path, mobilenet_run, field, value):
    config = json.loads((mobilenet_run.folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(InvalidInputError, match=f"config.json.*{field}") as refused:
        load_run(tmp_path, mobilenet_run.problem)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("evaluator_hidden", 10**9),  # of weights that fill the memory
        ("generator_hidden", 10**9),
        ("evaluator_hidden", 0),
        ("evaluator_hidden", "9"),
        ("evaluator_batch", 10**12),
        ("n_elites", -1),
        ("entropy", float("nan")),
        ("evaluator_rate", "fast"),
        ("rounds", 2.5),
        ("rounds", True),
        ("active", 1),
        ("n_budgets", 10**400),
        ("reward", ["pareto"]),
        ("strategy", "none"),
    ],
)
def test_settings_that_no_training_had_are_refused_at_once(tmp_path, setting, value):
    settings = TrainSettings().to_json() | {setting: value}
    config = {"schema": "pnag.run/1", "finished": "now", "settings": settings, "inputs": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match=r"config\.json") as refused:
        load_run(tmp_path, tiny_problem([0.5, 0.6]))
    assert len(str(refused.value)) < 400


@pytest.fixture(scope="module")
def cut_run(tmp_path_factory):
    """A run of two rounds that ended after the first."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    patch = pytest.MonkeyPatch()

    def interrupted(*args, **kwargs):
        if args[1].rounds_done:
            raise KeyboardInterrupt
        yield from run_round(*args, **kwargs)

    patch.setattr("pnag.runs.run.run_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_run(tiny_problem([0.5, 0.6, 0.7]), TINY, folder)
    patch.undo()
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"schema": "pnag.run/1", "settings": {}}'),
        ("config.json", '{"schema": "pnag.run/1", "settings": SETTINGS, "inputs": [1]}'),
        ("config.json", '{"schema": "pnag.run/1", "settings": SETTINGS, "inputs": {"a": 1}}'),
        ("config.json", "[" * 10**5),
        ("metrics.jsonl", "{\n"),
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", '{"round": "a", "learner": 0}\n'),
        ("metrics.jsonl", '{"round": 1, "learner": 99}\n'),
        ("metrics.jsonl", '{"round": ' + "9" * 5000 + "}\n"),
        ("checkpoint.safetensors", "cut"),
    ],
)
def test_a_damaged_run_is_not_resumed(tmp_path, cut_run, name, content):
    folder = tmp_path / "run"
    shutil.copytree(cut_run, folder)
    (folder / name).write_text(content.replace("SETTINGS", json.dumps(TINY.to_json())))
    with pytest.raises(InvalidInputError, match="run"):
        train_run(tiny_problem([0.5, 0.6, 0.7]), TINY, folder, resume=True)


@pytest.mark.parametrize(
    ("progress", "changed"),
    [
        ("none", {}),
        ("[", {}),
        ("[]", {}),
        ('[{"rounds_done": 1}]', {}),
        ('[{"rounds_done": 99, "rng": {}}]', {}),
        ('[{"rounds_done": 1, "rng": {"bit_generator": "PCG64"}}]', {}),
        (None, {"0.archive.tokens": torch.zeros(3, 7, dtype=torch.int8)}),
        (None, {"0.archive.tokens": torch.full((3, 1), 100, dtype=torch.int8)}),
        (None, {"0.archive.tokens": torch.zeros(3, 1)}),
        (None, {"0.archive.top1": torch.zeros(1)}),
        (None, {"0.archive.cost_ms": torch.full((3,), float("nan"))}),
        (None, {"0.archive.cost_ms": torch.zeros(3)}),
        (None, {"0.archive.top1": torch.tensor([0.5, 7.0, 0.7])}),
        (None, {"0.archive.top1": torch.tensor([0.5, -0.1, 0.7])}),
        (None, {"0.evaluator.extra": torch.zeros(1)}),
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path, cut_run, progress, changed):
    folder = tmp_path / "run"
    shutil.copytree(cut_run, folder)
    path = folder / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    metadata = (
        metadata if progress is None else {} if progress == "none" else {"progress": progress}
    )
    write_tensors(path, tensors | changed, metadata)
    with pytest.raises(InvalidInputError, match=r"run") as refused:
        train_run(tiny_problem([0.5, 0.6, 0.7]), TINY, folder, resume=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["evaluator", "generator"])
def test_networks_of_another_width_are_refused_before_they_take_memory(
    tmp_path, mobilenet_run, part, monkeypatch
):
    run = tmp_path / "run"
    shutil.copytree(mobilenet_run.folder, run)
    config = json.loads((run / "config.json").read_text())
    config["settings"][f"{part}_hidden"] = 4010
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("pnag.runs.learner_files.new_learners", None)
    with pytest.raises(InvalidInputError, match=f"settings: no {part} of width 4010"):
        load_run(run, mobilenet_run.problem)


def test_a_budget_beyond_the_dearest_architecture_is_no_limit(mobilenet_run):
    _, high = mobilenet_run.reachable_ms
    made = {mobilenet_run.generate([budget])[0].arch for budget in (2 * high, 1e6, 1e300)}
    assert len(made) == 1


def test_a_tabular_space_is_solved_to_its_exact_frontier():
    problem = tabular_problem(n_positions=5, n_choices=4)
    settings = TrainSettings(
        n_evaluations=512, n_budgets=5, rounds=4, evaluator_steps=80, generator_steps=30,
        evaluator_hidden=64, generator_hidden=32,
    )  # fmt: skip
    run = train_run(problem, settings)
    low, high = run.reachable_ms
    budgets = low + (high - low) * (np.arange(25) + 0.5) / 25
    made = run.generate(budgets.tolist())
    space = problem.space
    exact = best_within(space.latency_ms, space.top1, budgets)
    floor = float(space.top1[space.latency_ms.argmin()])
    ours = np.array([m.top1 for m in made])
    ratio = hypervolume(budgets, ours, high, floor) / hypervolume(budgets, exact, high, floor)
    assert ratio > 0.99
    assert all(space.format(m.tokens) == m.arch for m in made)


def test_a_small_space_is_evaluated_as_far_as_allowed():
    problem = tabular_problem(n_positions=3, n_choices=3)  # 27 rows
    run = train_run(problem, replace(QUICK, n_evaluations=60, rounds=6))
    assert run.n_evaluated >= 25
    high = run.reachable_ms[1]
    assert run.generate([high])[0].top1 == run.known.top1.max()


def test_independent_searches_share_the_evaluations():
    problem = tabular_problem()
    settings = TrainSettings(
        n_evaluations=300, n_budgets=3, rounds=2, strategy="independent", evaluator_steps=5,
        generator_steps=5,
    )  # fmt: skip
    run = train_run(problem, settings)
    # the first budget is the cheapest architecture's own: nothing to propose after chance
    assert [len(learner.archive) for learner in run.learners] == [50, 100, 100]
    low, high = run.reachable_ms
    assert [learner.budgets_ms for learner in run.learners] == [
        (b, b) for b in np.linspace(low, high, 3).tolist()
    ]
    assert all(m.feasible for m in run.generate([low, (low + high) / 2, high]))


def test_a_search_for_the_cheapest_architecture_alone_begins_without_an_elite():
    settings = TrainSettings(
        n_evaluations=24, n_budgets=2, rounds=2, strategy="independent", evaluator_steps=2,
        generator_steps=2,
    )  # fmt: skip
    run = train_run(mobilenet_problem(), settings)
    low, _ = run.reachable_ms
    (made,) = run.generate([low])
    assert made.latency_ms == low


class CurvedCost:
    """No sum over blocks: 10 % of the latency depends on how blocks meet."""

    unit = "ms"

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, tokens):
        plain = self.inner(tokens)
        return plain * (1 + 0.05 * np.sin(7 * plain)) + 0.02 * (tokens == 2).sum(axis=1) ** 2

    def relative_interval(self, confidence):
        raise InvalidInputError("not calibrated")


def test_a_cost_that_is_not_additive_is_never_exceeded_either():
    additive = mobilenet_problem()
    problem = Problem(additive.space, CurvedCost(additive.cost), additive.accuracy)
    run = train_run(problem, QUICK)
    low, high = run.reachable_ms
    budgets = np.linspace(1.1 * low, high, 40)
    made = run.generate(budgets.tolist(), n_samples=8)
    tokens = np.stack([m.tokens for m in made])
    assert (problem.cost(tokens) <= budgets).all()
    with pytest.raises(InfeasibleBudgetError):
        run.generate([0.5 * low])


def test_training_and_generating_use_one_thread_and_give_the_others_back(mobilenet_run):
    import torch

    seen: list[int] = []
    problem = replace(mobilenet_run.problem, accuracy=WatchedAccuracy(seen, mobilenet_run))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_run(problem, replace(QUICK, n_evaluations=60, rounds=1, evaluator_steps=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


class WatchedAccuracy:
    """Notes how many threads torch has whenever accuracies are asked for."""

    def __init__(self, seen, run):
        self._seen, self._accuracy = seen, run.problem.accuracy

    def top1(self, tokens):
        import torch
        from threadpoolctl import threadpool_info

        self._seen += [torch.get_num_threads(), *(p["num_threads"] for p in threadpool_info())]
        return self._accuracy.top1(tokens)
