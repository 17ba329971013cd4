"""`pnag train` and `pnag generate` as users meet them: files in, JSON and exit codes out."""

import json
import shutil

import numpy as np
import pytest
import typer

import pnag.cli.generate
import pnag.cli.train
from pnag.learning.settings import TrainSettings
from predictors.cost import madds_cost
from profiler.devices.base import DeviceInfo
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Calibration, Entry, LatencyTable, SpaceRef, Verdict
from tests.pnag.landscapes import grid_space

INFO = DeviceInfo("fake", "fake", "simulated", "none", "0", 1, "float32", 1)


def app():
    app = typer.Typer(pretty_exceptions_enable=False)
    pnag.cli.train.register(app)
    pnag.cli.generate.register(app)
    return app


@pytest.fixture
def call(capsys):
    def called(*arguments):
        app()(list(map(str, arguments)), standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return called


@pytest.fixture(scope="module", autouse=True)
def quick_settings():
    """The defaults, made small: the commands expose only what users need."""
    small = {
        "rounds": 2, "evaluator_steps": 20, "evaluator_full_steps": 2, "generator_steps": 10,
        "evaluator_hidden": 32, "generator_hidden": 32,
    }  # fmt: skip
    patch = pytest.MonkeyPatch()
    defaults = list(TrainSettings.__init__.__defaults__)
    names = list(TrainSettings.__dataclass_fields__)
    for name, value in small.items():
        defaults[names.index(name)] = value
    patch.setattr(TrainSettings.__init__, "__defaults__", tuple(defaults))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def latency_table(tmp_path_factory):
    """Latencies proportional to MAdds (at least 1 us), with a calibration."""
    space = MobileNetV3Space()
    ops = {
        key: Entry(latency_ms=max(op.madds / 1e7, 1e-3), verdict=Verdict.IMPORTED)
        for key, op in space.distinct_ops().items()
    }
    table = LatencyTable(
        space=SpaceRef(name="mbv3", width_mult=1.0, resolution_px=224), device=INFO, protocol={},
        ops=ops, created="2026-01-01T00:00:00+00:00", tool="test",
        calibration=Calibration(
            intercept_ms=0.0, factors={"all": 1.0}, n_networks=20, residual_mape_pct=1.0,
            relative_quantiles={"0.95": 0.02},
        ),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tables") / "simulated.json"
    table.save(path)
    return path


@pytest.fixture(scope="module")
def run(latency_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "simulated"
    arguments = ["train", "--latency-table", latency_table, "--evaluations", 400, "--quiet"]
    app()([*map(str, arguments), "--out", str(folder)], standalone_mode=False)
    return folder


def test_the_run_needs_nothing_outside_itself(run, latency_table, call):
    config = json.loads((run / "config.json").read_text())
    assert set(config["inputs"]) == {"latency_table.json", "accuracy.safetensors"}
    assert (run / "latency_table.json").read_bytes() == latency_table.read_bytes()
    (result,) = call("generate", "--run", run, "--budget", "30ms", "--json")["results"]
    assert result["latency_ms"] <= 30 and result["feasible"]


def test_generate_prints_the_contracted_fields(run, call):
    results = call(
        "generate", "--run", run, "--budget", "20", "--budget", "0.03s", "--json", "--quiet"
    )["results"]
    assert [row["budget_ms"] for row in results] == [20, 30]
    space = MobileNetV3Space()
    for row in results:
        assert set(row) == {
            "budget_ms", "arch", "ofa", "latency_ms", "interval_ms", "top1", "feasible",
            "generation_ms",
        }  # fmt: skip
        tokens = space.parse(row["arch"])[None]
        assert (space.parse(json.dumps(row["ofa"])) == tokens[0]).all()
        assert row["latency_ms"] == pytest.approx(madds_cost(space)(tokens)[0] / 1e7, rel=1e-3)
        assert row["interval_ms"] == pytest.approx(
            [row["latency_ms"] * 0.98, row["latency_ms"] * 1.02]
        )
        assert 0.7 < row["top1"] < 0.8


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


def test_networks_are_measured_where_asked(run, call):
    (row,) = call("generate", "--run", run, "--budget", "20", "--verify-on", "fake:1", "--json")[
        "results"
    ]
    assert row["measured_ms"] > 0


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --latency-table"),
        (["--space", "tabular:none.csv"], "cannot read none.csv"),
        (["--latency-table", "TABLE", "--space", "mbv3-cifar"], "is a table of"),
        (["--latency-table", "TABLE", "--reward", "speed"], "unknown reward"),
        (["--latency-table", "TABLE", "--strategy", "both"], "unknown strategy"),
        (["--latency-table", "TABLE", "--run", "x", "--accuracy-table", "y"], "one of"),
        (["--latency-table", "TABLE", "--run", "nowhere"], "holds no accuracy"),
    ],
)
def test_train_refuses_and_writes_nothing(latency_table, arguments, message, call, tmp_path):
    arguments = [str(latency_table) if a == "TABLE" else a for a in arguments]
    with pytest.raises(InvalidInputError, match=message):
        call("train", *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tabular_space_needs_no_other_table(call, tmp_path):
    space = grid_space(n_positions=3, n_choices=3)
    lines = ["a,b,c,top1,latency_ms"]
    for row, top1, latency_ms in zip(space.rows, space.top1, space.latency_ms, strict=True):
        lines.append(",".join(map(str, [*row, top1, latency_ms])))
    path = tmp_path / "bench.csv"
    path.write_text("\n".join(lines) + "\n")
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
    with pytest.raises(InvalidInputError, match="neither MAdds nor parameters"):
        call("generate", "--run", folder, "--budget", budget, "--max-params", "6M")


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
