"""Devices of other computers, as one fleet: the only module that imports ray.

A node of a Ray cluster offers a device as a custom resource of that name, e.g.
`ray start --address=HEAD:6379 --resources='{"adb:FA6AB0301534": 1}'`. The sweep stays with the
user's process, and its journal too; each sample is one remote call. Ray starts the device's host
on a node that offers it, and again on another one when a node is lost, and repeats the call that
was under way: nothing but that call is lost. A phone is the same one there; of what is a part of
its computer, such as `cpu`, that one is another, and the sweep ends.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from profiler.devices.base import (
    Device,
    DeviceBase,
    DeviceInfo,
    DeviceState,
    PreparedWorkload,
    Workload,
    epoch_of,
)
from profiler.devices.registry import open_device
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError, PnagError
from profiler.extras import require
from profiler.numerals import port_number
from profiler.printable import shown
from profiler.system.lock import device_lock
from profiler.system.user_files import read_bytes

CALL_TIMEOUT_S = 900.0  # for one call, with the search for another node
HANDOVER_S = 30.0  # in which the host on a lost node dies and lets go of the device


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the device, as plain values: it crosses processes."""

    kind: type[PnagError]
    message: str
    reason: str = ""
    transient: bool = False

    @classmethod
    def of(cls, error: PnagError) -> Self:
        if isinstance(error, MeasurementError):
            return cls(MeasurementError, str(error), error.reason, error.transient)
        refused = isinstance(error, InvalidInputError)
        return cls(InvalidInputError if refused else DeviceUnavailableError, str(error))

    def raise_(self) -> None:
        if self.kind is MeasurementError:
            raise MeasurementError(self.message, reason=self.reason, transient=self.transient)
        raise self.kind(self.message)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device answered, and which one it was."""

    info: DeviceInfo
    value: Any


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of the user's computer, for a device that is opened on another."""

    name: str
    content: bytes

    def unpacked(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content)
        return path


class DeviceHost:
    """Lives on the node that offers the device; opens it, and prepares workloads, when asked.

    Every answer may be asked for again after a restart elsewhere, so that nothing is assumed of
    earlier calls.
    """

    def __init__(self, spec: str, options: dict[str, Any]) -> None:
        self._spec, self._options = spec, options
        self._device: Device | None = None
        self._prepared: dict[int, PreparedWorkload] = {}

    def describe(self) -> Answer | Failure:
        return self._answer(lambda device: (device.min_sample_ms, device.uses_canary))

    def prepare(self, handle: int, workload: Workload) -> Answer | Failure:
        return self._answer(lambda device: bool(self._workload(device, handle, workload)))

    def sample_ms(self, handle: int, workload: Workload, runs: int) -> Answer | Failure:
        return self._answer(lambda device: self._workload(device, handle, workload).sample_ms(runs))

    def release(self, handle: int) -> Answer | Failure:
        def drop(_: Device) -> bool:
            prepared = self._prepared.pop(handle, None)
            if prepared is not None:
                prepared.close()
            return prepared is not None

        return self._answer(drop)

    def state(self) -> Answer | Failure:
        return self._answer(lambda device: device.state())

    def blockers(self) -> Answer | Failure:
        return self._answer(lambda device: list(device.blockers()))

    def free_memory_mb(self) -> Answer | Failure:
        return self._answer(lambda device: device.free_memory_mb())

    def close(self) -> Answer | Failure | None:
        return None if self._device is None else self._answer(lambda device: device.close())

    def _answer(self, ask: Callable[[Device], object]) -> Answer | Failure:
        try:
            device = self._open()
            return Answer(device.info, ask(device))
        except PnagError as error:
            return Failure.of(error)

    def _workload(self, device: Device, handle: int, workload: Workload) -> PreparedWorkload:
        if handle not in self._prepared:
            self._prepared[handle] = device.prepare(workload)
        return self._prepared[handle]

    def _open(self) -> Device:
        import ray

        taken_over = ray.get_runtime_context().was_current_actor_reconstructed
        deadline = time.monotonic() + (HANDOVER_S if taken_over else 0.0)
        while self._device is None:
            try:
                self._device = self._try_open()
            except DeviceUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        return self._device

    def _try_open(self) -> Device:
        with tempfile.TemporaryDirectory(prefix="pnag-") as folder:
            options: dict[str, Any] = {
                name: value.unpacked(Path(folder)) if isinstance(value, SentFile) else value
                for name, value in self._options.items()
            }
            return open_device(self._spec, **options)


class FleetDevice(DeviceBase):
    """A device of the fleet; to the sweep it is a device like any other.

    Args:
        address: of the Ray cluster: `HOST:PORT`, `ray://HOST:PORT` or `auto`.
        spec: the device's spec, which is also the name of its Ray resource.
        options: those of `open_device`; files that they name are sent along.

    Raises:
        DeviceUnavailableError: ray is not installed, no such cluster, no node offers it, or
            another process of this computer measures on it.
    """

    def __init__(self, address: str, spec: str, **options: Any) -> None:
        self._ray = connect(address)
        self._spec, self._handles = spec, count()
        self._require_offered(address)
        sent = {
            name: SentFile(value.name, read_bytes(value)) if isinstance(value, Path) else value
            for name, value in options.items()
        }
        actor = self._ray.remote(DeviceHost).options(
            num_cpus=0, resources={spec: 1}, max_restarts=-1, max_task_retries=-1
        )
        with ExitStack() as undo:  # on its own computer the device holds its own lock
            undo.enter_context(device_lock(f"fleet {address} {spec}"))
            self._host = actor.remote(spec, sent)
            undo.callback(self._ray.kill, self._host)
            described = self._call("describe")
            self.info = described.info
            self.min_sample_ms, self.uses_canary = described.value
            self._undo = undo.pop_all()

    def ask(self, method: str, *arguments: object) -> Any:
        """Call the device's host, wherever it runs now.

        Raises:
            DeviceUnavailableError: no node offers the device any more, or only on another machine,
                or after another boot.
            MeasurementError: as the device itself would.
        """
        answer = self._call(method, *arguments)
        self._require_same(answer.info)
        return answer.value

    def _call(self, method: str, *arguments: object) -> Any:
        errors = self._ray.exceptions
        try:
            call = getattr(self._host, method).remote(*arguments)
            answer = self._ray.get(call, timeout=CALL_TIMEOUT_S)
        except (errors.RayActorError, errors.GetTimeoutError, errors.RaySystemError) as error:
            raise DeviceUnavailableError(
                f"no node of the fleet offers {self._spec} any more ({type(error).__name__}); "
                "bring one back, then go on with --resume"
            ) from None
        if isinstance(answer, Failure):
            answer.raise_()
        return answer

    def prepare(self, workload: Workload) -> FleetWorkload:
        prepared = FleetWorkload(self, next(self._handles), workload)
        self.ask("prepare", prepared.handle, workload)
        return prepared

    def state(self) -> DeviceState:
        state: DeviceState = self.ask("state")
        return state

    def blockers(self) -> Sequence[str]:
        blockers: list[str] = self.ask("blockers")
        return blockers

    def free_memory_mb(self) -> float | None:
        """Of the computer that it is attached to."""
        free_mb: float | None = self.ask("free_memory_mb")
        return free_mb

    def close(self) -> None:
        with self._undo:
            self._call("close")

    def _require_same(self, now: DeviceInfo) -> None:
        """Latencies of two machines, or epochs, are not comparable."""
        if now.model != self.info.model:
            change = f"is now {now.model}, was {self.info.model}"
        elif epoch_of(now) != epoch_of(self.info):
            change = "is of another boot or runtime"
        else:
            return
        raise DeviceUnavailableError(
            f"{self._spec} of the fleet {change}: what it measures from now on is another epoch; "
            "go on with --resume"
        )

    def _require_offered(self, address: str) -> None:
        offered = {n: c for n, c in self._ray.cluster_resources().items() if c and ":" in n}
        if self._spec in self._ray.cluster_resources():
            return
        devices = sorted(n for n in offered if not n.startswith(("node:", "accelerator_type:")))
        raise DeviceUnavailableError(
            f"no node of the fleet at {address} offers {self._spec} (offered: "
            f"{', '.join(devices) or 'none'}); on its computer: ray start --address=HEAD:6379 "
            f"--resources='{{\"{self._spec}\": 1}}'"
        )


@dataclass(frozen=True, slots=True)
class FleetWorkload:
    """A workload on a device of the fleet, by the handle that its host knows it by."""

    device: FleetDevice
    handle: int
    workload: Workload

    def sample_ms(self, runs: int) -> float:
        sample_ms: float = self.device.ask("sample_ms", self.handle, self.workload, runs)
        return sample_ms

    def close(self) -> None:
        self.device.ask("release", self.handle)


def connect(address: str) -> Any:
    """The ray module, connected to the cluster.

    Raises:
        InvalidInputError: not an address.
        DeviceUnavailableError: ray is not installed, or no cluster answers there.
    """
    host, _, written = address.removeprefix("ray://").rpartition(":")
    port = port_number(written)
    if address != "auto" and (not host or port is None):
        raise InvalidInputError(f"--fleet {shown(address)} is not HOST:PORT or auto")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    require("fleet", "a fleet", DeviceUnavailableError)
    import ray

    if not ray.is_initialized():
        heeds = signal.getsignal(signal.SIGTERM)
        try:
            if host:  # ray itself would try for minutes
                socket.create_connection((host, port), 5).close()
            ray.init(
                address=address, namespace="pnag", log_to_driver=False, logging_level=logging.ERROR
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise DeviceUnavailableError(
                f"no Ray cluster at {address} ({str(error).splitlines()[0]}); start one: "
                "ray start --head"
            ) from None
        finally:  # ray makes an exit of it, where the command is to be interrupted
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, heeds)
    return ray
