import os
import subprocess
import sys

import pytest

from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.models.onnx_runtime import CPU, OnnxSession, onnx_runtime
from tests.profiler.models.onnx_files import convolution

MEASURED_THREADS = """
import sys
from pathlib import Path
import numpy as np
import psutil
from profiler.models.onnx_runtime import OnnxSession
session = OnnxSession(Path(sys.argv[1]), threads=1)
session.bind({"image": np.zeros((1, 3, 16, 16), np.float32)})
session.run(10)
print(psutil.Process().num_threads())
"""


def test_the_runtime_sends_nothing_home_and_runs_no_thread_beside(tmp_path):
    """With its telemetry a session writes ~/.cache/Microsoft and keeps another thread."""
    home = tmp_path / "home"
    home.mkdir()
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    clean |= {"HOME": str(home), "XDG_CACHE_HOME": "", "OPENBLAS_NUM_THREADS": "1"}
    path = convolution(tmp_path / "net.onnx")
    run = subprocess.run(
        [sys.executable, "-c", MEASURED_THREADS, str(path)],
        env=clean, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "1"
    assert list(home.rglob("*")) == []


def test_a_provider_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_runtime(), "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceUnavailableError, match="has no CUDAExecutionProvider; pip install"):
        OnnxSession(convolution(tmp_path / "net.onnx"), gpu=0)


def test_no_other_provider_takes_over_where_one_fails(tmp_path, monkeypatch, capsys):
    """A GPU's numbers would be the CPU's, and what is said would begin on standard output."""
    asked = []

    def failing(session, providers, *options):
        asked.append(providers)
        raise RuntimeError("no such device")

    monkeypatch.setattr(onnx_runtime().InferenceSession, "_create_inference_session", failing)
    with pytest.raises(MeasurementError, match="no such device"):
        OnnxSession(convolution(tmp_path / "net.onnx"))
    assert asked == [[CPU]] and capsys.readouterr().out == ""
