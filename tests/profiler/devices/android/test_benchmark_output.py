"""benchmark_model's output: the right number, or a typed failure; never a wrong number."""

from __future__ import annotations

import re
import statistics
import string
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profiler.devices.android.benchmark_lines import BenchmarkTimings, known_flags
from profiler.devices.android.benchmark_output import parse_benchmark_output
from profiler.devices.android.benchmark_profile import parse_profile_csv
from profiler.devices.android.benchmark_result import check_result_proto
from profiler.errors import MeasurementError
from tests.profiler.devices.android.benchmark_model_standin import (
    phase_lines,
    profile_csv,
    result_proto,
    summary_line,
    usage,
)

APPLIED = (
    "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed "
    "by the delegate."
)
TIMES_US = st.lists(st.integers(1, 3_000_000), min_size=1, max_size=30).filter(
    lambda times: len(times) == 1 or len(set(times)) > 1
)


def printed(
    warmup_us: list[int], times_us: list[int], *, runs: int | None = None, **style: bool
) -> str:
    return "\n".join([
        "INFO: STARTING!",
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        APPLIED,
        "INFO: Initialized session in 18.551ms.",
        *phase_lines(1, 0.5, warmup_us),
        *phase_lines(len(times_us) if runs is None else runs, 0.5, times_us, **style),
        summary_line(18551, warmup_us, times_us),
        "INFO: Memory footprint delta from the start of the tool (MB): init=6.14 overall=109.848",
    ])  # fmt: skip


def reason_of(text: str, runs: int = 3) -> str:
    with pytest.raises(MeasurementError) as caught:
        parse_benchmark_output(text, runs=runs)
    assert not caught.value.transient
    return caught.value.reason


PUBLISHED = """\
INFO: STARTING!
INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the \
delegate.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1 curr=1041765

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=50 first=977738 curr=964908 min=911877 max=1112273 avg=971535 std=39112

INFO: Inference timings in us: Init: 6418, First inference: 1041765, Warmup (avg): 1.04176e+06, \
Inference (avg): 971535
INFO: Memory footprint delta from the start of the tool (MB): init=6.14844 overall=109.848
"""  # timings of docs.toradex.com's SSD MobileNet run: one warm-up, in scientific notation


def test_published_output() -> None:
    timings = parse_benchmark_output(PUBLISHED, runs=50)
    assert timings == BenchmarkTimings(971.535, 50, 1041.765, 1, 6.418, 1041.765, 109.848)


def test_order_of_tokens_and_percentiles_do_not_matter() -> None:
    old = printed([120, 100], [90, 80, 85]).replace("count=3 first=90 curr=85", "curr=85 count=3")
    assert parse_benchmark_output(old, runs=3).latency_ms == pytest.approx(0.085)
    new = printed([120, 100], [90, 80, 85], percentiles=True)
    assert "median=85" in new
    assert parse_benchmark_output(new, runs=3).latency_ms == pytest.approx(0.085)


def test_summary_before_2020() -> None:
    text = printed([120, 100], [90, 80, 85])
    old = text[: text.index("INFO: Inference timings")]
    old += "Average inference timings in us: Warmup: 110, Init: 18551, Inference: 85\n"
    assert parse_benchmark_output(old, runs=3).latency_ms == pytest.approx(0.085)


@given(warmup_us=TIMES_US, times_us=TIMES_US, percentiles=st.booleans())
def test_every_output_is_read_to_six_digits(
    warmup_us: list[int], times_us: list[int], percentiles: bool
) -> None:
    text = printed(warmup_us, times_us, percentiles=percentiles)
    timings = parse_benchmark_output(text, runs=len(times_us))
    assert timings.latency_ms == pytest.approx(statistics.fmean(times_us) / 1e3, rel=6e-6)
    assert timings.warmup_ms == pytest.approx(statistics.fmean(warmup_us) / 1e3, rel=6e-6)
    assert (timings.runs, timings.warmup_runs) == (len(times_us), len(warmup_us))
    check_result_proto(result_proto(times_us, warmup_us), timings)


VALID = printed([120, 100, 98], [91234, 80321, 85678])
VALUE_MS = statistics.fmean([91234, 80321, 85678]) / 1e3


@given(cut=st.integers(0, len(VALID)))
def test_truncation_never_gives_a_wrong_number(cut: int) -> None:
    try:
        timings = parse_benchmark_output(VALID[:cut], runs=3)
    except MeasurementError as error:
        assert error.reason
    else:
        assert timings.latency_ms == pytest.approx(VALUE_MS, rel=6e-6)


@given(
    at=st.integers(0, len(VALID) - 1),
    length=st.integers(0, 12),
    inserted=st.text(string.digits + string.ascii_letters + ".,=-+ \n()", max_size=12),
)
@example(at=VALID.index("85744"), length=1, inserted="9")
@example(at=VALID.index("avg=85744") + 4, length=0, inserted="1")
def test_one_mutation_never_gives_a_wrong_number(at: int, length: int, inserted: str) -> None:
    text = VALID[:at] + inserted + VALID[at + length :]
    try:
        timings = parse_benchmark_output(text, runs=3)
    except MeasurementError as error:
        assert error.reason
    else:
        assert timings.latency_ms == pytest.approx(VALUE_MS, rel=6e-6)


@given(
    cuts=st.lists(st.integers(0, len(VALID)), max_size=6),
    noise=st.sampled_from(["INFO: Initialized TensorFlow Lite runtime.\n", "W/adreno: slow\n"]),
)
def test_interleaved_lines_never_give_a_wrong_number(cuts: list[int], noise: str) -> None:
    text = VALID
    for cut in sorted(cuts, reverse=True):
        text = text[:cut] + noise + text[cut:]
    try:
        timings = parse_benchmark_output(text, runs=3)
    except MeasurementError as error:
        assert error.reason
    else:
        assert timings.latency_ms == pytest.approx(VALUE_MS, rel=6e-6)


def swap(old: str, new: str) -> str:
    assert old in VALID
    return VALID.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "delegate_not_applied"),
        (APPLIED, "missing_summary"),
        (VALID + VALID, "garbled_output"),
        (swap("INFO: STARTING!", "WARN: Unconsumed cmdline flags: --use_gpu=true"), "unknown_flag"),
        (swap("INFO: STARTING!", "ERROR: Failed to parse flag 'num_runs' against"), "bad_flag"),
        (swap("completely", "partially"), "delegate_not_applied"),
        (swap(APPLIED, "ERROR: Failed to apply XNNPACK delegate."), "delegate_not_applied"),
        (swap(APPLIED, "ERROR: Disallowed CPU fallback detected."), "delegate_not_applied"),
        (swap(APPLIED, "INFO: Use xnnpack: [1]"), "delegate_not_applied"),
        (
            swap(
                APPLIED,
                "INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be "
                "executed by the delegate.",
            ),
            "delegate_not_applied",
        ),
        (swap("avg=85744.3", "avg=85744,3"), "localized_number"),
        (swap("Inference (avg): 85744.3", "Inference (avg): 85744,3"), "localized_number"),
        (swap("avg=85744.3", "avg=٨٥٧٤٤"), "localized_number"),
        (swap("avg=85744.3", "avg=nan"), "garbled_output"),
        (re.sub(r"count=3 first=(\d+) curr", r"curr=\1 first", VALID), "garbled_output"),
        (VALID.replace("85744.3", "1e+999").replace("91234", "1e+999"), "garbled_output"),
        (swap("avg=85744.3", "avg=-85744.3"), "garbled_output"),
        (swap("avg=85744.3", "avg=857INFO: hello"), "garbled_output"),
        (swap(" avg=85744.3", ""), "garbled_output"),
        (swap("avg=85744.3", "avg=85744.3 avg=85744.3"), "garbled_output"),
        (swap("Inference (avg): 85744.3", "Inference (avg): 8574"), "parse_mismatch"),
        (swap("max=91234", "max=81234"), "parse_mismatch"),
        (swap("least 3 iterations", f"least {'3' * 5000} iterations"), "garbled_output"),
        (swap("count=3 ", f"count={'3' * 5000} "), "garbled_output"),
        (swap("max=91234", f"max={'9' * 5000}"), "garbled_output"),
        (swap("First inference: 120", "First inference: 12"), "parse_mismatch"),
        (swap("least 3 iterations", "least 50 iterations"), "parse_mismatch"),
        (printed([9, 8], [7, 6, 8], runs=4), "parse_mismatch"),
        (printed([9, 8], [5, 5, 5]), "all_same"),
        (printed([9, 8], [0]), "parse_mismatch"),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: str) -> None:
    assert reason_of(text) == reason


def test_too_few_runs_and_zero_are_refused() -> None:
    assert reason_of(printed([9, 8], [7, 6], runs=3)) == "incomplete_run"
    assert reason_of(printed([9, 8], [0], runs=1), runs=1) == "nonpositive_latency"


def test_partial_delegation_can_be_allowed() -> None:
    timings = parse_benchmark_output(
        swap("completely", "partially"), runs=3, require_full_delegation=False
    )
    assert timings.latency_ms == pytest.approx(VALUE_MS, rel=6e-6)


def test_windows_line_ends() -> None:
    assert parse_benchmark_output(VALID.replace("\n", "\r\n"), runs=3).runs == 3


# --- the result file ----------------------------------------------------------------------


PROTO = result_proto([91234, 80321, 85678], [120, 100, 98])
TIMINGS = parse_benchmark_output(VALID, runs=3)


def test_result_file_agrees_and_truncation_is_noticed() -> None:
    check_result_proto(PROTO, TIMINGS)
    for cut in range(len(PROTO) - 2):  # the last field, of warm-up runs, is not used
        with pytest.raises(MeasurementError) as caught:
            check_result_proto(PROTO[:cut], TIMINGS)
        assert caught.value.reason == "result_file_broken"


@given(at=st.integers(0, len(PROTO) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_confirms_another_number(at: int, value: int) -> None:
    changed = PROTO[:at] + bytes([value]) + PROTO[at + 1 :]
    wrong = replace(TIMINGS, latency_ms=2 * TIMINGS.latency_ms)
    try:
        check_result_proto(changed, wrong)
    except MeasurementError as error:
        assert error.reason in ("result_file_broken", "parse_mismatch")
    else:
        assert changed[4:8] != PROTO[4:8]  # the mean itself was rewritten to twice its value


def test_result_file_of_another_run() -> None:
    other = result_proto([91234, 80321, 95678], [120, 100, 98])
    with pytest.raises(MeasurementError) as caught:
        check_result_proto(other, TIMINGS)
    assert caught.value.reason == "parse_mismatch"


def test_known_flags_of_help() -> None:
    flags = known_flags("ERROR: " + usage())
    assert {"num_runs", "use_xnnpack", "result_file_path"} <= flags
    assert "use_npu" not in flags


# --- the op profile -----------------------------------------------------------------------

NODES = [
    ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", [500, 510, 505]),
    ("Mean", "[a;b, c]:1", [20, 21, 22]),
    ("SOFTMAX", "[prob]:2", [3, 4, 3]),
]


@pytest.mark.parametrize("start_column", [False, True])
def test_profile_old_and_new(start_column: bool) -> None:
    nodes = parse_profile_csv(profile_csv(NODES, start_column=start_column))
    assert [(node.node_type, node.name) for node in nodes] == [node[:2] for node in NODES]
    assert [node.per_run_ms for node in nodes] == pytest.approx([0.505, 0.021, 10 / 3e3], rel=1e-5)


PROFILE = profile_csv(NODES)


def profile_reason(text: str) -> str:
    with pytest.raises(MeasurementError) as caught:
        parse_profile_csv(text)
    return caught.value.reason


def without_row(text: str, name: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.endswith(name))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing_profile"),
        (PROFILE[: PROFILE.index("Operator-wise")], "missing_profile"),
        (PROFILE[: PROFILE.index("Mean,")], "partial_profile"),
        (PROFILE[: PROFILE.rindex("Timings")], "partial_profile"),
        (without_row(PROFILE, "[prob]:2"), "partial_profile"),
        (without_row(PROFILE, "[a;b, c]:1"), "partial_profile"),
        (PROFILE.replace("0.505,", "0,505,"), "garbled_profile"),
        (PROFILE.replace("0.505,", "0.605,"), "garbled_profile"),
        (PROFILE.replace("avg_ms", "avg_us"), "garbled_profile"),
        (PROFILE.replace("3 nodes observed", "Subgraph (index: 1) x"), "garbled_profile"),
    ],
)
def test_broken_profiles(text: str, reason: str) -> None:
    assert profile_reason(text) == reason


@given(
    at=st.integers(PROFILE.index("Operator-wise"), len(PROFILE) - 1),
    length=st.integers(0, 6),
    inserted=st.text(string.digits + ".,% \n", max_size=6),
)
def test_mutated_profile_never_gives_a_wrong_time(at: int, length: int, inserted: str) -> None:
    try:
        nodes = parse_profile_csv(PROFILE[:at] + inserted + PROFILE[at + length :])
    except MeasurementError as error:
        assert error.reason
    else:
        times_ms = [node.per_run_ms for node in nodes]
        assert times_ms == pytest.approx([0.505, 0.021, 10 / 3e3], rel=1e-3)
