"""`pnag space` from outside."""

import json

from pnag.cli.app import run

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
    from safetensors.torch import load_file

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
