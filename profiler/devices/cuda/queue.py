"""The default stream of one NVIDIA GPU, through torch: models, graphs, events."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from profiler.devices.base import Workload
from profiler.devices.seeded import seeded_image, seeded_module
from profiler.errors import (
    DeviceUnavailableError,
    InvalidInputError,
    MeasurementError,
    PnagError,
)
from profiler.extras import require

if TYPE_CHECKING:
    import torch

Launch = Callable[[], Any]

WARM_RUNS = 3  # libraries load kernels and allocate workspaces
FLUSH_BYTES = 256 << 20  # at least
FLUSHES = 2  # they also keep the GPU busy while the host queues a whole network's graph
L2_MULTIPLE = 4
TF32_SINCE = (8, 0)  # compute capability; older GPUs compute float32 instead and do not say so
NO_MEMORY = ("out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")  # of CUDA, cuBLAS, cuDNN
PRECISIONS = ("float32", "tf32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Gpu:
    """What is fixed about a GPU and the software on it."""

    name: str
    uuid: str
    runtime_version: str  # torch, CUDA, cuDNN


class Event(Protocol):
    """A time stamp that the GPU takes when it reaches it."""

    def record(self) -> None: ...

    def elapsed_ms(self, end: Self) -> float:
        """From this to a later event, both reached."""
        ...


class GpuQueue(Protocol):
    """Work is queued in order and done later; only `synchronize` waits for it.

    Raises (any method):
        MeasurementError: this workload does not run here.
        DeviceUnavailableError: the GPU is lost to this process.
    """

    @property
    def gpu(self) -> Gpu: ...

    def load(self, workload: Workload) -> Launch:
        """The workload on the GPU; each call queues one eager run."""
        ...

    def capture(self, launch: Launch, runs: int) -> Launch:
        """`runs` runs as one CUDA graph; each call queues one replay."""
        ...

    def event(self) -> Event: ...

    def flush_l2(self) -> None:
        """Queue writes of more than the L2 cache holds."""
        ...

    def free_mb(self) -> float:
        """Memory of the GPU that nobody holds, in MB."""
        ...

    def synchronize(self) -> None: ...

    def release(self) -> None:
        """Return the memory of workloads that are gone."""
        ...

    def close(self) -> None: ...


class TorchQueue:
    """GPU `index` of torch.cuda. Switches of torch that change kernels are set, and restored.

    torch's current device stays what it was, since others may be open in this process: whatever
    depends on it is told the GPU or the stream.

    Raises:
        InvalidInputError: a precision that the GPU does not have.
        DeviceUnavailableError: torch cannot use the GPU.
    """

    def __init__(self, index: int, *, precision: str, channels_last: bool) -> None:
        self._torch = torch = usable_torch()
        if index >= torch.cuda.device_count():
            raise DeviceUnavailableError(
                f"no GPU {index}: CUDA shows {torch.cuda.device_count()} (pnag devices lists them)"
            )
        self._device = torch.device("cuda", index)
        self._dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.gpu = describe_gpu(index)
        with _unavailable(f"GPU {index} cannot be opened"):
            torch.cuda.synchronize(self._device)  # a full or exclusive GPU refuses a context here
            properties = torch.cuda.get_device_properties(index)
        if precision == "tf32" and (properties.major, properties.minor) < TF32_SINCE:
            raise InvalidInputError(
                f"precision tf32 needs compute capability 8.0; {self.gpu.name} has "
                f"{properties.major}.{properties.minor}"
            )
        l2_bytes = int(getattr(properties, "L2_cache_size", 0))
        self._flush_bytes = max(FLUSH_BYTES, L2_MULTIPLE * l2_bytes)
        self._flushed: Any = None
        self._captures: _Captures | None = None
        self._switches = _set_switches(torch, tf32=precision == "tf32")

    def load(self, workload: Workload) -> Launch:
        inference_mode = self._torch.inference_mode
        with cuda_errors(workload.key):
            built, image = build(workload)
            module: Any = built  # its stubs lack memory_format
            module = module.to(self._device, self._dtype, memory_format=self._format)
            resident = image.to(self._device, self._dtype, memory_format=self._format)

        def run() -> Any:
            with inference_mode():
                return module(resident)

        launch = _guarded(run, workload.key)
        for _ in range(WARM_RUNS):
            launch()
        self.synchronize()
        return launch

    def capture(self, launch: Launch, runs: int) -> Launch:
        cuda, what = self._torch.cuda, f"a graph of {runs} runs"
        with (
            cuda_errors(what),
            cuda.device(self._device),
            cuda.stream(cuda.current_stream()),  # which torch does not restore after a failure
        ):
            graph = self._captured(launch, runs)
        return _guarded(graph.replay, what)

    def _captured(self, launch: Launch, runs: int) -> Any:
        cuda = self._torch.cuda
        # Kept after a success only: for torch a capture that failed still records to its pool.
        captures, self._captures = self._captures or _Captures.begin(cuda), None
        graph, side = cuda.CUDAGraph(), captures.stream
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):  # workspaces belong to a stream
            for _ in range(WARM_RUNS):
                launch()
        cuda.current_stream().wait_stream(side)
        cuda.synchronize()
        try:
            with cuda.graph(graph, pool=captures.pool, stream=side):
                for _ in range(runs):
                    launch()
        except RuntimeError as error:  # the end of a capture fails as well after a run that did
            if isinstance(error.__context__, PnagError):
                raise error.__context__ from None
            raise
        self._captures = captures
        return graph

    def event(self) -> TorchEvent:
        cuda = self._torch.cuda
        try:
            return TorchEvent(cuda.Event(enable_timing=True), cuda.current_stream(self._device))
        except RuntimeError as error:
            raise as_ours(error, "the timing") from None

    def flush_l2(self) -> None:
        with cuda_errors("the flush of the L2 cache"):
            if self._flushed is None:
                self._flushed = self._torch.empty(
                    self._flush_bytes, dtype=self._torch.int8, device=self._device
                )
            for _ in range(FLUSHES):
                self._flushed.zero_()

    def synchronize(self) -> None:
        with cuda_errors("the queued work"):
            self._torch.cuda.synchronize(self._device)

    def free_mb(self) -> float:
        with cuda_errors("the query for free memory"):
            free_bytes, _ = self._torch.cuda.mem_get_info(self._device)
        return float(free_bytes) / 1e6

    def release(self) -> None:
        with suppress(RuntimeError):  # a lost GPU fails again, and the first error says why
            self._torch.cuda.empty_cache()

    def close(self) -> None:
        self._flushed = self._captures = None
        self._switches()
        self.release()


@dataclass(frozen=True, slots=True)
class _Captures:
    """One stream and one pool of memory for all graphs of a queue, instead of a pool for each.

    Graphs of one pool overwrite each other's memory. That is safe here: replays follow each
    other on one stream, nobody reads their outputs, and weights and inputs were allocated
    outside the pool. Memory of a pool is reused only on the stream that it was captured on.
    """

    stream: Any
    pool: Any
    anchor: Any  # a graph of nothing: torch refuses a pool all of whose graphs are gone

    @classmethod
    def begin(cls, cuda: Any) -> _Captures:
        stream, pool, anchor = cuda.Stream(), cuda.graph_pool_handle(), cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that it is empty
            with cuda.graph(anchor, pool=pool, stream=stream):
                pass
        return cls(stream, pool, anchor)


@dataclass(frozen=True, slots=True)
class TorchEvent:
    event: Any
    stream: Any  # else it would be that of the current device

    def record(self) -> None:
        try:
            self.event.record(self.stream)
        except RuntimeError as error:
            raise as_ours(error, "the timing") from None

    def elapsed_ms(self, end: TorchEvent) -> float:
        with cuda_errors("the timing"):
            return float(self.event.elapsed_time(end.event))


def usable_torch() -> Any:
    """torch with a CUDA runtime and a GPU that it can use.

    Raises:
        DeviceUnavailableError: says what is missing.
    """
    require("torch", "a GPU", DeviceUnavailableError)
    import torch

    if torch.version.cuda is None:
        raise DeviceUnavailableError(
            f"torch {torch.__version__} is built without CUDA; install one with it (pytorch.org)"
        )
    if not torch.cuda.is_available():
        raise DeviceUnavailableError(
            f"torch {torch.__version__} finds no usable GPU; check nvidia-smi and "
            "CUDA_VISIBLE_DEVICES"
        )
    return torch


def describe_gpu(index: int) -> Gpu:
    """GPU `index` in CUDA's order.

    Raises:
        DeviceUnavailableError: torch is too old to say which GPU it uses, or does not support it.
    """
    torch = usable_torch()
    with _unavailable(f"torch {torch.__version__} cannot use GPU {index}"):
        properties = torch.cuda.get_device_properties(index)
        cudnn = torch.backends.cudnn.version()  # refuses GPUs that it has no kernels for
    uuid = getattr(properties, "uuid", None)
    if uuid is None:
        raise DeviceUnavailableError(
            f"torch {torch.__version__} does not tell a GPU's UUID; install a newer one"
        )
    version = f"{torch.__version__} CUDA {torch.version.cuda} cuDNN {cudnn}"
    return Gpu(str(properties.name), f"GPU-{uuid}", version)


def build(workload: Workload) -> tuple[torch.nn.Module, torch.Tensor]:
    """The workload as a module in inference mode, BatchNorm folded, and its input [n, c, h, w]."""
    import torch

    from profiler.graph.to_torch import folded

    return folded(seeded_module(workload)), torch.from_numpy(seeded_image(workload))


@contextmanager
def cuda_errors(what: str) -> Iterator[None]:
    """Errors of torch within the block as ours."""
    try:
        yield
    except RuntimeError as error:
        raise as_ours(error, what) from None


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Errors of torch within the block, before there is anything to measure."""
    import torch

    try:
        yield
    except (RuntimeError, torch.cuda.DeferredCudaCallError) as error:
        raise DeviceUnavailableError(f"{what}: {_first_line(error)}") from None


def _guarded(action: Launch, what: str) -> Launch:
    """The action with its errors as ours; unlike a context it costs the host no time."""

    def guarded() -> Any:
        try:
            return action()
        except RuntimeError as error:
            raise as_ours(error, what) from None

    return guarded


def as_ours(error: RuntimeError, what: str) -> PnagError:
    """After an error of CUDA itself the process has lost the GPU for good.

    Not so after lack of memory, which libraries report in words of their own, an error of
    cuBLAS, or one of a capture: those end what was asked, and nothing else.
    """
    import torch

    first = _first_line(error)
    no_memory = isinstance(error, torch.cuda.OutOfMemoryError)  # its name in torch 2.4 as well
    if no_memory or any(mark in first for mark in NO_MEMORY):
        return MeasurementError(
            f"{what} does not fit into GPU memory: {first}", reason="out_of_memory"
        )
    spares_the_gpu = "CUDA error: CUBLAS" in first or "captur" in first
    if "CUDA error" in first and not spares_the_gpu:
        return DeviceUnavailableError(f"the GPU stopped at {what} ({first}); go on with --resume")
    return MeasurementError(f"torch cannot run {what}: {first}", reason="run_failed")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _set_switches(torch: Any, *, tf32: bool) -> Callable[[], None]:
    """Choose the kernels' arithmetic; the result restores what was set before."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    # Since torch 2.9 the older flags cannot even be read once somebody has set the newer ones.
    switches: list[tuple[Any, str, Any]]
    if hasattr(cudnn, "conv"):
        precision = "tf32" if tf32 else "ieee"
        switches = [(owner, "fp32_precision", precision) for owner in (cudnn.conv, matmul)]
    else:
        switches = [(owner, "allow_tf32", tf32) for owner in (cudnn, matmul)]
    # cuDNN's own timing would choose other kernels in every run
    switches.append((cudnn, "benchmark", False))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in switches]

    def apply(values: list[tuple[Any, str, Any]]) -> None:
        for owner, name, value in values:
            setattr(owner, name, value)

    apply(switches)
    return lambda: apply(before)
