"""Model files in the sweep: on a device whose latencies are known, and on this machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.base import ModelWorkload
from profiler.devices.simulated.fake import FakeDevice, FakeWorkload, Scenario
from profiler.errors import InvalidInputError, MeasurementError
from profiler.measuring.comparison import Difference
from profiler.measuring.journal import Journal
from profiler.measuring.model_files import ModelRequest, ModelSweep, measure_models
from profiler.measuring.protocol import FULL, PHONE, QUICK, SUSTAINED, for_copies
from profiler.measuring.records import Block, Outcome
from profiler.measuring.stopping import Decision
from profiler.measuring.task import Role, make_task
from profiler.models.cold_start import ColdStart
from profiler.models.file import ModelFile, ModelFormat, RunnableModel
from profiler.models.op_profile import OpShare
from profiler.terminal import SILENT
from tests.profiler.fast import BRIEF
from tests.profiler.models.onnx_files import convolution

pytestmark = pytest.mark.slow

PROTOCOL, SHORT = (
    replace(one, stopping=replace(one.stopping, resamples=300)) for one in (FULL, QUICK)
)
START = ColdStart(load_ms=20.0, first_run_ms=8.0, peak_memory_mb=30.0)


class FakeModels(FakeDevice):
    """Models of known latency, each copy of which lies elsewhere in memory.

    Args:
        latencies_ms: by the name of the file.
        scatter: standard deviation of the copies, relative.
    """

    def __init__(self, latencies_ms, *, seed=0, scatter=0.01, **settings):
        super().__init__(seed, **settings)
        self._latencies_ms, self._scatter = latencies_ms, scatter
        self._placed = np.random.default_rng(seed + 1000)

    def latency_ms(self, workload):
        if not isinstance(workload, ModelWorkload):
            return super().latency_ms(workload)
        return self._latencies_ms[workload.model.file.path.name] / workload.threads

    def prepare_model(self, workload):
        factor = float(np.exp(self._scatter * self._placed.standard_normal()))
        return Placed(self, workload, factor)

    def cold_start(self, workload):
        return START

    def op_shares(self, workload):
        return (OpShare("conv", "Conv", 0.75), OpShare("add", "Add", 0.25, 3))


class Placed(FakeWorkload):
    _factor: float

    def __init__(self, device, workload, factor):
        super().__init__(device, workload)
        object.__setattr__(self, "_factor", factor)

    def sample_ms(self, runs):
        return self._factor * super().sample_ms(runs)


def model(name):
    file = ModelFile(Path(name), ModelFormat.ONNX, f"sha of {name}", 5_000_000, ())
    return RunnableModel(file, {}, f"digest of {name}")


def measured(device, *models, journal=None, protocol=PROTOCOL, seed=0):
    return ModelSweep(device, journal or Journal(None), models, protocol, SILENT, seed=seed).run()


def test_a_model_is_measured_to_its_latency_with_all_that_was_asked_of_it():
    device = FakeModels({"a": 12.0})
    (result,) = measured(device, (model("a"), 1)).results
    assert result.latency_ms == pytest.approx(12.0, rel=0.015)
    low, high = result.interval_ms
    assert low < 12.0 < high
    assert high / low - 1 < 0.05
    assert result.median_ms <= result.p90_ms <= result.p99_ms
    assert (result.verdict, result.sha256) == ("stable", "sha of a")
    assert result.n_samples >= FULL.comparison.copies * 20 * 2
    assert (result.load_ms, result.first_run_ms, result.peak_memory_mb) == (20.0, 8.0, 30.0)
    assert [op.latency_ms for op in result.ops] == pytest.approx(
        [0.75 * result.latency_ms, 0.25 * result.latency_ms]
    )
    assert [op.calls for op in result.ops] == [1, 3]
    assert result.unavailable == {}


def test_the_interval_covers_the_scatter_of_the_copies():
    """Copies 5 % apart: one of them alone would be sure of a wrong number."""
    device = FakeModels({"a": 12.0}, scatter=0.05, scenario=Scenario(noise=0.001))
    (result,) = measured(device, (model("a"), 1)).results
    low, high = result.interval_ms
    assert high / low - 1 > 0.03


def test_the_same_file_twice_is_not_told_apart_though_the_machine_drifts():
    scene = Scenario(noise=0.02, drift_per_s=0.01, preempted_share=0.05)
    found = []
    for seed in range(20):
        device = FakeModels({"a": 4.0}, seed=seed, scenario=scene)
        report = measured(device, (model("a"), 1), (model("a"), 1), protocol=SHORT, seed=seed)
        (comparison,) = report.comparisons
        found.append(comparison.finding)
        assert comparison.ratio == pytest.approx(1, abs=0.04)
    assert found.count(Difference.NOT_TOLD_APART) >= 19


def test_models_are_compared_with_the_first():
    device = FakeModels({"a": 10.0, "b": 11.0, "c": 9.0})
    report = measured(device, (model("a"), 1), (model("b"), 1), (model("c"), 1))
    slower, faster = report.comparisons
    assert (slower.model, slower.first, slower.finding) == ("b", "a", Difference.SLOWER)
    assert slower.ratio == pytest.approx(1.1, rel=0.03)
    assert slower.interval[0] < 1.1 < slower.interval[1]
    assert faster.finding is Difference.FASTER


def test_one_model_is_compared_at_several_counts_of_threads():
    device = FakeModels({"a": 10.0}, scatter=0.001)
    report = measured(device, (model("a"), 1), (model("a"), 2))
    assert [result.threads for result in report.results] == [1, 2]
    assert report.comparisons[0].ratio == pytest.approx(0.5, rel=0.02)
    assert (report.comparisons[0].first_threads, report.comparisons[0].threads) == (1, 2)


def test_what_is_done_is_not_measured_again(tmp_path):
    device = FakeModels({"a": 10.0, "b": 20.0})
    with Journal(tmp_path / "t.journal.sqlite") as journal:
        first = measured(device, (model("a"), 1), journal=journal)
        sweeps = journal.sweeps("fake-boot fake 1")
        again = measured(device, (model("a"), 1), journal=journal)
        assert again.results == first.results
        assert journal.sweeps("fake-boot fake 1") == sweeps
        both = measured(device, (model("a"), 1), (model("b"), 1), journal=journal)
        assert both.results[0] == first.results[0]


def test_an_earlier_boot_is_measured_again(tmp_path):
    with Journal(tmp_path / "t.journal.sqlite") as journal:
        measured(FakeModels({"a": 10.0}), (model("a"), 1), journal=journal)
        device = FakeModels({"a": 13.0}, boot_id="another")
        (result,) = measured(device, (model("a"), 1), journal=journal).results
    assert result.latency_ms == pytest.approx(13.0, rel=0.02)


def test_a_model_that_hung_is_not_run_again():
    device, copies = FakeModels({}), for_copies(PROTOCOL)  # which knows no latency of any model
    task = make_task(ModelWorkload(model("a"), 1, 0), Role.NETWORK, device.info, copies)
    with Journal(None) as journal:
        number = journal.begin_sweep(device.info, {}, "now")
        hung = Outcome(number, task.workload.key, Decision.FAILED, "hung: it did not come back")
        journal.add_outcome(task.key, hung)
        with pytest.raises(MeasurementError, match=f"{task.workload.key}: hung: it did not"):
            measured(device, (model("a"), 1), journal=journal)


N_THROTTLED, N_CLEAN = 4, 6


def recorded(levels_ms, protocol):
    """The report of models whose blocks are given: throttled ones, then clean ones.

    Args:
        levels_ms: of the throttled blocks and of the clean ones, by model; None for none.
    """
    device, copies, rng = FakeModels({}), for_copies(protocol), np.random.default_rng(0)
    with Journal(None) as journal:
        number = journal.begin_sweep(device.info, {}, "now")
        for name, levels in levels_ms.items():
            for copy in range(protocol.comparison.copies):
                task = make_task(
                    ModelWorkload(model(name), 1, copy), Role.NETWORK, device.info, copies
                )
                key = task.workload.key
                turns = zip(levels, (N_THROTTLED, N_CLEAN), (("throttled:heat",), ()), strict=True)
                blocks = [(ms, flags) for ms, n, flags in turns if ms is not None for _ in range(n)]
                for at, (ms, flags) in enumerate(blocks):
                    samples = (ms * float(np.exp(0.002 * rng.standard_normal())),)
                    block = Block(key, float(at), 0.5, 1, samples, flags=flags, sweep=number)
                    journal.add_block(task.key, block)
                journal.add_outcome(task.key, Outcome(number, key, Decision.CONVERGED))
        return measured(device, *((model(name), 1) for name in levels_ms), journal=journal,
                        protocol=protocol)  # fmt: skip


def test_throttled_blocks_are_left_out_of_a_comparison_as_they_are_of_the_latency():
    report = recorded({"a": (None, 10.0), "b": (15.0, 10.0)}, PHONE)
    assert [one.latency_ms for one in report.results] == pytest.approx([10.0, 10.0], rel=0.001)
    (comparison,) = report.comparisons
    assert comparison.ratio == pytest.approx(1, abs=0.002)
    assert comparison.finding is Difference.NOT_TOLD_APART


def test_a_model_that_was_throttled_throughout_is_told_by_all_its_blocks():
    report = recorded({"a": (None, 10.0), "b": (15.0, None)}, PHONE)
    result = report.results[1]
    assert result.verdict == "throttled"
    assert result.latency_ms == pytest.approx(15, rel=0.002)
    assert result.median_ms < result.p99_ms < 15.2
    assert report.comparisons[0].ratio == pytest.approx(1.5, rel=0.002)


def test_a_load_is_compared_as_it_was_borne():
    """Nothing of it is discarded: which model makes the device throttle is what is asked."""
    report = recorded({"a": (10.0, None), "b": (15.0, 10.0)}, replace(PHONE, sustained=SUSTAINED))
    assert report.comparisons[0].ratio == pytest.approx(1.5, rel=0.002)


def test_an_op_profile_that_the_runtime_lacks_is_null_with_its_reason():
    class Unprofiled(FakeModels):
        def op_shares(self, workload):
            raise MeasurementError("it has no profiler", reason="missing_profile")

    (result,) = measured(Unprofiled({"a": 4.0}), (model("a"), 1), protocol=SHORT).results
    assert result.ops is None
    assert result.unavailable == {"ops": "it has no profiler"}


def test_a_model_that_its_runtime_refuses_is_named():
    class Refusing(FakeModels):
        def cold_start(self, workload):
            raise MeasurementError("index out of bounds", reason="run_failed")

    with pytest.raises(MeasurementError, match=r"^a: index out .*inputs without --input are rand"):
        measured(Refusing({"a": 4.0}), (model("a"), 1))


def test_a_file_on_this_machine(tmp_path):
    """The report of a real run, and the same again from its journal."""
    path = convolution(tmp_path / "net.onnx", axes=("batch", 3, 32, 32), channels=16)
    request = ModelRequest("cpu", [path], protocol=BRIEF, out=tmp_path / "t.json")
    (result,) = measure_models(request, SILENT).results
    assert 0.01 < result.latency_ms < 5
    assert result.ops is not None and result.load_ms is not None
    assert sum(op.share for op in result.ops) == pytest.approx(1)
    assert {op.kind for op in result.ops} >= {"Conv"}
    assert result.load_ms > 0
    assert measure_models(request, SILENT).results[0].latency_ms == result.latency_ms


def test_several_models_at_several_threads_are_refused(tmp_path):
    paths = [convolution(tmp_path / f"{name}.onnx") for name in "ab"]
    with pytest.raises(InvalidInputError, match="compare one --model with itself"):
        measure_models(ModelRequest("cpu", paths, threads=(1, 2)), SILENT)
