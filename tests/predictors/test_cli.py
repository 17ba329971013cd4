"""`pnag predict` from outside."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pnag.cli.app import run
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import Workload
from profiler.graph.to_onnx import export_onnx
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3 import MobileNetV3Space
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


def network_file(folder):
    rng = np.random.default_rng(0)
    graph = Workload("net", tuple(SPACE.ops(ARCHS[0]))).graph
    path = folder / "net.onnx"
    path.write_bytes(export_onnx(graph, random_weights(graph, rng)))
    return path


def test_a_network_file_is_predicted_as_its_architecture(pnag, table_file, tmp_path):
    network = network_file(tmp_path)
    document, _ = pnag(
        "predict", "--latency-table", table_file, "--arch", str(ARCHS[0]), "--model", str(network)
    )
    by_arch, by_model = document["results"]
    assert by_model["model"] == str(network)
    assert by_model["latency_ms"] == by_arch["latency_ms"]
    assert [op["key"] for op in by_model["ops"]] == [op.key for op in SPACE.ops(ARCHS[0])]


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
    model = ["--model", str(network_file(tmp_path))]
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
        ([*model, "--resolution", "160"], "fixes an image of 224x224 px; 160 px was asked for"),
        ([*model, "--width-mult", "1.2"], "--width-mult is for --arch"),
        ([*arch, "--latency-table", str(tmp_path / "cut.json")], "is not JSON (truncated?)"),
    ]:
        assert run(["predict", "--latency-table", table_file, *arguments, "--json"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), arguments
        assert message in err
