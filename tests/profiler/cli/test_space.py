"""`pnag space` from outside."""

import json

import numpy as np
import torch
from safetensors.torch import load_file

from pnag.cli.app import run
from profiler.graph.to_torch import GraphModule
from profiler.models.onnx_runtime import OnnxSession
from profiler.spaces.nasbench201 import NasBench201Space

SMALLEST = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


def test_inspect_reports_madds_params_and_keys(capsys):
    assert run(["space", "inspect", "--arch", SMALLEST, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["madds"] == 121278672
    assert document["params"] == 3410792
    assert len(document["ops"]) == 16
    assert document["ops"][0] == "Conv-input:224x224x3-output:112x112x16"
    assert document["ofa"]["r"] == 224


def test_describe_states_the_size_of_the_space(capsys):
    assert run(["space", "describe", "--json", "--width-mult", "1.2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n_ops"], document["n_tokens"]) == (96, 45)
    assert document["n_architectures"] == 7371**5  # 9^2 + 9^3 + 9^4 per stage


def test_export_writes_a_network_that_loads_back(tmp_path, capsys):
    from profiler.spaces.mobilenetv3 import open_space
    from profiler.spaces.mobilenetv3_network import Network

    arguments = ["--export", "onnx,torch", "--out", str(tmp_path), "--json"]
    assert run(["space", "export", "--arch", SMALLEST, "--space", "mbv3-cifar", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "random"
    space = open_space("mbv3-cifar")
    network = Network(space.ops(space.parse_architecture(SMALLEST)))
    network.load_state_dict(load_file(tmp_path / "mbv3-cifar.safetensors"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mbv3-cifar.onnx",
        "mbv3-cifar.safetensors",
    ]


CELL = "|avg_pool_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
CELLS = ["--space", "nasbench201", "--dataset", "cifar100"]


def test_cells_are_described_by_the_ends_of_the_space(capsys):
    """As the benchmark's own records have the smallest and the largest network."""
    assert run(["space", "describe", *CELLS, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n_architectures"], document["n_classes"]) == (15_625, 100)
    assert document["params"] == [79_156, 1_537_396]
    assert document["madds"] == [7_788_800, 220_125_440]


def test_a_cell_is_inspected_by_its_steps(capsys):
    assert run(["space", "inspect", "--arch", CELL, *CELLS, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    graph = NasBench201Space("cifar100").network(NasBench201Space().parse(CELL))
    assert (document["madds"], document["params"]) == (graph.madds, graph.params)
    assert document["ops"][1].startswith("avg_pool_3x3-input:32x32x16")


def test_a_cell_is_exported_as_the_network_that_it_is(tmp_path):
    arguments = ["--export", "onnx,torch", "--out", str(tmp_path), "--quiet"]
    assert run(["space", "export", "--arch", CELL, *CELLS, *arguments]) == 0
    graph = NasBench201Space("cifar100").network(NasBench201Space().parse(CELL))
    module = GraphModule(graph).eval()
    module.load_state_dict(load_file(tmp_path / "nasbench201.safetensors"))
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = OnnxSession(tmp_path / "nasbench201.onnx")
    session.bind({"input": images.numpy()})
    session.run()
    with torch.no_grad():
        expected = module(images).numpy()
    np.testing.assert_allclose(session.outputs()["output"], expected, rtol=1e-4, atol=1e-5)
