"""The phone as a device: preflight, right numbers, and a phone left as it was found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.android.benchmark_binary import elf_abi
from profiler.devices.android.device import AndroidDevice, discover
from profiler.devices.android.errors import LinkError
from profiler.devices.android.facts import PhoneIdentity
from profiler.devices.base import Workload
from profiler.devices.seeded import seeded_tflite
from profiler.errors import (
    DeviceUnavailableError,
    InvalidInputError,
    MeasurementError,
    PnagError,
)
from profiler.graph.litert import Model
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.adb_server import AdbServer
from tests.adbd import Adbd, Fault
from tests.phone import REPOSITORY, executable_of
from tests.profiler.devices.android.conftest import FAST

pytestmark = pytest.mark.slow

MakeDevice = Callable[..., AndroidDevice]
SPACE = MobileNetV3Space(resolution_px=128)
OP = SPACE.block_op(16, 3, 3)
WORKLOAD = Workload(OP.key, (OP,))


def test_identity(adbd: Adbd, make_device: MakeDevice) -> None:
    with make_device(adbd, threads=2) as device:
        info = device.info
        assert (info.platform, info.model, info.runtime) == (
            "adb",
            "Pixel msm8996",
            "benchmark_model",
        )
        assert (info.threads, info.n_cores, info.affinity) == (2, 4, (2, 3))
        assert info.max_clock_mhz == pytest.approx(2150.4)
        boot_id = (adbd.phone.root / "proc/sys/kernel/random/boot_id").read_text().strip()
        assert info.boot_id == boot_id
        assert ("serial", adbd.serial) in info.options


def test_a_sample_is_a_real_latency(adbd: Adbd, make_device: MakeDevice) -> None:
    """Between a tenth and ten times of what the host's own LiteRT needs for this model."""
    model = Model(seeded_tflite(WORKLOAD, "float32"))
    shape, times_s = model.input_shape, []
    for _ in range(5):
        start = os.times().elapsed
        for _ in range(50):
            model.run(np.zeros(shape, np.float32))
        times_s.append((os.times().elapsed - start) / 50)
    with make_device(adbd) as device:
        prepared = device.prepare(WORKLOAD)
        samples_ms = [prepared.sample_ms(1) for _ in range(3)]
        prepared.close()
    assert min(samples_ms) < 10 * max(1e3 * min(times_s), 0.2)
    assert min(samples_ms) > 0.1 * 1e3 * min(times_s)
    assert set(adbd.phone.get("affinity").split()) == {"c"}  # cores 2 and 3


def test_one_process_per_sample_with_the_flags_asked_for(
    adbd: Adbd, make_device: MakeDevice
) -> None:
    with make_device(adbd) as device:
        prepared = device.prepare(WORKLOAD)
        before = len(adbd.received)
        prepared.sample_ms(7)
        commands = [c for c in adbd.received[before:] if "benchmark_model" in c]
        prepared.close()
    (command,) = commands
    for flag in ("num_runs=7", "num_threads=1", "use_xnnpack=true", "require_full_delegation=true"):
        assert f"--{flag}" in command


def test_profile_is_a_run_apart(adbd: Adbd, make_device: MakeDevice) -> None:
    with make_device(adbd) as device:
        prepared = device.prepare(WORKLOAD)
        (node,) = prepared.profile(5)
        prepared.close()
    assert node.node_type == "TfLiteXNNPackDelegate"
    assert node.per_run_ms > 0


def test_a_configuration_measured_twice_keeps_its_model(
    adbd: Adbd, make_device: MakeDevice
) -> None:
    """A hidden repeat is the same model; whichever ends first must not take the other's file."""
    with make_device(adbd) as device:
        first, repeat = device.prepare(WORKLOAD), device.prepare(WORKLOAD)
        first.close()
        assert repeat.sample_ms(1) > 0
        repeat.close()


def test_int8(adbd: Adbd, make_device: MakeDevice) -> None:
    with make_device(adbd, precision="int8") as device:
        prepared = device.prepare(WORKLOAD)
        assert prepared.sample_ms(1) > 0
        prepared.close()
        assert device.info.precision == "int8"


# --- a run that gives no number --------------------------------------------------------------


BROKEN = {
    "unknown_flag": "unknown_flag",
    "no_delegate": "delegate_not_applied",
    "partial_delegate": "delegate_not_applied",
    "late_exit": "nonzero_exit",
    "truncated": "garbled_output",
    "localized": "localized_number",
    "interleaved": "garbled_output",
    "garbage": "missing_summary",
    "mismatch": "parse_mismatch",
    "killed": "killed",
    "hang": "timeout",
}


@pytest.mark.parametrize("tool", ["binary", "compiled_binary"])
def test_broken_runs_are_typed_failures(
    adbd: Adbd, make_device: MakeDevice, request: pytest.FixtureRequest, tool: str
) -> None:
    """Never a number; and the run after it is believed again."""
    reasons, program = {}, request.getfixturevalue(tool)
    with make_device(adbd, benchmark_binary=program, timing=replace(FAST, deadline_s=4)) as device:
        prepared = device.prepare(WORKLOAD)
        for fault in BROKEN:
            adbd.phone.put("fault", fault)
            with pytest.raises(MeasurementError) as caught:
                prepared.sample_ms(3)
            reasons[fault] = caught.value.reason
        assert prepared.sample_ms(3) > 0
        prepared.close()
    assert reasons == BROKEN


@pytest.mark.parametrize("during_a_run", [True, False])
def test_a_reboot_ends_the_epoch(adbd: Adbd, make_device: MakeDevice, during_a_run: bool) -> None:
    with make_device(adbd) as device:
        prepared = device.prepare(WORKLOAD)
        if during_a_run:
            adbd.phone.put("fault", "hang")
            timer = threading.Timer(1.0, adbd.reboot)
            timer.start()
            message = refused(lambda: prepared.sample_ms(3), DeviceUnavailableError)
            timer.join()
        else:
            adbd.reboot()
            message = refused(device.state, DeviceUnavailableError)
        assert "rebooted" in message and "--resume" in message


# --- preflight -------------------------------------------------------------------------------


def test_blockers(adbd: Adbd, make_device: MakeDevice) -> None:
    phone = adbd.phone
    with make_device(adbd) as device:
        assert device.blockers() == []
        assert device.state().throttle_reasons == ()
        assert device.state().temperature_c == pytest.approx(28.4)
        phone.set_thermal(2)
        phone.set_battery(level_pct=12, temperature_c=41.5)
        phone.setting("low_power", "1")
        phone.put("dumpsys.power", "  mWakefulness=Dozing\n")
        assert device.state().throttle_reasons == ("thermal_moderate",)
        words = " | ".join(device.blockers())
        for part in ("thermal status 2", "41.5 °C", "12 %", "battery saver", "screen is off"):
            assert part in words


def test_a_hot_phone_is_waited_for(adbd: Adbd, make_device: MakeDevice) -> None:
    said: list[str] = []
    with make_device(adbd, timing=replace(FAST, cool_down_s=0.1)) as device:
        device.say = said.append
        prepared = device.prepare(WORKLOAD)
        adbd.phone.set_thermal(3)
        before = len(adbd.received)
        cooled = threading.Timer(1.0, adbd.phone.set_thermal, (0,))
        cooled.start()
        prepared.sample_ms(1)
        cooled.join()
        looked, started = (
            [at for at, service in enumerate(adbd.received[before:]) if word in service]
            for word in ("thermalservice", "setsid")
        )
        prepared.close()
    assert len(looked) > 1 and max(looked) < min(started)  # nothing ran while it was hot
    (line,) = said  # once, though it looked more than once
    assert line.startswith("waiting for ") and "thermal status 3 (severe); let it cool" in line


def test_a_phone_that_stays_hot(adbd: Adbd, make_device: MakeDevice) -> None:
    timing = replace(FAST, cool_down_s=0.1, max_cool_down_s=0.3)
    with make_device(adbd, timing=timing) as device:
        prepared = device.prepare(WORKLOAD)
        adbd.phone.set_battery(temperature_c=44.0)
        message = refused(lambda: prepared.sample_ms(1), DeviceUnavailableError)
    assert "battery at 44 °C" in message and "--resume" in message


def test_a_screen_that_goes_off_is_lit_again(adbd: Adbd, make_device: MakeDevice) -> None:
    with make_device(adbd, timing=replace(FAST, cool_down_s=0.1)) as device:
        prepared = device.prepare(WORKLOAD)
        adbd.phone.put("dumpsys.power", "  mWakefulness=Asleep\n")
        assert prepared.sample_ms(1) > 0
        assert "KEYCODE_WAKEUP" in adbd.phone.get("input")
        prepared.close()


def test_values_that_a_phone_does_not_tell_are_none(adbd: Adbd, make_device: MakeDevice) -> None:
    """Android 9 has no thermal service, and a vendor may hide the clocks."""
    phone = adbd.phone
    for name in ("dumpsys.thermalservice", "dumpsys.battery", "dumpsys.power"):
        (phone.root / "state" / name).unlink()
    for path in phone.root.glob("sys/devices/system/cpu/*/cpufreq/*"):
        path.unlink()
    with make_device(adbd) as device:
        state = device.state()
        assert (state.clock_mhz, state.temperature_c, state.throttle_reasons) == (None, None, ())
        assert device.info.max_clock_mhz is None
        assert device.info.affinity is None
        assert device.blockers() == []


@pytest.mark.parametrize("digits", ["9" * 5000, "1.2.3"])
def test_what_is_no_number_of_a_phone_is_none(
    adbd: Adbd, make_device: MakeDevice, digits: str
) -> None:
    phone = adbd.phone
    with make_device(adbd) as device:
        phone.put("dumpsys.battery", f"  level: {digits}\n  temperature: -{digits}\n")
        phone.put("dumpsys.thermalservice", f"Thermal Status: {digits}\n")
        (phone.root / "proc/loadavg").write_text(f"{digits} 0.25 0.20 1/1200 4242\n")
        for path in phone.root.glob("sys/devices/system/cpu/*/cpufreq/*"):
            path.write_text(f"{digits}\n")
        state = device.state()
        assert (state.clock_mhz, state.temperature_c) == (None, None)
    with make_device(adbd) as device:
        assert device.info.max_clock_mhz is None


def test_big_cores_of_three_clusters() -> None:
    """Snapdragon 8 Gen 1: 4 + 3 + 1 cores."""
    clocks = (1785600,) * 4 + (2496000,) * 3 + (2995200,)
    phone = PhoneIdentity("", None, None, None, "", (), clocks, frozenset())
    assert phone.big_cores(1) == (7,)
    assert phone.big_cores(2) == (4, 5, 6, 7)
    assert phone.big_cores(8) == tuple(range(8))
    hidden = PhoneIdentity("", None, None, None, "", (), (None, None), frozenset())
    assert hidden.big_cores(1) is None


def refused(make: Callable[[], object], kind: type[PnagError]) -> str:
    with pytest.raises(kind) as caught:
        make()
    return str(caught.value)


def test_a_program_of_another_machine(adbd: Adbd, make_device: MakeDevice, binary: Path) -> None:
    adbd.phone.set_properties(ro__product__cpu__abilist="arm64-v8a,armeabi-v7a")
    message = refused(lambda: make_device(adbd), InvalidInputError)
    assert "built for x86_64; this phone runs arm64-v8a, armeabi-v7a" in message


def test_elf_headers() -> None:
    path = Path("benchmark_model")
    arm64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"
    arm32 = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00"
    assert elf_abi(arm64, path) == "arm64-v8a"
    assert elf_abi(arm32, path) == "armeabi-v7a"
    core_dump, sparc = arm64[:16] + b"\x04\x00\xb7\x00", arm64[:16] + b"\x02\x00\x2b\x00"
    for content in (b"", b"#!/bin/sh\n" * 9, arm64[:19], core_dump, sparc):
        with pytest.raises(InvalidInputError):
            elf_abi(content, path)


def test_no_program_given(adbd: Adbd, make_device: MakeDevice) -> None:
    message = refused(lambda: make_device(adbd, benchmark_binary=None), InvalidInputError)
    assert "--benchmark-binary" in message
    message = refused(
        lambda: make_device(adbd, benchmark_binary=Path("/nowhere/x")), InvalidInputError
    )
    assert "cannot read /nowhere/x" in message


def test_a_program_that_is_too_old(adbd: Adbd, make_device: MakeDevice, tmp_path: Path) -> None:
    script = tmp_path / "old.py"
    script.write_text(
        "print('usage: x\\nFlags:\\n\\t--graph=\\tstring\\n\\t--num_runs=50\\tint32')"
    )
    old = tmp_path / "old"
    old.write_bytes(executable_of(script))
    message = refused(lambda: make_device(adbd, benchmark_binary=old), DeviceUnavailableError)
    assert "does not know --min_secs and 3 more" in message


def test_a_program_that_does_not_execute(
    adbd: Adbd, make_device: MakeDevice, tmp_path: Path, binary: Path
) -> None:
    header_only = tmp_path / "broken"
    header_only.write_bytes(binary.read_bytes()[:64])
    message = refused(
        lambda: make_device(adbd, benchmark_binary=header_only), DeviceUnavailableError
    )
    assert "listed no flags" in message or "cannot execute" in message  # by the phone's shell


def test_a_folder_without_execution(adbd: Adbd, make_device: MakeDevice) -> None:
    adbd.phone.noexec = True
    message = refused(lambda: make_device(adbd), DeviceUnavailableError)
    assert "cannot execute" in message and "noexec" in message


def test_too_little_space(adbd: Adbd, make_device: MakeDevice) -> None:
    adbd.phone.set_free_kib(1000)
    assert "free some" in refused(lambda: make_device(adbd), DeviceUnavailableError)


def test_discovery(make_phone: Callable[[], Adbd], server: AdbServer) -> None:
    ready, hot, locked = make_phone(), make_phone(), make_phone()
    hot.phone.set_thermal(2)
    locked.state = "unauthorized"
    server.adb("disconnect", locked.serial)
    server.adb("connect", locked.serial)
    found = {status.spec: status for status in discover()}
    assert set(found) == {f"adb:{adbd.serial}" for adbd in (ready, hot, locked)}
    status = found[f"adb:{ready.serial}"]
    assert (status.model, status.measurable, status.findings) == ("Pixel msm8996", True, ())
    (finding,) = found[f"adb:{hot.serial}"].findings
    assert finding.problem == "thermal status 2 (moderate)" and finding.remedy == "let it cool"
    status = found[f"adb:{locked.serial}"]
    assert not status.measurable and "accept the USB debugging prompt" in status.reason


def test_discovery_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    with pytest.raises(LinkError, match=rf"start one: adb -P {port} start-server"):
        discover()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


# --- the phone is left as it was found ---------------------------------------------------------


@pytest.mark.parametrize("before", [None, "0", "3"])
def test_settings_are_restored(adbd: Adbd, make_device: MakeDevice, before: str | None) -> None:
    if before is not None:
        adbd.phone.setting("stay_on_while_plugged_in", before)
    with make_device(adbd):
        assert adbd.phone.setting("stay_on_while_plugged_in") == "7"
    assert adbd.phone.setting("stay_on_while_plugged_in") == before
    (adbd.phone.root / "settings/global.stay_on_while_plugged_in").unlink(missing_ok=True)


def test_after_a_failure_and_through_drops(adbd: Adbd, make_device: MakeDevice) -> None:
    with pytest.raises(KeyboardInterrupt), make_device(adbd) as device:
        device.prepare(WORKLOAD)
        adbd.faults = [Fault("drop_after", "settings", times=2)]
        raise KeyboardInterrupt
    assert adbd.phone.setting("stay_on_while_plugged_in") is None


def test_one_visit_at_a_time(adbd: Adbd, make_device: MakeDevice, server: AdbServer) -> None:
    """By serial, however the phone is named; the first visit is not disturbed."""
    with make_device(adbd) as first:
        prepared = first.prepare(WORKLOAD)
        for spec in (f"adb:{adbd.serial}", f"adb://127.0.0.1:{server.port}/{adbd.serial}", "adb"):
            message = refused(partial(make_device, adbd, spec=spec), DeviceUnavailableError)
            assert "another process" in message
        assert prepared.sample_ms(1) > 0
        prepared.close()
    with make_device(adbd):
        pass


KILLED_VISIT = """
import os, signal, sys
from pathlib import Path
from profiler.devices.android.device import AndroidDevice
device = AndroidDevice(sys.argv[1], benchmark_binary=Path(sys.argv[2]))
folder = device._session.folder
device._link.script(
    'mkdir "$1/run-1"; cd "$1/run-1"; setsid sh -c "echo \\\\$\\\\$ >pid; exec sleep 300" '
    '</dev/null >/dev/null 2>&1 & sleep 0.3', folder)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_visit_left_is_cleaned_by_the_next(
    adbd: Adbd, make_device: MakeDevice, server: AdbServer, binary: Path
) -> None:
    adbd.phone.setting("stay_on_while_plugged_in", "2")
    subprocess.run(
        [sys.executable, "-c", KILLED_VISIT, f"adb:{adbd.serial}", str(binary)],
        env=server.environment | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        timeout=60,
    )
    assert len(list(adbd.phone.temporary.iterdir())) == 1
    assert adbd.phone.setting("stay_on_while_plugged_in") == "7"
    assert len(adbd.processes()) == 1
    with make_device(adbd):
        assert len(list(adbd.phone.temporary.iterdir())) == 1
    assert adbd.phone.setting("stay_on_while_plugged_in") == "2"
    (adbd.phone.root / "settings/global.stay_on_while_plugged_in").unlink()
