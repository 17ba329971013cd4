import multiprocessing
import time

import numpy as np
import pytest
from onnx import helper

from profiler.errors import MeasurementError
from profiler.measuring.sampling import deadline
from profiler.models.cold_start import cold_start
from profiler.models.file import read_model_file, runnable
from profiler.models.fresh_process import in_fresh_process
from tests.profiler.models.onnx_files import tensor, write_onnx


def test_a_start_costs_time_and_the_memory_of_weights_and_activations(tmp_path):
    """16 MB of weights that the runtime packs once more, and an output of 64 MB."""
    weights = np.zeros((2048, 2048), np.float32)
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", [8192, 2048])], [tensor("y", [8192, 2048])], [("w", weights)],
    )  # fmt: skip
    model = runnable(
        read_model_file(path), shapes={}, arrays={"x": np.zeros((8192, 2048), np.float32)}
    )
    start = cold_start(model, threads=1)
    assert start.load_ms > 1
    assert start.first_run_ms > 1
    assert start.peak_memory_mb is not None
    assert 75 < start.peak_memory_mb < 180


def test_a_model_that_fails_in_its_first_run_says_why(tmp_path):
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [tensor("x", [4]), tensor("shape", [1], 7)], [tensor("y", None)],
    )  # fmt: skip
    model = runnable(read_model_file(path), shapes={}, arrays={"shape": np.array([3])})
    with pytest.raises(MeasurementError, match="cannot be reshaped") as error:
        cold_start(model, threads=1)
    assert error.value.reason == "run_failed"


def test_a_fresh_process_that_hangs_ends_with_whoever_waits_for_it():
    start_s = time.monotonic()
    too_long = pytest.raises(MeasurementError, match=r"its start took longer than 0\.5 s")
    with too_long, deadline(0.5, "its start"):
        in_fresh_process(time.sleep, 60)
    assert time.monotonic() - start_s < 30
    assert multiprocessing.active_children() == []
