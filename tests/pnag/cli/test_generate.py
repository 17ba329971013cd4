"""`pnag generate` as users meet it: JSON, files and exit codes out."""

import json
import shutil

import pytest

from pnag.cli.app import run as pnag
from pnag.runs.run import load_run
from predictors.accuracy.fitted import embedded_accuracy
from predictors.cost import madds_cost
from profiler.errors import DeviceUnavailableError, InfeasibleBudgetError, InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.lock import device_lock


def test_the_generator_alone_is_never_better(run, call):
    budgets = ["--budget", "18", "--budget", "31", "--budget", "44"]
    options = ["--run", run, *budgets, "--samples", "1", "--json", "--quiet"]
    pure = call("generate", *options, "--pure")["results"]
    best = call("generate", *options)["results"]
    assert {row["origin"] for row in pure} == {"generated"}
    assert all(b["top1"] >= p["top1"] for b, p in zip(best, pure, strict=True))
    assert "evaluated" in {row["origin"] for row in best}


def test_generate_prints_the_contracted_fields(run, call):
    results = call(
        "generate", "--run", run, "--budget", "20", "--budget", "0.03s", "--json", "--quiet"
    )["results"]
    assert [row["budget_ms"] for row in results] == [20, 30]
    space = MobileNetV3Space()
    for row in results:
        assert set(row) == {
            "budget_ms", "arch", "ofa", "latency_ms", "interval_ms", "top1", "feasible",
            "generation_ms", "origin", "top1_interval", "madds", "params", "bound", "bound_used",
        }  # fmt: skip
        tokens = space.parse(row["arch"])[None]
        assert (space.parse(json.dumps(row["ofa"])) == tokens[0]).all()
        assert row["latency_ms"] == pytest.approx(madds_cost(space)(tokens)[0] / 1e7, rel=1e-3)
        assert row["interval_ms"] == pytest.approx(
            [row["latency_ms"] * 0.98, row["latency_ms"] * 1.02]
        )
        assert 0.7 < row["top1"] < 0.8
        half = 1.96 * embedded_accuracy(space).held_out.rmse_points / 100
        assert row["top1_interval"] == pytest.approx([row["top1"] - half, row["top1"] + half])


def test_bounds_and_confidence(run, call):
    (row,) = call(
        "generate", "--run", run, "--budget", "30ms", "--confidence", "0.95",
        "--max-params", "5M", "--max-madds", "250M", "--json",
    )["results"]  # fmt: skip
    space = MobileNetV3Space()
    arch = space.decode(space.parse(row["arch"]))
    assert row["interval_ms"][1] <= 30
    assert space.params(arch) <= 5e6
    assert space.madds(arch) <= 250e6


def test_exports_are_the_networks(run, call, tmp_path):
    (row,) = call(
        "generate", "--run", run, "--budget", "15", "--export", "onnx,torch", "--out", tmp_path,
        "--json",
    )["results"]  # fmt: skip
    assert row["files"] == [
        str(tmp_path / f"mbv3-15ms.{suffix}") for suffix in ("onnx", "safetensors")
    ]
    from safetensors import safe_open

    with safe_open(tmp_path / "mbv3-15ms.safetensors", "pt") as file:
        assert file.metadata()["arch"] == row["arch"]


def test_a_run_whose_table_was_changed_is_refused(run, call, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    document = json.loads((changed / "latency_table.json").read_text())
    next(iter(document["ops"].values()))["latency_ms"] *= 0.5
    (changed / "latency_table.json").write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=r"latency_table\.json is not the file"):
        call("generate", "--run", changed, "--budget", "30ms")


def test_a_budget_given_twice_is_exported_twice(run, call, tmp_path):
    rows = call(
        "generate", "--run", run, "--budget", "15", "--budget", "15ms", "--export", "torch",
        "--out", tmp_path, "--json",
    )["results"]  # fmt: skip
    from safetensors import safe_open

    for row in rows:
        with safe_open(row["files"][0], "pt") as file:
            assert file.metadata()["arch"] == row["arch"]
    assert rows[0]["files"] != rows[1]["files"]


@pytest.fixture
def own_run(run, tmp_path):
    """To be written to: a verification is kept in it."""
    return shutil.copytree(run, tmp_path / "run")


def test_networks_are_measured_where_asked(own_run, call):
    (row,) = call(
        "generate", "--run", own_run, "--budget", "20", "--verify-on", "fake:1", "--json"
    )["results"]
    assert row["measured_ms"] > 0


def test_a_run_is_verified_by_one_command_at_a_time(own_run, call):
    """Each keeps what the others have kept: two at once would lose one's picks."""
    arguments = ["generate", "--run", own_run, "--budget", "20", "--verify-on", "fake:1"]
    with (
        device_lock(f"run {own_run.resolve()}"),
        pytest.raises(DeviceUnavailableError, match="another process"),
    ):
        call(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--budget", "0"], InvalidInputError, "not a positive latency"),
        (["--budget", "-3"], InvalidInputError, "not a positive latency"),
        (["--budget", "nan"], InvalidInputError, "not a positive latency"),
        (["--budget", "1ms"], InfeasibleBudgetError, "reachable"),
        (["--budget", "30", "--max-params", "1M"], InfeasibleBudgetError, "reachable"),
        (["--budget", "30", "--max-madds", "few"], InvalidInputError, "MAdds bound"),
        (["--budget", "30", "--confidence", "2"], InvalidInputError, "between 0 and 1"),
        (["--budget", "30", "--confidence", "0.99"], InvalidInputError, "no interval"),
        (["--budget", "30", "--export", "onnx"], InvalidInputError, "belong together"),
        (["--budget", "30", "--candidates", "3"], InvalidInputError, "for --verify-on"),
        (["--budget", "30", "--benchmark-binary", "b"], InvalidInputError, "for --verify-on adb"),
        (["--budget", "30", "--verify-on", "adb:X"], InvalidInputError, "--benchmark-binary PATH"),
        (
            ["--budget", "30", "--export", "onnx", "--out", "/dev/null/x"],
            InvalidInputError,
            "write",
        ),
        (["--budget", "30", "--export", "jpg", "--out", "x"], InvalidInputError, "export format"),
    ],
)
def test_bad_input_is_one_clear_line(run, arguments, error, message, call):
    with pytest.raises(error, match=message) as caught:
        call("generate", "--run", run, *arguments)
    assert "\n" not in str(caught.value)


def test_an_infeasible_budget_leaves_the_others(run, capsys, tmp_path):
    """Printed with what is reachable; the exit code is 3, and exports are of the others."""
    budgets = [option for text in ("1ms", "30ms", "0.5", "40") for option in ("--budget", text)]
    export = ["--export", "torch", "--out", str(tmp_path)]
    assert pnag(["generate", "--run", str(run), *budgets, *export, "--json"]) == 3
    out, err = capsys.readouterr()
    rows = json.loads(out)["results"]
    assert [(row["budget_ms"], row["feasible"]) for row in rows] == [
        (1.0, False), (30.0, True), (0.5, False), (40.0, True),
    ]  # fmt: skip
    low, high = load_run(run).reachable_ms
    assert rows[0].keys() == {"budget_ms", "feasible", "reachable_ms", "reason"}
    assert rows[0]["reachable_ms"] == [low, high] and low > 1
    assert err.startswith("pnag: no architecture fits 1 ms;") and "1 other budgets neither" in err
    assert {path.name for path in tmp_path.iterdir()} == {
        "mbv3-30ms.safetensors", "mbv3-40ms.safetensors",
    }  # fmt: skip


def test_text_says_which_budgets_were_not_met(run, capsys):
    assert pnag(["generate", "--run", str(run), "--budget", "1ms", "--budget", "30"]) == 3
    _, unmet, met = capsys.readouterr().out.splitlines()
    low, high = load_run(run).reachable_ms
    assert unmet == f"    1.000  nothing fits; {low:.6g} to {high:.6g} ms is reachable"
    assert met.split()[0] == "30.000"
    assert pnag(["generate", "--run", str(run), "--budget", "1ms"]) == 3
    assert capsys.readouterr().out == ""


def test_what_fits_is_verified_and_the_rest_is_named(own_run, capsys):
    budgets = ["--budget", "1ms", "--budget", "30"]
    assert pnag(["generate", "--run", str(own_run), *budgets, "--verify-on", "fake", "--json"]) == 3
    unmet, row = json.loads(capsys.readouterr().out)["results"]
    assert unmet["feasible"] is False and "measured_ms" not in unmet
    assert row["budget_ms"] == 30 and row["measured_ms"] > 0


def test_what_a_run_and_generate_write_can_be_predicted(call, run, latency_table, tmp_path, capsys):
    """With the same latencies, from the frontier's two forms and from the results as JSON."""
    document = call("generate", "--run", run, "--budget", "30", "--json")
    generated = tmp_path / "generated.json"
    generated.write_text(json.dumps(document))
    rows = (run / "frontier.csv").read_text().splitlines()[1:]
    expected = {
        run / "frontier.csv": [float(row.rsplit(",", 2)[1]) for row in rows],
        generated: [row["latency_ms"] for row in document["results"]],
    }
    expected[run / "frontier.json"] = expected[run / "frontier.csv"]
    for path, latencies_ms in expected.items():
        asked = ["predict", "--latency-table", latency_table, "--arch-file", path, "--json"]
        assert pnag([str(word) for word in asked]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        assert [one["latency_ms"] for one in results] == pytest.approx(latencies_ms, rel=1e-9)
