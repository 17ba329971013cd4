"""`pnag train` as users meet it: a run directory, complete or not there."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from predictors.accuracy.fitted import (
    FittedAccuracy,
    embedded_accuracy,
    load_accuracy_model,
)
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import LatencyTable
from tests.pnag.cli.conftest import app, simulated_table
from tests.pnag.landscapes import grid_space, write_tabular

pytestmark = pytest.mark.usefixtures("quick_settings")


def test_the_run_needs_nothing_outside_itself(run, latency_table, call):
    config = json.loads((run / "config.json").read_text())
    assert set(config["inputs"]) == {"latency_table.json", "accuracy.safetensors"}
    assert (run / "latency_table.json").read_bytes() == latency_table.read_bytes()
    (result,) = call("generate", "--run", run, "--budget", "30ms", "--json")["results"]
    assert result["latency_ms"] <= 30 and result["feasible"]


def test_a_table_of_the_papers_width_needs_no_accuracies(call, tmp_path):
    space = MobileNetV3Space("mbv3", 1.2, 192)
    table = simulated_table(space, tmp_path / "wide.json")
    document = call(
        "train", "--latency-table", table, "--evaluations", 40, "--budgets", 2, "--out",
        tmp_path / "run", "--json", "--quiet",
    )  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["inputs"]["accuracy.safetensors"]["source"] == "embedded"
    best = document["frontier"][-1]
    expected = embedded_accuracy(space).top1(space.parse(best["arch"])[None])[0]
    assert best["top1"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --latency-table"),
        (["--space", "tabular:none.csv"], "cannot read none.csv"),
        (["--latency-table", "TABLE", "--space", "mbv3-cifar"], "is a table of"),
        (["--latency-table", "TABLE", "--reward", "speed"], "unknown reward"),
        (["--latency-table", "TABLE", "--strategy", "both"], "unknown strategy"),
        (["--latency-table", "TABLE", "--run", "x", "--accuracy-table", "y"], "one of"),
        (["--latency-table", "TABLE", "--run", "nowhere"], "nowhere is not a run"),
        (["--latency-table", "TABLE", "--accuracy-checks", "y"], "of an --accuracy-table"),
        # two rounds, ten budgets
        (["--latency-table", "TABLE", "--evaluations", "1"], "at least 2 evaluations"),
        (
            ["--latency-table", "TABLE", "--evaluations", "19", "--strategy", "independent"],
            "at least 20 evaluations",
        ),
        (["--latency-table", "TABLE", "--evaluations", "0"], "n_evaluations must be from 1 to"),
        (["--latency-table", "TABLE", "--evaluations", "9" * 12], "n_evaluations must be from 1"),
        (["--latency-table", "TABLE", "--budgets", "0"], "n_budgets must be from 1 to"),
    ],
)
def test_train_refuses_and_writes_nothing(latency_table, arguments, message, call, tmp_path):
    arguments = [str(latency_table) if a == "TABLE" else a for a in arguments]
    with pytest.raises(InvalidInputError, match=message):
        call("train", *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tabular_space_needs_no_other_table(call, tmp_path):
    space = grid_space(n_positions=3, n_choices=3)
    path = write_tabular(tmp_path / "bench.csv", space)
    folder = tmp_path / "run"
    document = call(
        "train", "--space", f"tabular:{path}", "--evaluations", 20, "--budgets", 3, "--out",
        folder, "--json", "--quiet",
    )  # fmt: skip
    assert document["reachable_ms"] == [space.latency_ms.min(), space.latency_ms.max()]
    budget = float(np.median(space.latency_ms))
    path.unlink()  # the run holds its own copy
    (row,) = call("generate", "--run", folder, "--budget", budget, "--json")["results"]
    assert row["arch"] == ",".join(row["tokens"])
    assert row["latency_ms"] <= budget
    with pytest.raises(InvalidInputError, match="no networks to count MAdds"):
        call("generate", "--run", folder, "--budget", budget, "--max-params", "6M")


def test_two_devices_are_bounded_together(latency_table, call, tmp_path):
    """The second one is half as fast, but for the first block."""
    table = json.loads(latency_table.read_text())
    for number, op in enumerate(table["ops"].values()):
        op["latency_ms"] *= 2 if number else 20
    table["calibration"], table["networks"] = None, []
    (tmp_path / "slow.json").write_text(json.dumps(table))
    folder = tmp_path / "run"
    tables = ["--latency-table", f"cpu={latency_table}", "--latency-table", tmp_path / "slow.json"]
    options = ["--evaluations", 40, "--budgets", 2, "--out", folder, "--json", "--quiet"]
    document = call("train", *tables, *options)
    assert document["frontier"][0].keys() == {
        "arch", "latency_ms", "interval_ms", "top1", "top1_interval", "slow_ms"
    }  # fmt: skip
    assert (folder / "frontier.csv").read_text().startswith("arch,latency_ms,top1,slow_ms\n")
    (tmp_path / "slow.json").unlink()  # the run holds its own copy
    generate = ["generate", "--run", folder, "--budget", "cpu=40ms", "--json"]
    (alone,) = call(*generate)["results"]
    most_ms = 0.8 * alone["costs"]["slow"]["value"]
    (row,) = call(*generate, "--budget", f"slow={most_ms}")["results"]
    assert list(row["costs"]) == ["cpu", "slow"] and row["bound"] == "slow"
    assert row["costs"]["slow"]["value"] <= most_ms and row["latency_ms"] <= 40
    with pytest.raises(InfeasibleBudgetError, match="ms of slow are reachable"):
        call(*generate, "--budget", "slow=1ms")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (["TABLE", "TABLE"], "two latency tables are named simulated"),
        (["TABLE", "params=TABLE"], "params is counted, not measured"),
        (["TABLE", "none.json"], r"none\.json"),
    ],
)
def test_tables_that_are_no_two_costs_are_refused(latency_table, tables, message, call, tmp_path):
    given = [text.replace("TABLE", str(latency_table)) for text in tables]
    options = [part for text in given for part in ("--latency-table", text)]
    with pytest.raises(InvalidInputError, match=message):
        call("train", *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_no_budget_orders_the_architectures_train_prints_no_tau(tmp_path, capsys):
    (tmp_path / "two.csv").write_text("a,top1,latency_ms\n1,0,1\n2,0,2\n")
    options = ["--budgets", "1", "--reward", "mnasnet", "--evaluations", "20", "--quiet"]
    table, out = f"tabular:{tmp_path / 'two.csv'}", str(tmp_path / "run")
    app()(["train", "--space", table, "--out", out, *options], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{out}: 1 architectures on the frontier, 1 to 2 ms"
    )


def test_resume_needs_only_the_directory(run, call):
    document = call("train", "--resume", "--out", run, "--json", "--quiet")
    assert document["run"] == str(run)


@pytest.mark.parametrize(
    "other", [["--evaluations", 500], ["--seed", 1], ["--latency-table", "OTHER"]], ids=str
)
def test_resume_refuses_what_contradicts_the_run(run, latency_table, other, call, tmp_path):
    table = LatencyTable.model_validate_json(latency_table.read_text())
    table.model_copy(update={"tool": "another"}).save(tmp_path / "other.json")
    other = [str(tmp_path / "other.json") if part == "OTHER" else part for part in other]
    before = (run / "config.json").read_bytes()
    with pytest.raises(InvalidInputError, match="begun with other settings or inputs"):
        call("train", *other, "--resume", "--out", run)
    assert (run / "config.json").read_bytes() == before


def test_the_same_command_resumes_whether_or_not_anything_was_begun(latency_table, call, tmp_path):
    command = ["train", "--latency-table", latency_table, "--evaluations", 200, "--resume"]
    command += ["--out", tmp_path / "run", "--json", "--quiet"]
    first = call(*command)
    assert call(*command) == first
    with pytest.raises(InvalidInputError, match="is not a run"):
        call("train", "--resume", "--out", tmp_path / "nothing")


def test_checks_correct_the_model_that_a_run_is_trained_on(latency_table, call, tmp_path):
    space, rng = MobileNetV3Space(), np.random.default_rng(0)
    tokens = np.unique(space.sample(60, rng), axis=0)
    top1 = embedded_accuracy(space).top1(tokens)
    # the table says twice the differences that the checks confirm
    rows = {"table": 2 * top1 - top1.mean(), "checks": top1}
    for name, values in rows.items():
        lines = [f'"{space.format(t)}",{value}' for t, value in zip(tokens, values, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["arch,top1", *lines]) + "\n")
    call(
        "train", "--latency-table", latency_table, "--evaluations", 50, "--out", tmp_path / "run",
        "--accuracy-table", tmp_path / "table.csv", "--accuracy-checks", tmp_path / "checks.csv",
        "--json", "--quiet",
    )  # fmt: skip
    model = load_accuracy_model(tmp_path / "run" / "accuracy.safetensors", space)
    assert isinstance(model, FittedAccuracy) and model.correction is not None
    assert model.correction.confirmed == pytest.approx(0.5, abs=0.1)
    unseen = space.sample(100, rng)
    errors = model.top1(unseen) - embedded_accuracy(space).top1(unseen)
    assert 100 * np.abs(errors).mean() < 0.4
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    source = config["inputs"]["accuracy.safetensors"]["source"]
    assert source == f"{tmp_path / 'table.csv'}, checked by {tmp_path / 'checks.csv'}"


def test_a_run_from_an_accuracy_table_resumes_on_another_day(
    latency_table, call, tmp_path, monkeypatch
):
    space, rng = MobileNetV3Space(), np.random.default_rng(0)
    lines = [
        f'"{space.format(tokens)}",{top1}'
        for tokens, top1 in zip(space.sample(40, rng), rng.uniform(0.6, 0.8, 40), strict=True)
    ]
    (tmp_path / "top1.csv").write_text("\n".join(["arch,top1", *lines]) + "\n")
    command = ["train", "--latency-table", latency_table, "--evaluations", 50, "--resume"]
    command += ["--accuracy-table", tmp_path / "top1.csv", "--out", tmp_path / "run", "--json"]
    first = call(*command)

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=1)

    for module in ("predictors.accuracy.tables", "pnag.runs.run", "pnag.runs.inputs"):
        monkeypatch.setattr(f"{module}.datetime", Tomorrow, raising=False)
    assert call(*command) == first
