import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from profiler.errors import MeasurementError
from profiler.graph.layers import Statistic
from profiler.graph.to_tflite import export_tflite
from profiler.graph.weights import random_weights
from profiler.models.file import read_model_file, runnable
from profiler.models.op_profile import (
    HALF_TICK_MS,
    LEAST_MS,
    op_shares,
    op_times_ms,
    shares,
    split_runs,
)
from profiler.spaces.kernels import Net
from tests.profiler.models.onnx_files import FLOAT, convolution, tensor, write_onnx


def node(kind, ts, dur, name=None):
    return {
        "cat": "Node", "name": f"{name or kind.lower()}_kernel_time", "ts": ts, "dur": dur,
        "args": {"op_name": kind},
    }  # fmt: skip


def end_of_run(ts=0, dur=0):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def share_of(found, kind):
    return sum(op.share for op in found if op.kind == kind)


def test_events_are_split_at_the_end_of_each_run():
    loading = {"cat": "Session", "name": "model_loading_uri", "ts": 0, "dur": 9, "args": {}}
    first, second = node("Conv", 10, 5), node("Conv", 20, 6)
    assert split_runs([loading, first, end_of_run(), second, end_of_run()]) == [[first], [second]]


def test_an_op_with_a_subgraph_counts_without_the_ops_in_it():
    """As the runtime writes them: what ends first comes first."""
    run = [
        node("Relu", 100, 4),
        node("MatMul", 115, 20),
        node("Sigmoid", 140, 8),
        node("If", 110, 50),
        node("Neg", 170, 3),
    ]
    times = op_times_ms([run])
    assert {kind: calls for (_, kind), (_, calls) in times.items()} == dict.fromkeys(
        ["Relu", "MatMul", "Sigmoid", "If", "Neg"], 1
    )
    assert times["if", "If"][0] == pytest.approx((50 - 20 - 8) / 1e3 - HALF_TICK_MS)
    assert times["matmul", "MatMul"][0] == pytest.approx(20 / 1e3 + HALF_TICK_MS)


def test_disturbed_runs_do_not_count():
    runs = [[node("Conv", 0, dur)] for dur in (10, 11, 10, 11, 10, 11, 5000, 9)]
    assert op_times_ms(runs)["conv", "Conv"][0] == pytest.approx(0.0105 + HALF_TICK_MS)


def test_an_op_s_time_is_estimated_as_its_caller_asks():
    runs = [[node("Conv", 0, dur)] for dur in (10, 11, 12, 13)]
    assert op_times_ms(runs, min)["conv", "Conv"] == pytest.approx((0.010 + HALF_TICK_MS, 1))
    assert op_times_ms(runs, max)["conv", "Conv"] == pytest.approx((0.013 + HALF_TICK_MS, 1))


def test_what_profiling_adds_to_every_call_is_taken_off():
    """Three ops of 1000, 100 and 1 µs, one called twice, each call 6 µs dearer when profiled."""
    times = {("a", "Conv"): (1.006, 1), ("b", "Add"): (0.112, 2), ("c", "Reshape"): (0.007, 1)}
    found = shares(times, plain_ms=1.101)
    assert [op.share for op in found] == pytest.approx([1000 / 1101, 100 / 1101, 1 / 1101])


def test_an_op_cheaper_than_the_profiler_still_took_some_time():
    """All calls together are 6.25 µs dearer, more than `c` took with its profiling."""
    times = {("a", "Conv"): (1.0, 1), ("b", "Conv"): (1.0, 1), ("c", "Reshape"): (0.002, 1)}
    a, b, c = shares(times, plain_ms=1.9875)
    assert a.share == b.share == pytest.approx(0.5, rel=1e-3)
    assert c.share == pytest.approx(LEAST_MS / (1.9875 + LEAST_MS))


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 50)), min_size=1, max_size=30),
    st.floats(0.05, 2.0),
)
def test_shares_are_positive_and_sum_to_one(ops, plain_part):
    times = {(f"op{i}", "Conv"): op for i, op in enumerate(ops)}
    found = shares(times, plain_ms=plain_part * sum(ms for ms, _ in ops))
    assert sum(op.share for op in found) == pytest.approx(1)
    assert all(op.share > 0 for op in found)


def test_a_model_that_runs_no_op_has_no_profile():
    with pytest.raises(MeasurementError, match="ran no op"):
        shares({}, plain_ms=1.0)


def test_the_runtimes_own_ops_after_its_own_fusion(tmp_path):
    """Conv and Relu become one op; a hundred times the multiply-adds take most of the time."""
    rng = np.random.default_rng(0)
    path = write_onnx(
        tmp_path / "net.onnx",
        [
            helper.make_node("Conv", ["x", "large"], ["a"], "big", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Conv", ["b", "small"], ["y"], "little"),
        ],
        [tensor("x", [1, 64, 56, 56])],
        [tensor("y", [1, 8, 56, 56])],
        [
            ("large", rng.standard_normal((64, 64, 3, 3), np.float32)),
            ("small", rng.standard_normal((8, 64, 1, 1), np.float32)),
        ],
    )
    found = op_shares(runnable(read_model_file(path), shapes={}, arrays={}), threads=1)
    assert share_of(found, "Relu") == 0
    assert share_of(found, "Conv") > 0.8
    assert max(op.share for op in found if op.kind == "Conv") > 0.7
    assert sum(op.share for op in found) == pytest.approx(1)


def test_a_profile_that_no_disk_has_room_for_is_told(tmp_path):
    model = runnable(read_model_file(convolution(tmp_path / "net.onnx")), shapes={}, arrays={})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # bytes: a write beyond them fails
    try:
        with pytest.raises(MeasurementError, match="cut short; is there room in"):
            op_shares(model, threads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_ops_within_a_branch_are_seen(tmp_path):
    branches = {
        side: helper.make_graph(
            [helper.make_node("MatMul", ["x", "x"], [side], f"{side}-product")],
            side, [], [tensor(side, None)],
        )
        for side in ("then_branch", "else_branch")
    }  # fmt: skip
    path = write_onnx(
        tmp_path / "net.onnx", [helper.make_node("If", ["flag"], ["y"], "choice", **branches)],
        [tensor("x", [256, 256], FLOAT), tensor("flag", [], TensorProto.BOOL)], [tensor("y", None)],
    )  # fmt: skip
    model = runnable(read_model_file(path), shapes={}, arrays={"flag": np.array(True)})
    found = op_shares(model, threads=1)
    assert share_of(found, "MatMul") > 0.8
    assert 0 < share_of(found, "If") < 0.2


def test_ops_that_a_profile_tells_as_one_say_how_many_they_are():
    once, thrice = shares({("a", "Conv"): (1.0, 1.0), ("b", "Conv"): (3.0, 3.0)}, plain_ms=4.0)
    assert (once.calls, thrice.calls) == (1, 3)
    assert thrice.share == pytest.approx(3 / 4)


def test_all_ops_of_a_tflite_file_that_xnnpack_runs_in_parts_are_counted(tmp_path):
    """LiteRT numbers the ops of each part from 0, and tells those of one number as one."""
    net = Net(1)
    x = net.input(16, 56)
    for channels in (32, 64, 128):
        x = net.convolution(x, channels, 3)
        x = net.pool(x, Statistic.MAX, 3, 2)  # padded by an op that XNNPACK leaves
    graph = net.graph(x)
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(graph, random_weights(graph, np.random.default_rng(0))))
    found = op_shares(runnable(read_model_file(path), shapes={}, arrays={}), threads=1)
    calls = dict.fromkeys(("Convolution (NHWC, F32) IGEMM", "Max Pooling (NHWC, F32)"), 0)
    for op in found:
        if op.kind in calls:
            calls[op.kind] += op.calls
    assert set(calls.values()) == {3}
    assert max(op.calls for op in found) > 1


def test_the_ops_of_a_tflite_file_are_those_of_xnnpack(tflite_file):
    model = runnable(read_model_file(tflite_file), shapes={}, arrays={})
    found = op_shares(model, threads=1)
    assert sum(op.share for op in found) == pytest.approx(1)
    convolutions = [op for op in found if "GEMM" in op.kind]
    assert sum(op.share for op in convolutions) > 0.3
