"""NVML's answers and errors, from a driver in which every function can be told what to say."""

from types import SimpleNamespace

import pynvml
import pytest

from profiler.devices.cuda.nvml import GpuState, NvmlSensors, require_driver, throttle_reasons
from profiler.errors import DeviceUnavailableError


class Driver:
    """Answers by NVML function; an exception is raised. `opened` counts what was initialised."""

    def __init__(self, monkeypatch):
        self.opened = 0
        self.calls = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: self._open(1))
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: self._open(-1))
        clocks = {pynvml.NVML_CLOCK_SM: 1545, pynvml.NVML_CLOCK_MEM: 7000}
        answers = {
            "nvmlSystemGetDriverVersion": "555.42.02",
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetMaxClockInfo": 2100,
            "nvmlDeviceGetClockInfo": lambda handle, kind: clocks[kind],
            "nvmlDeviceGetTemperature": 54,
            "nvmlDeviceGetPowerUsage": 183_500,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x8,
            "nvmlDeviceGetComputeRunningProcesses_v3": [SimpleNamespace(pid=1)] * 3,
            "nvmlDeviceGetComputeRunningProcesses_v2": [SimpleNamespace(pid=1)] * 2,
            "nvmlDeviceGetTotalEnergyConsumption": 123_456,
            "nvmlDeviceSetGpuLockedClocks": None,
            "nvmlDeviceResetGpuLockedClocks": None,
        }
        for name, answer in answers.items():
            self.says(name, answer)

    def says(self, name, answer):
        def function(*arguments):
            self.calls.append((name, *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        self._monkeypatch.setattr(pynvml, name, function)

    def _open(self, change):
        self.opened += change


def error(name):
    return pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{name}"))


@pytest.fixture
def driver(monkeypatch):
    driver = Driver(monkeypatch)
    yield driver
    assert driver.opened == 0


@pytest.fixture
def sensors(driver):
    sensors = NvmlSensors("GPU-1")
    yield sensors
    sensors.close()


def test_a_reading_in_our_units(driver, sensors):
    assert sensors.read() == GpuState(
        sm_clock_mhz=1545,
        memory_clock_mhz=7000,
        temperature_c=54,
        power_w=183.5,
        event_reasons=0x4,
        n_processes=3,
    )
    assert (sensors.driver_version, sensors.max_clock_mhz) == ("555.42.02", 2100)
    assert sensors.energy_mj() == 123_456
    assert ("nvmlDeviceGetHandleByUUID", "GPU-1") in driver.calls


@pytest.mark.parametrize(
    "code",
    ["NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "TIMEOUT", "UNKNOWN", "NOT_READY"],
)
def test_what_a_card_does_not_tell_is_none(driver, sensors, code):
    for name in (
        "nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetTotalEnergyConsumption",
    ):  # fmt: skip
        driver.says(name, error(code))
    assert sensors.read() == GpuState()
    assert sensors.energy_mj() is None


def test_a_clock_of_zero_is_one_that_cannot_be_read(driver, sensors):
    driver.says("nvmlDeviceGetClockInfo", 0)
    assert sensors.read().sm_clock_mhz is None


def test_drivers_before_535_call_the_reasons_throttle_reasons(driver, sensors):
    driver.says("nvmlDeviceGetCurrentClocksEventReasons", error("FUNCTION_NOT_FOUND"))
    assert sensors.event_reasons() == 0x8


def test_older_drivers_count_processes_under_an_older_name(driver, sensors):
    """The name without a version ends with an error that is not one of NVML's."""
    unversioned = pynvml.NVMLLibraryMismatchError("Unversioned function called")
    driver.says("nvmlDeviceGetComputeRunningProcesses", unversioned)
    driver.says("nvmlDeviceGetComputeRunningProcesses_v3", error("FUNCTION_NOT_FOUND"))
    assert sensors.read().n_processes == 2


def test_a_gpu_that_falls_off_the_bus_is_gone(driver, sensors):
    driver.says("nvmlDeviceGetTemperature", error("GPU_IS_LOST"))
    with pytest.raises(DeviceUnavailableError, match="the GPU does not answer: GPU is lost"):
        sensors.read()


@pytest.mark.parametrize("code", ["RESET_REQUIRED", "UNINITIALIZED", "DRIVER_NOT_LOADED"])
def test_without_driver_or_gpu_nothing_goes_on(driver, sensors, code):
    driver.says("nvmlDeviceGetPowerUsage", error(code))
    with pytest.raises(DeviceUnavailableError, match="the GPU does not answer"):
        sensors.read()


@pytest.mark.parametrize(
    ("bit", "names"),
    [
        (0x0, ()),
        (pynvml.nvmlClocksEventReasonGpuIdle, ()),
        (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, ()),
        (pynvml.nvmlClocksEventReasonSwPowerCap, ()),
        (pynvml.nvmlClocksEventReasonHwSlowdown, ("hw_slowdown",)),
        (pynvml.nvmlClocksEventReasonSyncBoost, ()),
        (pynvml.nvmlClocksEventReasonSwThermalSlowdown, ("sw_thermal_slowdown",)),
        (pynvml.nvmlClocksEventReasonHwThermalSlowdown, ("hw_thermal_slowdown",)),
        (pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown, ("hw_power_brake",)),
        (pynvml.nvmlClocksEventReasonDisplayClockSetting, ()),
    ],
)
def test_reasons_are_those_of_the_header(bit, names):
    assert throttle_reasons(bit) == names


def test_clocks_are_locked_at_one_frequency_and_reset(driver, sensors):
    sensors.lock_clocks(1350)
    sensors.unlock_clocks()
    assert driver.calls[-2:] == [
        ("nvmlDeviceSetGpuLockedClocks", "handle", 1350, 1350),
        ("nvmlDeviceResetGpuLockedClocks", "handle"),
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("NO_PERMISSION", "needs root; or set them yourself: sudo nvidia-smi --lock-gpu-clocks=99"),
        ("NOT_SUPPORTED", "cannot lock the clocks at 99 MHz: Not Supported"),
    ],
)
def test_clocks_that_cannot_be_locked_say_why(driver, sensors, code, message):
    driver.says("nvmlDeviceSetGpuLockedClocks", error(code))
    with pytest.raises(DeviceUnavailableError, match=message):
        sensors.lock_clocks(99)


def test_clocks_that_stay_locked_say_how_to_reset_them(driver, sensors):
    driver.says("nvmlDeviceResetGpuLockedClocks", error("UNKNOWN"))
    with pytest.raises(DeviceUnavailableError, match="sudo nvidia-smi --reset-gpu-clocks"):
        sensors.unlock_clocks()


def test_a_driver_is_enough_even_if_no_gpu_may_be_asked(driver):
    for name in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName"):
        driver.says(name, error("NO_PERMISSION"))
    require_driver()
    assert driver.calls == []


def test_a_slice_of_a_gpu_is_found_under_its_own_prefix(driver):
    def handle(uuid):
        if uuid != "MIG-9":
            raise error("NOT_FOUND")
        return "slice"

    driver.says("nvmlDeviceGetHandleByUUID", handle)
    sensors = NvmlSensors("GPU-9")
    sensors.unlock_clocks()
    assert driver.calls[-1] == ("nvmlDeviceResetGpuLockedClocks", "slice")
    sensors.close()


@pytest.mark.parametrize("name", ["nvmlSystemGetDriverVersion", "nvmlDeviceGetMaxClockInfo"])
def test_a_gpu_lost_while_it_is_opened_leaves_nothing_open(driver, name):
    driver.says(name, error("GPU_IS_LOST"))
    with pytest.raises(DeviceUnavailableError, match="GPU is lost"):
        NvmlSensors("GPU-1")


def test_an_unknown_gpu_is_refused_and_nothing_left_open(driver):
    driver.says("nvmlDeviceGetHandleByUUID", error("NOT_FOUND"))
    with pytest.raises(DeviceUnavailableError, match="NVML does not know GPU GPU-9"):
        NvmlSensors("GPU-9")


@pytest.mark.parametrize("code", ["LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED"])
def test_without_a_driver_one_line_says_so(driver, code):
    driver.says("nvmlInit", error(code))
    with pytest.raises(
        DeviceUnavailableError, match="no NVIDIA GPU can be used: NVML says"
    ) as info:
        require_driver()
    assert info.value.exit_code == 4
    assert "\n" not in str(info.value)
