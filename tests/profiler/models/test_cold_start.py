import multiprocessing
import time

import numpy as np
import pytest
from onnx import helper

from profiler.errors import MeasurementError
from profiler.measuring.sampling import deadline
from profiler.models.cold_start import cold_start, start_here
from profiler.models.file import read_model_file, runnable
from profiler.models.fresh_process import in_fresh_process
from tests.profiler.models.onnx_files import convolution, tensor, write_onnx


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


def start_with(monkeypatch, tmp_path, before, after, *, resets):
    """Peak memory of a start in a process whose system says this before and after it, in kB."""
    proc = tmp_path / "proc"
    proc.mkdir()
    if not resets:
        (proc / "clear_refs").mkdir()  # cannot be written

    def say(rss_kb, peak_kb):
        (proc / "status").write_text(f"VmHWM:\t{peak_kb} kB\nVmRSS:\t{rss_kb} kB\n")

    class Loaded:
        def run(self):
            say(*after)

        def close(self):
            pass

    say(*before)
    monkeypatch.setattr("profiler.models.cold_start._PROC", proc)
    monkeypatch.setattr("profiler.models.cold_start.load", lambda *_, **__: Loaded())
    model = runnable(read_model_file(convolution(tmp_path / "net.onnx")), shapes={}, arrays={})
    return start_here(model, 1, None).peak_memory_mb


def test_peak_memory_counts_from_what_is_held_where_the_peak_can_be_reset(monkeypatch, tmp_path):
    used_mb = start_with(monkeypatch, tmp_path, (100_000, 900_000), (150_000, 160_000), resets=True)
    assert used_mb == pytest.approx(60_000 * 1024 / 1e6)


def test_peak_memory_counts_from_the_peak_before_where_it_cannot_be_reset(monkeypatch, tmp_path):
    """A process whose imports once held 900 MB did not use 800 of them for the model."""
    before, after = (100_000, 900_000), (150_000, 910_000)
    used_mb = start_with(monkeypatch, tmp_path, before, after, resets=False)
    assert used_mb == pytest.approx(10_000 * 1024 / 1e6)


def test_peak_memory_that_did_not_rise_is_not_told(monkeypatch, tmp_path):
    peaks = (100_000, 900_000), (150_000, 900_000)
    assert start_with(monkeypatch, tmp_path, *peaks, resets=False) is None


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
