"""LiteRT's CompiledModel benchmark: the right number, or a typed failure; never a wrong number."""

from __future__ import annotations

import statistics
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.android.benchmark_lines import BenchmarkTimings
from profiler.devices.android.benchmark_result import check_result_proto
from profiler.devices.android.benchmark_tool import CLASSIC, COMPILED, recognised
from profiler.devices.android.compiled_output import parse_compiled_output
from profiler.errors import InvalidInputError, MeasurementError
from tests.profiler.devices.android.benchmark_model_standin import phase_lines, result_proto
from tests.profiler.devices.android.compiled_model_standin import replaced_line, result_lines

XNNPACK = replaced_line("TfLiteXNNPackDelegate", 9, 9)
TIMES_US = st.lists(st.integers(1, 3_000_000), min_size=1, max_size=30).filter(
    lambda times: len(times) == 1 or len(set(times)) > 1
)
# as builds print it that log the place in the source; those before them are `placed=False`
PLACED = """\
INFO: STARTING!
INFO: [litert/runtime/compiled_model.cc:229] Applying compiler plugins...
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 1 out of 1 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 \
partitions for subgraph 0.
INFO: The input model file size (MB): 3.27774
INFO: Initialized session in 4.478ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1055 first=1033 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=2112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81]\x20
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:84] Warmup (first):       1.03 ms
INFO: [./litert/tools/benchmark_litert_model.h:86] Warmup (avg):         0.47 ms (1055 runs)
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.46 ms (2112 runs)
INFO: [./litert/tools/benchmark_litert_model.h:92] Inference (min):      0.44 ms
INFO: [./litert/tools/benchmark_litert_model.h:94] Inference (max):      0.98 ms
INFO: [./litert/tools/benchmark_litert_model.h:96] Inference (std):      0.01
INFO: [./litert/tools/benchmark_litert_model.h:103] Throughput:           525.55 MB/s
INFO: [./litert/tools/benchmark_litert_model.h:112]\x20
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:113] Init footprint:       10.50 MB
INFO: [./litert/tools/benchmark_litert_model.h:115] Overall footprint:    11.25 MB
INFO: [./litert/tools/benchmark_litert_model.h:122] Peak memory usage not available. \
(peak_mem_mb <= 0)
INFO: [./litert/tools/benchmark_litert_model.h:125] ======================================
"""


def printed(
    warmup_us: list[int],
    times_us: list[int],
    *,
    delegation: str = XNNPACK,
    memory_mb: tuple[float, float] | None = (6.14, 7.25),
    placed: bool = True,
) -> str:
    return "\n".join([
        "INFO: STARTING!",
        "I0000 00:00:1776763095.992481   21214 delegate_kernel.cc:285] Total 2 external tensors",
        delegation,
        "INFO: Initialized session in 18.551ms.",
        *phase_lines(1, 0.5, warmup_us),
        *phase_lines(len(times_us), 0.5, times_us),
        *result_lines(18551, warmup_us, times_us, memory_mb=memory_mb, placed=placed),
    ])  # fmt: skip


VALID = printed([120, 100, 98], [91234, 80321, 85678])
VALUE_MS = statistics.fmean([91234, 80321, 85678]) / 1e3


def test_output_with_places() -> None:
    timings = parse_compiled_output(PLACED, runs=1000)
    assert timings == BenchmarkTimings(
        464.545 / 1e3, 2112, 465.319 / 1e3, 1055, 4.478, 1.033, 11.25
    )  # fmt: skip


@given(warmup_us=TIMES_US, times_us=TIMES_US, placed=st.booleans())
def test_every_output_is_read_to_six_digits(
    warmup_us: list[int], times_us: list[int], placed: bool
) -> None:
    text = printed(warmup_us, times_us, placed=placed)
    timings = parse_compiled_output(text, runs=len(times_us))
    assert timings.latency_ms == pytest.approx(statistics.fmean(times_us) / 1e3, rel=6e-6)
    assert (timings.runs, timings.warmup_runs) == (len(times_us), len(warmup_us))
    check_result_proto(result_proto(times_us, warmup_us), timings)


@given(
    at=st.integers(0, len(VALID) - 1),
    length=st.integers(0, 12),
    inserted=st.text(string.digits + string.ascii_letters + ".,=-+ \n()", max_size=12),
)
def test_one_mutation_never_gives_a_wrong_number(at: int, length: int, inserted: str) -> None:
    """The result file is part of the evidence: to 0.01 ms the text may be wrong unnoticed."""
    text = VALID[:at] + inserted + VALID[at + length :]
    try:
        timings = parse_compiled_output(text, runs=3)
        check_result_proto(result_proto([91234, 80321, 85678], [120, 100, 98]), timings)
    except MeasurementError as error:
        assert error.reason
    else:
        assert timings.latency_ms == pytest.approx(VALUE_MS, rel=1.1e-5)


def test_what_is_not_measured_is_none_and_never_0() -> None:
    for memory_mb in (None, (0.0, 0.0)):
        text = printed([120, 100], [90, 80, 85], memory_mb=memory_mb)
        assert parse_compiled_output(text, runs=3).memory_mb is None


def swap(old: str, new: str) -> str:
    assert old in VALID
    return VALID.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "delegate_not_applied"),
        (XNNPACK, "missing_summary"),
        (VALID + VALID, "garbled_output"),
        (swap("INFO: STARTING!", "WARN: Unconsumed cmdline flags: --use_tpu=1"), "unknown_flag"),
        (swap(XNNPACK, ""), "delegate_not_applied"),
        (swap(XNNPACK, replaced_line("LITERT_CL", 9, 9)), "delegate_not_applied"),
        (swap(XNNPACK, replaced_line("TfLiteXNNPackDelegate", 7, 9, 2)), "delegate_not_applied"),
        (swap("avg=85744.3", "avg=85744,3"), "localized_number"),
        (swap("85.74 ms", "85,74 ms"), "localized_number"),
        (swap("85.74 ms (3 runs)", "85.74 ms (4 runs)"), "parse_mismatch"),
        (swap("85.74 ms", "85.64 ms"), "parse_mismatch"),
        (swap("18.551ms.", "28.551ms."), "parse_mismatch"),
        (swap("Initialized session", "Session"), "garbled_output"),
        (swap("Warmup (first): ", "Warm (first): "), "missing_summary"),
        (printed([9, 8], [5, 5, 5]), "all_same"),
        (printed([9, 8], [7, 6]), "parse_mismatch"),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        parse_compiled_output(text, runs=3)
    assert (caught.value.reason, caught.value.transient) == (reason, False)


def test_a_part_in_the_gpu_is_refused_unless_it_is_allowed() -> None:
    text = printed([9, 8], [7, 6, 8], delegation=replaced_line("LITERT_CL", 48, 90, 2))
    with pytest.raises(MeasurementError, match="48 of 90 nodes"):
        parse_compiled_output(text, runs=3, delegate="gpu")
    allowed = parse_compiled_output(text, runs=3, delegate="gpu", require_full_delegation=False)
    assert allowed.partly and allowed.latency_ms == pytest.approx(0.007)
    both = f"{replaced_line('LITERT_CL', 9, 9)}\n{XNNPACK}"  # of two subgraphs
    timings = parse_compiled_output(
        printed([9, 8], [7, 6, 8], delegation=both), runs=3, delegate="gpu",
        require_full_delegation=False,
    )  # fmt: skip
    assert timings.partly


def test_a_tool_is_what_its_flags_say() -> None:
    assert recognised(CLASSIC.needs) is CLASSIC
    assert recognised(COMPILED.needs) is COMPILED
    assert recognised(frozenset({"graph"})) is CLASSIC
    for tool, flags in (
        (CLASSIC, {"use_gpu": "true", "use_xnnpack": "false"}),
        (COMPILED, {"use_gpu": "true", "use_cpu": "false"}),
    ):
        known = tool.needs | tool.knows
        full = {"require_full_delegation": "true"}
        assert tool.flags("gpu", known, partial=False) == flags | full
    assert COMPILED.flags("gpu", COMPILED.needs, partial=True)["use_cpu"] == "true"
    # asked of the CPU it would abort the program
    assert COMPILED.flags("cpu", COMPILED.needs, partial=False) == {
        "use_cpu": "true", "use_gpu": "false",
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="has no delegate nnapi"):
        COMPILED.flags("nnapi", COMPILED.needs, partial=False)
    with pytest.raises(InvalidInputError, match="no --use_nnapi"):
        CLASSIC.flags("nnapi", CLASSIC.needs, partial=False)
