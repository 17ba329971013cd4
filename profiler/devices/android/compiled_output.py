"""What LiteRT's CompiledModel benchmark says of one run, read as strictly as the classic tool's.

Means are printed to six digits once (the `count=` line of each phase) and to 0.01 ms in the
results; the result file has seven digits, and must agree. What ran where is told by the runtime
alone: "Replacing N out of M node(s) with delegate (NAME) node, yielding P partitions ...".
Formats: google-ai-edge/LiteRT, litert/tools/benchmark_litert_model.h, tflite/core/subgraph.cc.
"""

from __future__ import annotations

import re

from profiler.devices.android.benchmark_lines import (
    NUMBER,
    BenchmarkTimings,
    check_inference,
    failure,
    log_lines,
    two_phases,
    unreadable,
)

_RESULTS = "========== BENCHMARK RESULTS =========="
_HUNDREDTHS = r"([0-9]{1,15}\.[0-9]{2})"
_ROW = re.compile(
    rf"(Model initialization|(?:Warmup|Inference) \((?:first|avg|min|max)\)|Overall footprint): +"
    rf"{_HUNDREDTHS} (?:ms|MB)(?: \(([0-9]{{1,18}}) runs\))?"
)
_ROW_START = re.compile(r"(?:Model initialization|Warmup \(|Inference \((?!std)|Overall footprint)")
_INIT = re.compile(rf"Initialized session in ({NUMBER})ms\.")
_REPLACED = re.compile(
    r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) node\(s\) with delegate \(([^()]*)\) node, "
    r"yielding ([0-9]{1,9}) partitions .*"
)
_NODES = {  # what the runtime calls the node of each delegate
    "cpu": re.compile(r"TfLiteXNNPackDelegate"),
    "gpu": re.compile(r"LITERT_[A-Z]+|TfLiteGpuDelegateV2"),
}


def parse_compiled_output(
    text: str, *, runs: int, delegate: str = "cpu", require_full_delegation: bool = True
) -> BenchmarkTimings:
    """Mean latency from the text of one run that asked for at least `runs` inferences.

    Raises:
        MeasurementError: as `parse_benchmark_output`.
    """
    lines = log_lines(text)
    partly = _check_delegate(lines, delegate, require_full_delegation)
    warmup, inference, requested = two_phases(lines)
    if lines.count(_RESULTS) != 1:
        reason = "garbled_output" if _RESULTS in lines else "missing_summary"
        raise failure(f"printed {lines.count(_RESULTS)} results", reason)
    rows = _rows(lines)
    init_ms = _init_ms(lines)
    for name, value_ms, count in (
        ("Model initialization", init_ms, None),
        ("Warmup (first)", warmup.first_ms, None),
        ("Warmup (avg)", warmup.avg_us / 1e3, warmup.count),
        ("Inference (avg)", inference.avg_us / 1e3, inference.count),
    ):
        _check_row(rows, name, value_ms, count)
    check_inference(inference, requested, runs)
    memory, _ = rows.get("Overall footprint", (0.0, None))
    return BenchmarkTimings(
        inference.avg_us / 1e3, inference.count, warmup.avg_us / 1e3, warmup.count,
        init_ms, warmup.first_ms, memory or None, partly,
    )  # fmt: skip


def _check_delegate(lines: list[str], delegate: str, require_full: bool) -> bool:
    """Whether the delegate ran a part only; a line of each subgraph that it took part of."""
    found = [match for line in lines if (match := _REPLACED.fullmatch(line))]
    ours = [match for match in found if _NODES[delegate].fullmatch(match[3])]
    if not ours:
        others = ", ".join(dict.fromkeys(match[3] for match in found))
        ran = f"ran in {others}" if others else "does not say what ran the model"
        raise failure(f"{ran}, not in the delegate {delegate}", "delegate_not_applied")
    partly = len(ours) < len(found) or any(
        match[1] != match[2] or match[4] != "1" for match in ours
    )
    if partly and require_full:
        counts = ", ".join(f"{match[1]} of {match[2]} nodes" for match in ours)
        raise failure(
            f"ran only a part of the model in the delegate {delegate} ({counts})",
            "delegate_not_applied",
        )
    return partly


def _rows(lines: list[str]) -> dict[str, tuple[float, int | None]]:
    """Rows of the results by name: the figure, and of how many runs."""
    rows: dict[str, tuple[float, int | None]] = {}
    for line in lines:
        if not _ROW_START.match(line):
            continue
        match = _ROW.fullmatch(line)
        if match is None:
            raise unreadable(line)
        if match[1] in rows:
            raise failure(f"prints {match[1]} twice", "garbled_output")
        rows[match[1]] = (float(match[2]), int(match[3]) if match[3] else None)
    return rows


def _init_ms(lines: list[str]) -> float:
    found = [match[1] for line in lines if (match := _INIT.fullmatch(line))]
    if len(found) != 1:
        raise failure("does not say how long its initialization took", "garbled_output")
    return float(found[0])


def _check_row(
    rows: dict[str, tuple[float, int | None]], name: str, value_ms: float, count: int | None
) -> None:
    """The rounded figure must be that of the line with all digits, which has six."""
    if name not in rows:
        raise failure(f"printed no {name}", "missing_summary")
    shown_ms, shown_count = rows[name]
    if abs(shown_ms - value_ms) > 0.0051 + 1e-5 * value_ms or shown_count != count:
        raise failure(f"prints {name} as {value_ms:g} and as {shown_ms:g} ms", "parse_mismatch")
