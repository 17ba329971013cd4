"""LiteRT's own profiler, by its C library: the interpreter for Python offers none.

Handles are opaque, and what comes back is the text that `benchmark_model` prints too, so that
no layout of a C struct is assumed. API: google-ai-edge/LiteRT, litert/c/litert_compiled_model.h,
litert_profiler.h and litert_opaque_options.h.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_size_t, c_void_p
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.graph.litert import library_file
from profiler.numerals import WHOLE

_CPU = 1  # LiteRtHwAccelerators
_WRITE = 1  # LiteRtTensorBufferLockMode
_TENSOR_TYPE_BYTES = 256  # more than a LiteRtRankedTensorType; only handed on
_KEEP = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)  # options' texts are Python's

_NUMBER = rf"{WHOLE}(?:\.[0-9]+)?"  # always finite
_ROW = re.compile(
    rf"\s*(?P<kind>\S.*?)\s+{_NUMBER}\s+{_NUMBER}\s+(?P<avg_ms>{_NUMBER})\s+{_NUMBER}%\s+"
    rf"{_NUMBER}%\s+{_NUMBER}\s+(?P<calls>{WHOLE})\s+(?P<name>\S.*)"
)


@dataclass(frozen=True, slots=True)
class ProfiledOp:
    """Time in ms and calls of one op; those that XNNPACK runs have its names."""

    name: str
    kind: str
    ms: float
    calls: float


class ProfiledModel:
    """A TFLite file at its own shapes, compiled for the CPU with its profiler.

    Args:
        values: of the inputs, in the file's order.

    Raises:
        DeviceUnavailableError: no such library.
        MeasurementError: it refuses the file or a call.
    """

    def __init__(self, path: Path, values: Sequence[NDArray[Any]], *, threads: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library_file()))
        except OSError as error:
            raise DeviceUnavailableError(f"LiteRT's C library does not load: {error}") from None
        self._texts: list[Any] = []
        environment = self._made("LiteRtCreateEnvironment", 0, None)
        model = self._made("LiteRtCreateModelFromFile", environment, str(path).encode())
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add_option(options, b"xnnpack", f"num_threads = {threads}\n")
        self._add_option(options, b"runtime_options_string", "enable_profiling = true\n")
        self._model = self._made("LiteRtCreateCompiledModel", environment, model, options)
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._model)
        signature = self._made("LiteRtGetModelSignature", model, c_size_t(0))
        self._inputs = self._buffers(environment, signature, "Input")
        self._outputs = self._buffers(environment, signature, "Output")
        for buffer, value in zip(self._inputs, values, strict=True):
            self._fill(c_void_p(buffer), value)

    def profile(self, runs: int) -> tuple[ProfiledOp, ...]:
        """Ops in order of execution, by their means over `runs` runs after a first one.

        To be called once: the library goes on adding up what it has summarised.

        Raises:
            MeasurementError: a run failed, or the profile cannot be read.
        """
        self._run()
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        for _ in range(runs):
            self._run()
        self._call("LiteRtStopProfiler", self._profiler)
        summary = c_char_p()
        self._call("LiteRtGetProfileSummary", self._profiler, self._model, byref(summary))
        ops = parse_summary((summary.value or b"").decode(errors="replace"))
        return tuple(replace(op, ms=op.ms / runs, calls=op.calls / runs) for op in ops)

    def _run(self) -> None:
        self._call(
            "LiteRtRunCompiledModel", self._model, c_size_t(0),
            c_size_t(len(self._inputs)), self._inputs, c_size_t(len(self._outputs)), self._outputs,
        )  # fmt: skip

    def _buffers(self, environment: c_void_p, signature: c_void_p, side: str) -> Any:
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, byref(count))
        buffers = (c_void_p * count.value)()
        for index in range(count.value):
            at = c_size_t(index)
            tensor = self._made(f"LiteRtGetSignature{side}TensorByIndex", signature, at)
            kind = ctypes.create_string_buffer(_TENSOR_TYPE_BYTES)
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self._made(
                f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, c_size_t(0), at
            )
            buffers[index] = self._made(
                "LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, needs
            ).value
        return buffers

    def _fill(self, buffer: c_void_p, value: NDArray[Any]) -> None:
        size, content = c_size_t(), np.ascontiguousarray(value)
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        if size.value != content.nbytes:
            raise MeasurementError(
                "LiteRT's profiler runs a file at its own shapes only", reason="missing_profile"
            )
        address = c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer, byref(address), _WRITE)
        ctypes.memmove(address, content.ctypes.data, content.nbytes)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def _add_option(self, options: c_void_p, identifier: bytes, text: str) -> None:
        payload = ctypes.create_string_buffer(text.encode())
        self._texts.append(payload)
        option = self._made("LiteRtCreateOpaqueOptions", identifier, payload, _KEEP)
        self._call("LiteRtAddOpaqueOptions", options, option)

    def _made(self, function: str, *arguments: Any) -> c_void_p:
        """The handle that a function returns through its last argument."""
        handle = c_void_p()
        self._call(function, *arguments, byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError:
            raise MeasurementError(
                f"this LiteRT has no {function}", reason="missing_profile"
            ) from None
        if status:
            raise MeasurementError(
                f"LiteRT: {function} failed with status {status}", reason="missing_profile"
            )


def parse_summary(text: str) -> tuple[ProfiledOp, ...]:
    """Ops of the table in run order.

    Raises:
        MeasurementError: there is none, or rows of it are missing.
    """
    lines = iter(text.splitlines())
    if not any(re.fullmatch(r"=+ Run Order =+", line) for line in lines):
        raise MeasurementError("LiteRT's profile has no table", reason="missing_profile")
    next(lines, "")  # the header
    ops = []
    for line in lines:
        row = _ROW.fullmatch(line)
        if row is None:
            break
        ops.append(
            ProfiledOp(
                row["name"], row["kind"].removeprefix("Delegate/"),
                float(row["avg_ms"]) * int(row["calls"]), int(row["calls"]),
            )
        )  # fmt: skip
    executed = re.search(rf"^Number of nodes executed: ({WHOLE})$", text, re.MULTILINE)
    if executed is None or int(executed[1]) != len(ops):
        raise MeasurementError("LiteRT's profile cannot be read", reason="garbled_profile")
    return tuple(ops)
