"""What TorchQueue calls of torch.cuda, with its state: current device and stream, pools, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch


class SimulatedStream:
    def __init__(self, device: int) -> None:
        self.device = device

    def wait_stream(self, other: SimulatedStream) -> None:
        assert other.device == self.device


class Graph:
    """Belongs to a pool from its capture until it is deleted, as the allocator counts."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.pool = cuda, None
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1

    def __del__(self) -> None:
        if self.pool is not None:
            self.cuda.use_counts[self.pool] -= 1


class Event:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.stream: SimulatedStream | None = None

    def record(self, stream: SimulatedStream | None = None) -> None:
        self.cuda.may_fail("record")
        self.stream = stream or self.cuda.current_stream()

    def elapsed_time(self, end: Event) -> float:
        self.cuda.may_fail("elapsed_time")
        return 1.5


class Cuda:
    """`errors` by the name of the function that raises them."""

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.capability = capability
        self.errors: dict[str, Exception] = {}
        self.device_index = 0
        self.streams = [SimulatedStream(0), SimulatedStream(1)]  # current, by device
        self.synchronized: list[int] = []
        self.pools: list[Any] = []  # of every capture
        self.capture_streams: list[SimulatedStream] = []
        self.use_counts: Counter[Any] = Counter()
        self.recording: set[Any] = set()

    def may_fail(self, name: str) -> None:
        if name in self.errors:
            raise self.errors[name]

    def device_count(self) -> int:
        return 2

    def get_device_properties(self, index: int) -> SimpleNamespace:
        major, minor = self.capability
        return SimpleNamespace(
            name="Simulated GPU", uuid="simulated", L2_cache_size=1 << 20, major=major, minor=minor
        )

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.device_index = self.device_index, device.index
        try:
            yield
        finally:
            self.device_index = before

    def current_stream(self, device: torch.device | None = None) -> SimulatedStream:
        return self.streams[self.device_index if device is None else device.index]

    def _set(self, stream: SimulatedStream) -> SimulatedStream:
        before = self.streams[stream.device]
        self.streams[stream.device] = stream
        return before

    @contextmanager
    def stream(self, stream: SimulatedStream) -> Iterator[None]:
        before = self._set(stream)
        try:
            yield
        finally:
            self._set(before)

    def Stream(self) -> SimulatedStream:  # noqa: N802 - torch's name
        return SimulatedStream(self.device_index)

    def CUDAGraph(self) -> Graph:  # noqa: N802 - torch's name
        return Graph(self)

    def Event(self, *, enable_timing: bool) -> Event:  # noqa: N802 - torch's name
        assert enable_timing
        self.may_fail("Event")
        return Event(self)

    def graph_pool_handle(self) -> object:
        return object()

    @contextmanager
    def graph(self, graph: Graph, *, pool: Any, stream: SimulatedStream) -> Iterator[None]:
        """As torch's: if the end of a capture fails, its stream stays and its pool is recorded."""
        before = self._set(stream)
        assert pool not in self.recording, "already recording to mempool_id"
        if pool in self.use_counts:
            assert self.use_counts[pool] > 0, "use_count > 0 INTERNAL ASSERT FAILED"
        self.use_counts[pool] += 1
        graph.pool = pool
        self.pools.append(pool)
        self.capture_streams.append(stream)
        try:
            yield
        finally:
            if "capture_end" in self.errors:
                self.recording.add(pool)
                raise self.errors["capture_end"]
            self._set(before)

    def synchronize(self, device: torch.device | None = None) -> None:
        self.may_fail("synchronize")
        self.synchronized.append(self.device_index if device is None else device.index)

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return (device.index + 1) * 10**9, 8 * 10**9

    def empty_cache(self) -> None:
        self.may_fail("empty_cache")


class Buffer:
    def __init__(self) -> None:
        self.n_writes = 0

    def zero_(self) -> None:
        self.n_writes += 1


class SimulatedTorch(SimpleNamespace):
    """Stands for the module; what needs no GPU is torch's own."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(
            cuda=cuda,
            device=torch.device,
            float32=torch.float32,
            int8=torch.int8,
            contiguous_format=torch.contiguous_format,
            backends=torch.backends,
            version=SimpleNamespace(cuda="13.0"),
            __version__="2.13",
        )
        self.buffers: list[tuple[int, torch.device, Buffer]] = []

    def empty(self, n_bytes: int, *, dtype: torch.dtype, device: torch.device) -> Buffer:
        self.cuda.may_fail("empty")
        buffer = Buffer()
        self.buffers.append((n_bytes, device, buffer))
        return buffer
