"""State of NVIDIA GPUs from the driver: the only module that imports pynvml (nvidia-ml-py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from profiler.errors import DeviceUnavailableError

T = TypeVar("T")

# Clock event reasons, nvml.h (nvmlClocksEventReason...; "throttle reasons" before driver 535).
# 0x1 (idle), 0x2 (clocks set by the user), 0x10 (sync boost) and 0x100 (display) disturb nothing
# that a measurement of one GPU could repair.
SW_POWER_CAP = 0x4
THROTTLING = {
    0x8: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake",
}


def throttle_reasons(event_reasons: int) -> tuple[str, ...]:
    """Names of the reasons for which a measurement is worthless.

    >>> throttle_reasons(0x1 | 0x4), throttle_reasons(0x48)
    ((), ('hw_slowdown', 'hw_thermal_slowdown'))
    """
    return tuple(name for bit, name in THROTTLING.items() if event_reasons & bit)


@dataclass(frozen=True, slots=True)
class GpuState:
    """One reading; None where driver or card do not tell."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    event_reasons: int | None = None
    n_processes: int | None = None  # that compute on the GPU, our own included


class GpuSensors(Protocol):
    """What the driver tells about one GPU, and the one thing that can be set."""

    @property
    def driver_version(self) -> str: ...

    @property
    def max_clock_mhz(self) -> float | None: ...

    def read(self) -> GpuState: ...

    def event_reasons(self) -> int | None:
        """Why the clocks are what they are at this moment."""
        ...

    def energy_mj(self) -> int | None:
        """Energy in mJ since the driver was loaded; None before Volta."""
        ...

    def lock_clocks(self, mhz: int) -> None:
        """Hold the SM clock at `mhz` until `unlock_clocks`.

        Raises:
            DeviceUnavailableError: not permitted, or not offered by the card.
        """
        ...

    def unlock_clocks(self) -> None: ...

    def close(self) -> None: ...


class NvmlSensors:
    """NVML on the GPU of a UUID.

    NVML counts GPUs in the order of the PCI bus and knows nothing of CUDA_VISIBLE_DEVICES, so
    that an index of CUDA's must not be used here.

    Raises:
        DeviceUnavailableError: no driver, or it does not know the GPU.
    """

    def __init__(self, uuid: str) -> None:
        self._nvml = nvml = _load()
        with ExitStack() as undo:
            undo.callback(nvml.nvmlShutdown)
            try:
                self._handle = _handle(nvml, uuid)
                self.driver_version = str(nvml.nvmlSystemGetDriverVersion())
            except nvml.NVMLError as error:
                raise DeviceUnavailableError(f"NVML does not know GPU {uuid}: {error}") from None
            self.max_clock_mhz: float | None = self._ask(
                nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM
            )
            undo.pop_all()

    def read(self) -> GpuState:
        nvml = self._nvml
        milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage)
        return GpuState(
            sm_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM) or None,
            memory_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM) or None,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1000,
            event_reasons=self.event_reasons(),
            n_processes=self._n_processes(),
        )

    def _n_processes(self) -> int | None:
        """By the names with a version: the one without answers an old driver with another error."""
        processes = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses_v3)
        if processes is None:  # of drivers until about 510
            processes = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses_v2)
        return None if processes is None else len(processes)

    def event_reasons(self) -> int | None:
        reasons: int | None = self._ask(self._nvml.nvmlDeviceGetCurrentClocksEventReasons)
        if reasons is None:  # the name until driver 535
            reasons = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return reasons

    def energy_mj(self) -> int | None:
        energy: int | None = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption)
        return energy

    def lock_clocks(self, mhz: int) -> None:
        try:
            self._nvml.nvmlDeviceSetGpuLockedClocks(self._handle, mhz, mhz)
        except self._nvml.NVMLError_NoPermission:
            raise DeviceUnavailableError(
                f"locking the clocks at {mhz} MHz needs root; or set them yourself: "
                f"sudo nvidia-smi --lock-gpu-clocks={mhz}"
            ) from None
        except self._nvml.NVMLError as error:
            raise DeviceUnavailableError(f"cannot lock the clocks at {mhz} MHz: {error}") from None

    def unlock_clocks(self) -> None:
        try:
            self._nvml.nvmlDeviceResetGpuLockedClocks(self._handle)
        except self._nvml.NVMLError as error:
            raise DeviceUnavailableError(
                f"the clocks are still locked ({error}): sudo nvidia-smi --reset-gpu-clocks"
            ) from None

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def _ask(self, query: Callable[..., T], *arguments: Any) -> T | None:
        """The answer, or None where this card or driver has none, or none at the moment."""
        nvml = self._nvml
        try:
            return query(self._handle, *arguments)
        except (
            nvml.NVMLError_GpuIsLost,
            nvml.NVMLError_ResetRequired,
            nvml.NVMLError_Uninitialized,
            nvml.NVMLError_DriverNotLoaded,
        ) as error:
            raise DeviceUnavailableError(f"the GPU does not answer: {error}") from None
        except nvml.NVMLError:
            return None


def _handle(nvml: Any, uuid: str) -> Any:
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError_NotFound:  # to torch a slice of a GPU (MIG) is a GPU like any other
        return nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))


def require_driver() -> None:
    """The driver alone: in a container some of the machine's GPUs may not be ours to ask.

    Raises:
        DeviceUnavailableError: no NVIDIA driver.
    """
    _load().nvmlShutdown()


def _load() -> Any:
    """pynvml, initialised (it counts: one shutdown for each)."""
    try:
        import pynvml
    except ImportError:
        raise DeviceUnavailableError(
            "nvidia-ml-py is not installed: pip install nvidia-ml-py"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DeviceUnavailableError(
            f"no NVIDIA GPU can be used: NVML says {str(error)!r}; nvidia-smi must work first"
        ) from None
    return pynvml
