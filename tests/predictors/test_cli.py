"""`pnag predict` from outside."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pnag.cli.app import run
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import Workload
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import Activation, Function, square_convolution
from profiler.graph.to_onnx import export_onnx
from profiler.graph.weights import random_weights
from profiler.models.onnx_kernels import onnx_kernels
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.predictors.synthetic import make_table
from tests.predictors.synthetic_kernels import network_ms, synthetic

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
    assert "no interval of coverage 0.95" in notes
    assert "as one of pnag profile --networks 19 is" in notes


def test_what_is_advised_for_an_interval_gives_it(pnag, table_file, tmp_path):
    arguments = ["--arch", str(ARCHS[0]), "--confidence", "0.97"]
    document, notes = pnag("predict", "--latency-table", table_file, *arguments)
    assert document["results"][0]["interval_ms"] is None
    assert "as one of pnag profile --networks 33 is" in notes
    make_table(n_networks=33, noise=0.01).save(tmp_path / "enough.json")
    document, _ = pnag("predict", "--latency-table", str(tmp_path / "enough.json"), *arguments)
    assert document["results"][0]["interval_ms"]


def test_once_for_alls_dict_reads_as_python_and_as_json_print_it(pnag, table_file, tmp_path):
    dicts = [{"wid": None} | arch.to_ofa() | {"r": [224]} for arch in ARCHS[:2]]
    lines = tmp_path / "archs.txt"
    lines.write_text(f"{dicts[0]}\n{json.dumps(dicts[0])}\n{dicts[1]}\n")
    document, _ = pnag("predict", "--latency-table", table_file, "--arch-file", str(lines))
    assert [r["arch"] for r in document["results"]] == [str(ARCHS[i]) for i in (0, 0, 1)]


def test_what_is_predicted_can_be_asked_for_again(pnag, table_file, tmp_path):
    arguments = ["predict", "--latency-table", table_file]
    document, _ = pnag(*arguments, "--arch", str(ARCHS[0]), "--arch", str(ARCHS[1]))
    written = tmp_path / "written.json"
    written.write_text(json.dumps(document))
    again, _ = pnag(*arguments, "--arch-file", str(written))
    assert again["results"] == document["results"]


def test_bad_input_is_one_line_and_exit_code_2(table, table_file, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "list.json").write_text("[1, ")
    (tmp_path / "wrong.txt").write_text(f"{ARCHS[0]}\n1:2\n")
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
        (["--arch-file", str(tmp_path / "wrong.txt")], "wrong.txt line 2: malformed architecture"),
        ([*arch, "--latency-table", str(tmp_path / "elsewhere.json")], "of different devices"),
        ([*arch, "--seed", "-1"], "--seed"),
        (["--model", str(tmp_path / "garbage.onnx")], "is not an ONNX model"),
        ([*arch, "--confidence", "1"], "confidence 1 is not between 0 and 1"),
        ([*arch, "--resolution", "330"], "outside 96-320 px"),
        ([*model, "--resolution", "160"], "fixes an image of 224x224 px; 160 px was asked for"),
        ([*model, "--width-mult", "1.2"], "--width-mult is for --arch"),
        ([*arch, "--latency-table", str(tmp_path / "cut.json")], "is not JSON (truncated?)"),
    ]:
        assert run(["predict", "--latency-table", table_file, *arguments, "--json"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), arguments
        assert message in err


@pytest.fixture
def kernels_file(tmp_path):
    synthetic(n_networks=60).save(tmp_path / "kernels.json")
    return str(tmp_path / "kernels.json")


@pytest.fixture
def cnn(tmp_path):
    net = GraphBuilder()
    x = net.input("image", (1, 64, 28, 28))
    for at in range(6):
        x = net.add(f"conv{at}", square_convolution(128, 3, bias=True), x)
        x = net.add(f"relu{at}", Activation(Function.RELU), x)
    graph = net.graph(x)
    path = tmp_path / "cnn.onnx"
    path.write_bytes(export_onnx(graph, random_weights(graph, np.random.default_rng(0))))
    return path


def test_any_file_is_predicted_from_the_kernels_that_its_runtime_runs(pnag, kernels_file, cnn):
    document, _ = pnag("predict", "--latency-table", kernels_file, "--model", str(cnn))
    (result,) = document["results"]
    kernels = onnx_kernels(cnn, {"image": np.zeros((1, 64, 28, 28), np.float32)})
    convolutions = [kernel for kernel in kernels if kernel.kind == "nchwc.Conv"]
    assert result["model"] == str(cnn)
    assert result["n_kernels"] == len(kernels)
    # the table knows no reorders: named, and counted by what they move
    assert result["unknown_kernels"] == ["blocked ReorderInput", "blocked ReorderOutput"]
    assert result["latency_ms"] == pytest.approx(network_ms(convolutions), rel=0.1)
    assert 0 < result["outside_share"] < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", str(ARCHS[0])], "from a table of kernels a --model is predicted"),
        (["--resolution", "192"], "from a table of kernels a --model is predicted"),
        (["--shape", "x=1x3x8x8"], "no model has an input 'x'"),
        (["--model", "net.tflite"], "the table is of onnxruntime on cpu, which runs .onnx"),
    ],
)
def test_what_a_table_of_kernels_cannot_answer_is_refused(
    capsys, kernels_file, cnn, options, message
):
    assert run(["predict", "--latency-table", kernels_file, "--model", str(cnn), *options]) == 2
    assert message in capsys.readouterr().err


def test_shapes_are_for_tables_of_kernels(capsys, table_file, cnn):
    shape = ["--shape", "image=1x64x28x28"]
    assert run(["predict", "--latency-table", table_file, "--model", str(cnn), *shape]) == 2
    assert "--shape is for tables of kernels" in capsys.readouterr().err


def test_a_network_of_other_ops_is_refused_with_what_to_do(capsys, table_file, tmp_path):
    net = GraphBuilder()
    clipped = net.add("clip", Activation(Function.RELU6), net.input("image", (1, 3, 8, 8)))
    path = tmp_path / "clip.onnx"
    path.write_bytes(export_onnx(net.graph(clipped), {}))
    assert run(["predict", "--latency-table", table_file, "--model", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pnag: {path}: Clip")
    assert "pnag profile --model measures any file" in line and "--space kernels" in line


def test_another_processors_kernels_are_not_guessed(capsys, tmp_path, cnn):
    table = synthetic()
    other = table.model_copy(update={"protocol": {"vector_instructions": "another"}})
    other.save(tmp_path / "other.json")
    assert (
        run(["predict", "--latency-table", str(tmp_path / "other.json"), "--model", str(cnn)]) == 2
    )
    assert "was measured with another instructions" in capsys.readouterr().err
