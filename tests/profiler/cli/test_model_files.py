"""`pnag profile --model` as a command."""

import json

import numpy as np
import pytest

from tests.profiler.cli.test_profile import invoke
from tests.profiler.fast import BRIEF
from tests.profiler.models.onnx_files import convolution

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr("profiler.measuring.protocol.QUICK", BRIEF)


@pytest.fixture
def net(tmp_path):
    return convolution(tmp_path / "net.onnx", axes=("batch", 3, "height", 32))


def refused(*arguments):
    result = invoke("profile", *arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
    return str(result.exception)


def test_models_are_measured_and_compared(tmp_path, net):
    out = tmp_path / "result.json"
    result = invoke(
        "profile", "--device", "cpu", "--model", net, "--model", net, "--quick", "--json",
        "--shape", "image=1x3x32x32", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert json.loads(out.read_text()) == document
    first, second = document["results"]
    assert {
        "model", "sha256", "device", "latency_ms", "interval_ms", "median_ms", "p90_ms", "p99_ms",
        "verdict", "flags", "n_samples", "load_ms", "first_run_ms", "peak_memory_mb", "ops",
    } <= first.keys()  # fmt: skip
    assert (first["model"], first["device"]) == (str(net), "cpu")
    assert first["sha256"] == second["sha256"]
    assert set(first["ops"][0]) == {"name", "kind", "latency_ms", "share", "calls"}
    assert sum(op["latency_ms"] for op in first["ops"]) == pytest.approx(first["latency_ms"])
    (comparison,) = document["comparisons"]
    low, high = comparison["interval"]
    assert low < comparison["ratio"] < high
    again = invoke(
        "profile", "--device", "cpu", "--model", net, "--quick", "-q",
        "--shape", "image=1x3x32x32", "--out", out,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    told = json.loads(out.read_text())["results"][0]["latency_ms"]
    assert f"{net} on cpu: {told:.4g} ms" in again.stdout
    assert "the costliest" in again.stdout


def test_real_inputs_give_their_shape(tmp_path, net):
    np.savez(tmp_path / "in.npz", image=np.zeros((1, 3, 8, 32), np.float32))
    np.savez(tmp_path / "wide.npz", image=np.zeros((1, 3, 8, 33), np.float32))
    assert "1x3x8x33 does not fit the input image" in refused(
        "--device", "cpu", "--model", net, "--input", tmp_path / "wide.npz"
    )
    result = invoke(
        "profile",
        "--device",
        "cpu",
        "--model",
        net,
        "--quick",
        "-q",
        "--input",
        tmp_path / "in.npz",
    )
    assert result.exit_code == 0, result.output


def test_what_cannot_be_measured_is_one_line(tmp_path, net):
    model = ("--model", net)
    for arguments, line in (
        (("--device", "cpu", *model), "give sizes for N in --shape image=1x3xNx32"),
        (("--device", "cpu", *model, "--shape", "x=1x3"), "no model has an input 'x'"),
        (("--device", "fake", *model), "device fake runs no model files; cpu (.onnx)"),
        (("--device", "tflite", *model), "device tflite runs .tflite files, not"),
        (("--device", "cpu", "--model", tmp_path / "none.onnx"), "No such file"),
        (("--device", "cpu", *model, "--space", "mbv3"), "are for spaces"),
        (("--device", "cpu", *model, "--device", "tflite"), "one --device at a time"),
        (("--device", "cpu", "--shape", "image=1"), "--shape and --input are for a --model"),
    ):
        said = refused(*arguments)
        assert line in said
        assert "\n" not in said
    assert list(tmp_path.iterdir()) == [net]
