"""`pnag predict` and `pnag table` from outside."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from pnag.cli.app import run
from predictors.latency.lookup import calibrated, cost_from_table
from profiler.graph.onnx_writer import export_onnx
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table
from tests.predictors.synthetic import make_table

SPACE = MobileNetV3Space()
ARCHS = [SPACE.decode(row) for row in SPACE.sample(3, np.random.default_rng(7))]


@pytest.fixture(scope="module")
def table():
    return make_table(n_networks=30, noise=0.01)


@pytest.fixture
def table_file(table, tmp_path):
    table.save(tmp_path / "table.json")
    return str(tmp_path / "table.json")


@pytest.fixture
def pnag(capsys):
    """Run a command that succeeds; its JSON document and its notes."""

    def call(*arguments):
        assert run([*arguments, "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return call


def test_architectures_are_predicted_as_by_the_cost(pnag, table, table_file, tmp_path):
    lines = tmp_path / "archs.txt"
    lines.write_text(f"\ufeff# two architectures\n{ARCHS[1]}\n\n{json.dumps(ARCHS[2].to_ofa())}\n")
    document, _ = pnag(
        "predict", "--latency-table", table_file, "--arch", str(ARCHS[0]), "--arch-file", str(lines)
    )
    cost = cost_from_table(table)
    expected, half = cost(SPACE.encode(ARCHS)), cost.relative_interval(0.95)
    results = document["results"]
    assert [r["arch"] for r in results] == [str(arch) for arch in ARCHS]
    assert [r["latency_ms"] for r in results] == pytest.approx(expected.tolist())
    assert results[0]["interval_ms"] == pytest.approx(
        [expected[0] * (1 - half), expected[0] * (1 + half)]
    )
    assert results[0]["ops_from"] == {"table": len(SPACE.ops(ARCHS[0]))}


def test_an_architecture_file_may_be_a_json_list(pnag, table_file, tmp_path):
    listed = tmp_path / "archs.json"
    listed.write_text(json.dumps([str(ARCHS[0]), ARCHS[1].to_ofa()]))
    document, _ = pnag("predict", "--latency-table", table_file, "--arch-file", str(listed))
    assert [r["arch"] for r in document["results"]] == [str(ARCHS[0]), str(ARCHS[1])]


def test_a_network_file_is_predicted_as_its_architecture(pnag, table_file, tmp_path):
    rng = np.random.default_rng(0)
    ops = SPACE.ops(ARCHS[0])
    network = tmp_path / "net.onnx"
    network.write_bytes(export_onnx(ops, [random_weights(op, rng) for op in ops]))
    document, _ = pnag(
        "predict", "--latency-table", table_file, "--arch", str(ARCHS[0]), "--model", str(network)
    )
    by_arch, by_model = document["results"]
    assert by_model["model"] == str(network)
    assert by_model["latency_ms"] == by_arch["latency_ms"]
    assert [op["key"] for op in by_model["ops"]] == [op.key for op in ops]


def test_what_was_not_measured_is_said_to_be_predicted(pnag, capsys, table_file):
    arguments = ["predict", "--latency-table", table_file, "--arch", str(ARCHS[0])]
    document, notes = pnag(*arguments, "--resolution", "192")
    (result,) = document["results"]
    assert result["interval_ms"] is None
    assert result["ops_from"]["regression"] == len(SPACE.ops(ARCHS[0])) - 2
    assert "width 1 at 192 px is predicted by regression" in notes
    assert run([*arguments, "--resolution", "192"]) == 0
    assert "ops not measured" in capsys.readouterr().out


def test_without_networks_there_is_no_interval_and_a_note(pnag, tmp_path):
    make_table().save(tmp_path / "bare.json")
    document, notes = pnag(
        "predict", "--latency-table", str(tmp_path / "bare.json"), "--arch", str(ARCHS[0])
    )
    assert document["results"][0]["interval_ms"] is None
    assert "pnag profile --networks 30" in notes


def test_bad_input_is_one_line_and_exit_code_2(table, table_file, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "list.json").write_text("[1, ")
    (tmp_path / "garbage.onnx").write_bytes(b"\xff\xff")
    (tmp_path / "cut.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    elsewhere = replace(table.device, model="another CPU")
    table.model_copy(update={"device": elsewhere}).save(tmp_path / "elsewhere.json")
    arch = ["--arch", str(ARCHS[0])]
    for arguments, message in [
        ([], "say what to predict"),
        (["--arch", "1:2"], "malformed architecture"),
        (["--arch-file", str(tmp_path / "empty.txt")], "holds no architectures"),
        (["--arch-file", str(tmp_path / "list.json")], "is not JSON"),
        (["--arch-file", str(tmp_path / "absent")], "No such file"),
        (["--arch-file", str(tmp_path / "deep.json")], "is not JSON"),
        (["--arch-file", str(tmp_path)], "Is a directory"),
        ([*arch, "--latency-table", str(tmp_path / "elsewhere.json")], "of different devices"),
        ([*arch, "--seed", "-1"], "--seed"),
        (["--model", str(tmp_path / "garbage.onnx")], "is not an ONNX model"),
        ([*arch, "--confidence", "1"], "confidence 1 is not between 0 and 1"),
        ([*arch, "--resolution", "300"], "outside 128-224 px"),
        ([*arch, "--latency-table", str(tmp_path / "cut.json")], "is not JSON (truncated?)"),
    ]:
        assert run(["predict", "--latency-table", table_file, *arguments, "--json"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), arguments
        assert message in err


def test_a_table_goes_out_and_in_again(pnag, table, table_file, tmp_path):
    lut, back = str(tmp_path / "lut.yaml"), tmp_path / "back.json"
    pnag("table", "export", table_file, "--format", "ofa-yaml", "--out", lut)
    document, _ = pnag("table", "import", lut, "--format", "ofa-yaml", "--out", str(back))
    assert document["n_ops"] == 96
    assert document["space"] == {"name": "mbv3", "width_mult": 1.0, "resolution_px": 224}
    assert {k: e.latency_ms for k, e in load_table(back).ops.items()} == {
        k: e.latency_ms for k, e in table.ops.items()
    }
    text, _ = pnag("table", "export", table_file)
    assert len(yaml.safe_load(text["text"])) == 96
    difference, _ = pnag("table", "diff", table_file, str(back))
    assert difference["ratio"] == {"median": 1.0, "p95_difference_pct": 0.0}
    assert "platform" in difference["device"]


def test_tables_are_shown_to_people_and_to_programs(pnag, table, tmp_path, capsys):
    path = tmp_path / "calibrated.json"
    calibrated(table).save(path)
    document, _ = pnag("table", "show", str(path))
    assert document == json.loads(path.read_text())
    assert run(["table", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "Synthetic CPU, law 1, 1 thread, batch 1" in shown
    assert shown.count("stable") == 96
    assert "30 whole networks" in shown
    assert "calibrated on 30 networks" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_what_cannot_be_trusted_is_shown_too(table, tmp_path, capsys):
    """Messages of runtimes hold brackets, which are not ours to interpret; keys may be foreign."""
    path = tmp_path / "t.json"
    message = "load_failed: [ONNXRuntimeError] : 9 : [/usr/lib] is missing"
    ops = {"strange": next(iter(table.ops.values())), **table.ops}
    table.model_copy(update={"failures": {"some op": message}, "ops": ops}).save(path)
    assert run(["table", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"failed some op: {message}" in " ".join(shown.split())
    assert "strange" in shown


def test_validation_fails_with_the_first_fault_and_lists_them(table, tmp_path, pnag, capsys):
    path = tmp_path / "t.json"
    table.save(path)
    assert pnag("table", "validate", str(path))[0] == {"valid": True, "faults": [], "warnings": []}
    document = json.loads(path.read_text())
    key = sorted(document["ops"])[0]
    del document["ops"][key]
    path.write_text(json.dumps(document))
    assert run(["table", "validate", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["faults"] == [f"op is missing: {key}"]
    assert "has 1 faults" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "no-such-file", "--format", "ofa-yaml"],
        ["import", "no-such-file", "--format", "csv"],
        ["import", "no-such-file", "--format", "ofa-yaml", "--threads", "0"],
    ],
)
def test_a_failed_import_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["table", *arguments, "--out", "t.json"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("\n") == 1


def test_the_schema_is_printed(pnag):
    document, _ = pnag("table", "schema")
    assert document["title"] == "pnag.latency-table/1"
    assert "schema" in document["required"]
