"""How a model starts, each time in a process of its own: no cache of the runtime is warm."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from profiler.models.file import RunnableModel, import_runtime, load
from profiler.models.fresh_process import in_fresh_process

N_STARTS = 3
_PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """What a first use costs; memory is None where the system does not tell it.

    Attributes:
        load_ms: from the file on disk (in the system's cache) to a model with its inputs set.
        first_run_ms: the first inference, which allocates.
        peak_memory_mb: most memory of the process meanwhile, less what it held before; None where
            that is not more.
    """

    load_ms: float
    first_run_ms: float
    peak_memory_mb: float | None


def cold_start(model: RunnableModel, *, threads: int, gpu: int | None = None) -> ColdStart:
    """Medians of a few starts.

    Raises:
        MeasurementError: the runtime refuses the model, or the process was killed.
    """
    starts = [in_fresh_process(start_here, model, threads, gpu) for _ in range(N_STARTS)]
    memory = [one.peak_memory_mb for one in starts if one.peak_memory_mb is not None]
    return ColdStart(
        statistics.median(one.load_ms for one in starts),
        statistics.median(one.first_run_ms for one in starts),
        statistics.median(memory) if memory else None,
    )


def start_here(model: RunnableModel, threads: int, gpu: int | None) -> ColdStart:
    """One start in this process."""
    import_runtime(model.file.format)  # it is not part of the model
    before_mb = _reset_peak_mb()
    start = time.perf_counter()
    loaded = load(model, threads=threads, gpu=gpu)
    after_load = time.perf_counter()
    loaded.run()
    end = time.perf_counter()
    peak_mb = _memory_mb("VmHWM")
    loaded.close()
    used_mb = peak_mb - before_mb if peak_mb is not None and before_mb is not None else 0.0
    return ColdStart(
        1e3 * (after_load - start),
        1e3 * (end - after_load),
        used_mb if used_mb > 0 else None,  # it held more before, or nothing tells it
    )


def _reset_peak_mb() -> float | None:
    """From where the peak counts: memory held now, which its counter is set back to; where that
    is refused, the peak until now."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return _memory_mb("VmHWM")
    return _memory_mb("VmRSS")


def _memory_mb(field: str) -> float | None:
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{field}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None
