"""What a backend must offer: it turns a workload into raw latency samples, nothing more.

Warm-up, interleaving, stopping and statistics are one loop outside (profiler/measuring/sweep.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from profiler.graph.graph import Graph, chain
from profiler.graph.op import Op, digest_of
from profiler.spaces.base import Tokens
from profiler.spaces.networks import Branching, NetworkSpace, network_ops
from profiler.system.context_manager import Closing
from profiler.system.memory import available_memory_mb

if TYPE_CHECKING:  # annotations only; they bring numpy
    from profiler.models.cold_start import ColdStart
    from profiler.models.file import RunnableModel
    from profiler.models.op_profile import OpShare


@dataclass(frozen=True, slots=True)
class Workload:
    """What is executed as one model: a single op, or a whole network of ops."""

    key: str  # op key, or the written architecture
    ops: tuple[Op, ...]
    network: Graph | None = field(default=None, repr=False)  # where it is no row of its ops

    @property
    def graph(self) -> Graph:
        """The network, or its ops in a row."""
        if self.network is not None:
            return self.network
        return chain([(f"op{index}", op.graph) for index, op in enumerate(self.ops)])

    @property
    def madds(self) -> int:
        return sum(op.graph.madds for op in self.ops)

    @property
    def is_network(self) -> bool:
        return len(self.ops) > 1

    @property
    def weight_bytes(self) -> int:
        return 4 * sum(op.graph.params for op in self.ops)

    @property
    def input_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.ops[0].graph.inputs)

    @property
    def identity(self) -> list[Any]:
        """What tells it from any other workload, as JSON."""
        parts = [self.key, [op.identity for op in self.ops]]
        return parts if self.network is None else [*parts, digest_of(self.network)]

    @property
    def arithmetic_intensity(self) -> float:
        """Multiply-adds per byte of traffic, of the ops together."""
        return self.madds / sum(op.graph.bytes_moved for op in self.ops)


def network_workload(space: NetworkSpace, tokens: Tokens, *, batch_size: int = 1) -> Workload:
    """A whole network of [L] tokens, by its written architecture."""
    ops = network_ops(space, tokens, batch_size=batch_size)
    graph = space.network(tokens, batch_size=batch_size) if isinstance(space, Branching) else None
    return Workload(space.format(tokens), tuple(ops), graph)


@dataclass(frozen=True, slots=True, eq=False)
class ModelWorkload:
    """A model file that its runtime alone has to understand, loaded once more as copy `copy`."""

    model: RunnableModel
    threads: int
    copy: int

    @property
    def is_network(self) -> bool:
        return True

    @property
    def key(self) -> str:
        return f"{self.model.file.path.name} {self.model.digest[:16]}, copy {self.copy}"

    @property
    def weight_bytes(self) -> int:
        return self.model.file.n_bytes

    @property
    def input_bytes(self) -> int:
        return sum(value.nbytes for value in self.model.values.values())

    @property
    def identity(self) -> list[Any]:
        """What tells it from any other workload, as JSON."""
        return [self.model.digest, self.threads, self.copy]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What is fixed while a device is measured; a value that cannot be read is None."""

    spec: str  # as given to --device
    platform: str  # name of the backend
    model: str
    runtime: str
    runtime_version: str
    threads: int
    precision: str  # float32 | int8 | float16 | ...
    batch_size: int
    n_cores: int | None = None
    affinity: tuple[int, ...] | None = None  # cores the work is pinned to
    max_clock_mhz: float | None = None
    os_release: str | None = None
    boot_id: str | None = None
    options: tuple[tuple[str, str], ...] = ()  # other settings that change the numbers


def epoch_of(info: DeviceInfo) -> str:
    """What must stay the same for raw results to be comparable."""
    return f"{info.boot_id or 'unknown boot'} {info.runtime} {info.runtime_version}"


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What drifts; read after each block. None where it cannot be read."""

    load_1min: float | None = None
    steal_pct: float | None = None
    waiting_pct: float | None = None  # wall time the measuring thread was ready but had no core
    cpu_pressure_pct: float | None = None  # PSI some avg10
    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()  # non-empty: the block is discarded and counted
    warnings: tuple[str, ...] = ()  # flags of a block that is kept, e.g. Flag.POWER_CAPPED


class PreparedWorkload(Protocol):
    """A workload compiled and resident on the device."""

    def sample_ms(self, runs: int) -> float:
        """Mean latency in ms of `runs` back-to-back runs: one raw sample.

        Raises:
            MeasurementError: no trustworthy number came back.
        """
        ...

    def close(self) -> None:
        """Free it; harmless when repeated."""
        ...


class Device(Protocol):
    """One device under one configuration, which holds its own lock until `close`."""

    @property
    def info(self) -> DeviceInfo: ...

    @property
    def min_sample_ms(self) -> float:
        """Shortest sample that the device's clock resolves; short runs are batched to it."""
        ...

    @property
    def uses_canary(self) -> bool:
        """Whether each block begins with a canary (not on phones)."""
        ...

    def prepare(self, workload: Workload) -> PreparedWorkload:
        """Build and load the workload.

        Raises:
            MeasurementError: this workload cannot run here.
            DeviceUnavailableError: the device is gone.
        """
        ...

    def state(self) -> DeviceState: ...

    def blockers(self) -> Sequence[str]:
        """Why measuring now would be unsteady; empty when quiescent."""
        ...

    def now(self) -> float:
        """The device's time in seconds, of which differences count."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that time pass, for the device to come to rest."""
        ...

    def free_memory_mb(self) -> float | None:
        """What prepared workloads can still take, in MB; None where nothing bounds them."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Launching(Protocol):
    """A device that can run workloads in a process of the runtime that is new: each places them
    elsewhere in memory, which moves their latencies for as long as they are loaded."""

    def launch(self) -> Device:
        """This device as it is in a new process, until that is closed."""
        ...


class ModelDevice(Device, Protocol):
    """A device that also runs the model files of a user."""

    def prepare_model(self, workload: ModelWorkload) -> PreparedWorkload:
        """Load the file.

        Raises:
            MeasurementError: the runtime refuses it, in its own words.
            DeviceUnavailableError: the device is gone.
        """
        ...

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        """What its first use costs. Raises as `prepare_model`."""
        ...

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        """Where its time goes, from runs apart.

        Raises:
            MeasurementError: the runtime does not tell.
            DeviceUnavailableError: the device is gone.
        """
        ...


class DeviceBase(Closing):
    """For devices in real time, whose workloads lie in this computer's memory.

    Attributes:
        say: tells who watches why nothing happens; the sweep sets it.
    """

    say: Callable[[str], None] = staticmethod(lambda text: None)

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def free_memory_mb(self) -> float | None:
        return available_memory_mb()
