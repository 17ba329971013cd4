"""The two official benchmark tools: what each must know, how it is told where to run, how it is
read. Which of them a program is, its own list of flags says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from profiler.devices.android.benchmark_lines import BenchmarkTimings
from profiler.devices.android.benchmark_output import parse_benchmark_output
from profiler.devices.android.compiled_output import parse_compiled_output
from profiler.devices.android.options import Delegate
from profiler.errors import InvalidInputError

_SHARED = frozenset({"graph", "num_runs", "min_secs", "warmup_runs", "num_threads"})
_SHARED_OPTIONAL = frozenset({
    "warmup_min_secs", "max_secs", "result_file_path", "require_full_delegation",
})  # fmt: skip


class Parse(Protocol):
    def __call__(
        self, text: str, *, runs: int, delegate: str, require_full_delegation: bool
    ) -> BenchmarkTimings: ...


@dataclass(frozen=True, slots=True)
class BenchmarkTool:
    """One program.

    Attributes:
        runtime: its name in tables.
        needs: flags without which it is not used.
        knows: flags that are used where it has them.
        delegates: flags that put the model there, by delegate.
        full_delegation: delegates that it can itself hold to running the whole model.
    """

    runtime: str
    needs: frozenset[str]
    knows: frozenset[str]
    delegates: Mapping[Delegate, Mapping[str, str]] = field(hash=False)
    full_delegation: frozenset[Delegate]
    parse: Parse

    def flags(self, delegate: Delegate, known: frozenset[str], *, partial: bool) -> dict[str, str]:
        """How it is told to run in a delegate; `partial` allows what is left to the CPU.

        Raises:
            InvalidInputError: the tool, or this build of it, does not have this delegate.
        """
        wanted = dict(self.delegates.get(delegate, {}))
        missing = sorted(name for name, value in wanted.items() if value == "true")
        missing = [name for name in missing if name not in known]
        if not wanted or missing:
            which = f" (no --{missing[0]})" if missing else ""
            raise InvalidInputError(f"this {self.runtime} has no delegate {delegate}{which}")
        if not partial and delegate in self.full_delegation:
            wanted["require_full_delegation"] = "true"
        elif delegate == "gpu" and "use_cpu" in wanted:
            wanted["use_cpu"] = "true"
        return wanted


CLASSIC = BenchmarkTool(
    runtime="benchmark_model",
    needs=_SHARED | {"use_xnnpack"},
    knows=_SHARED_OPTIONAL
    | {
        "enable_op_profiling", "op_profiling_output_mode", "op_profiling_output_file",
        "profiling_output_csv_file", "input_layer", "input_layer_shape", "use_gpu", "use_nnapi",
    },
    delegates={
        "cpu": {"use_xnnpack": "true"},
        "gpu": {"use_gpu": "true", "use_xnnpack": "false"},
        "nnapi": {"use_nnapi": "true", "use_xnnpack": "false"},
    },
    full_delegation=frozenset({"cpu", "gpu", "nnapi"}),
    parse=parse_benchmark_output,
)  # fmt: skip

# gpu_low_priority: builds without it ignore --num_threads; result_file_path: the only other place
# with all digits of the mean
COMPILED = BenchmarkTool(
    runtime="LiteRT CompiledModel benchmark_model",
    needs=_SHARED | {"use_cpu", "use_gpu", "result_file_path", "gpu_low_priority"},
    knows=_SHARED_OPTIONAL | {"allow_fp16"},
    delegates={
        "cpu": {"use_cpu": "true", "use_gpu": "false"},
        "gpu": {"use_cpu": "false", "use_gpu": "true"},
    },
    full_delegation=frozenset({"gpu"}),  # asking it of the CPU aborts the program
    parse=parse_compiled_output,
)


def recognised(flags: frozenset[str]) -> BenchmarkTool:
    """The tool that has these flags, perhaps not all that it needs."""
    return COMPILED if "use_cpu" in flags and "use_xnnpack" not in flags else CLASSIC
