"""The default stream of one NVIDIA GPU, through torch: models, graphs, events."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from profiler.devices.base import Workload
from profiler.errors import DeviceUnavailableError, MeasurementError, PnagError

if TYPE_CHECKING:
    import torch

Launch = Callable[[], Any]

WARM_RUNS = 3  # libraries load kernels and allocate workspaces
FLUSH_BYTES = 256 << 20  # at least; also keeps the GPU busy while the host queues what follows
L2_MULTIPLE = 4
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
        """Queue a write of more than the L2 cache holds."""
        ...

    def synchronize(self) -> None: ...

    def release(self) -> None:
        """Return the memory of workloads that are gone."""
        ...

    def close(self) -> None: ...


class TorchQueue:
    """GPU `index` of torch.cuda. Switches of torch that change kernels are set, and restored.

    Raises:
        DeviceUnavailableError: torch cannot use the GPU.
    """

    def __init__(self, index: int, *, precision: str, channels_last: bool) -> None:
        self._torch = torch = usable_torch()
        if index >= torch.cuda.device_count():
            raise DeviceUnavailableError(
                f"no GPU {index}: CUDA shows {torch.cuda.device_count()} (pnag devices lists them)"
            )
        self._device = torch.device("cuda", index)
        torch.cuda.set_device(self._device)
        self._dtype = getattr(torch, "float32" if precision == "tf32" else precision)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.gpu = describe_gpu(index)
        l2_bytes = int(getattr(torch.cuda.get_device_properties(index), "L2_cache_size", 0))
        self._flush_bytes = max(FLUSH_BYTES, L2_MULTIPLE * l2_bytes)
        self._flushed: Any = None
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
        with cuda_errors(what):
            graph, side = cuda.CUDAGraph(), cuda.Stream()
            side.wait_stream(cuda.current_stream())
            with cuda.stream(side):  # workspaces belong to a stream
                for _ in range(WARM_RUNS):
                    launch()
            cuda.current_stream().wait_stream(side)
            cuda.synchronize()
            with cuda.graph(graph, stream=side):
                for _ in range(runs):
                    launch()
        return _guarded(graph.replay, what)

    def event(self) -> TorchEvent:
        return TorchEvent(self._torch.cuda.Event(enable_timing=True))

    def flush_l2(self) -> None:
        if self._flushed is None:
            self._flushed = self._torch.empty(
                self._flush_bytes, dtype=self._torch.int8, device=self._device
            )
        self._flushed.zero_()

    def synchronize(self) -> None:
        with cuda_errors("the queued work"):
            self._torch.cuda.synchronize()

    def release(self) -> None:
        self._torch.cuda.empty_cache()

    def close(self) -> None:
        self._flushed = None
        self._switches()
        self.release()


@dataclass(frozen=True, slots=True)
class TorchEvent:
    event: Any

    def record(self) -> None:
        self.event.record()

    def elapsed_ms(self, end: TorchEvent) -> float:
        return float(self.event.elapsed_time(end.event))


def usable_torch() -> Any:
    """torch with a CUDA runtime and a GPU that it can use.

    Raises:
        DeviceUnavailableError: says what is missing.
    """
    try:
        import torch
    except ImportError:
        raise DeviceUnavailableError("torch is not installed: pip install torch") from None
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
        DeviceUnavailableError: torch is too old to say which GPU it uses.
    """
    torch = usable_torch()
    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)
    if uuid is None:
        raise DeviceUnavailableError(
            f"torch {torch.__version__} does not tell a GPU's UUID; install a newer one"
        )
    version = (
        f"{torch.__version__} CUDA {torch.version.cuda} cuDNN {torch.backends.cudnn.version()}"
    )
    return Gpu(str(properties.name), f"GPU-{uuid}", version)


def build(workload: Workload) -> tuple[torch.nn.Module, torch.Tensor]:
    """The workload as a module in inference mode, BatchNorm folded, and its input [n, c, h, w].

    The key seeds weights and input: the same workload is the same model in every run.
    """
    import torch

    from profiler.network import op_module, randomise_

    seed = zlib.crc32(workload.key.encode())
    network = randomise_(torch.nn.Sequential(*map(op_module, workload.ops)), seed=seed)
    first = workload.ops[0]
    shape = (first.batch_size, first.in_channels, first.height_px, first.width_px)
    image = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return fold_batch_norm_(network), torch.from_numpy(image)


def fold_batch_norm_(network: torch.nn.Module) -> torch.nn.Module:
    """Merge every BatchNorm into the convolution before it, in place."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for layer in network.modules():
        conv, norm = getattr(layer, "conv", None), getattr(layer, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layer.conv, layer.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network


@contextmanager
def cuda_errors(what: str) -> Iterator[None]:
    """Errors of torch within the block as ours."""
    try:
        yield
    except RuntimeError as error:
        raise as_ours(error, what) from None


def _guarded(action: Launch, what: str) -> Launch:
    """The action with its errors as ours; unlike a context it costs the host no time."""

    def guarded() -> Any:
        try:
            return action()
        except RuntimeError as error:
            raise as_ours(error, what) from None

    return guarded


def as_ours(error: RuntimeError, what: str) -> PnagError:
    """After an error of CUDA itself the process has lost the GPU for good."""
    import torch

    first = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):
        return MeasurementError(
            f"{what} does not fit into GPU memory: {first}", reason="out_of_memory"
        )
    if "CUDA error" in first:
        return DeviceUnavailableError(f"the GPU stopped at {what} ({first}); go on with --resume")
    return MeasurementError(f"torch cannot run {what}: {first}", reason="run_failed")


def _set_switches(torch: Any, *, tf32: bool) -> Callable[[], None]:
    """Choose the kernels' arithmetic; the result restores what was set before."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark

    def apply(conv_tf32: bool, matmul_tf32: bool, benchmark: bool) -> None:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = conv_tf32, matmul_tf32, benchmark

    apply(tf32, tf32, False)  # cuDNN's own timing would choose other kernels in every run
    return lambda: apply(*before)
