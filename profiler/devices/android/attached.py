"""Attached phones, as `pnag devices` shows them; no adb server is started to look."""

from __future__ import annotations

from profiler.devices.android.errors import STATE_ERRORS, absent
from profiler.devices.android.facts import read_identity, read_state
from profiler.devices.android.link import AdbLink, attached_phones
from profiler.devices.android.syntax import parse_spec
from profiler.devices.backend import DeviceStatus, Finding
from profiler.errors import PnagError
from profiler.system.lock import device_lock


def discover() -> list[DeviceStatus]:
    """Every phone of this computer's adb server, with what would make its numbers unsteady."""
    return [_status(serial, state) for serial, state in attached_phones(parse_spec("adb")).items()]


def _status(serial: str, state: str) -> DeviceStatus:
    spec = f"adb:{serial}"
    if state != "device":
        error = STATE_ERRORS.get(state, absent)(serial, state)
        return DeviceStatus(spec, "", "", False, str(error))
    try:
        link = AdbLink(parse_spec(spec), reconnect_s=0, backoff_s=0)
        phone = read_identity(link)
        blockers = read_state(link, phone.big_cores(1)).blockers()
        with device_lock(f"phone {serial}"):
            pass  # nobody measures on it
    except PnagError as error:
        return DeviceStatus(spec, "", "", False, str(error))
    model = " ".join(filter(None, (phone.model, phone.platform)))
    findings = [blocker.partition("; ") for blocker in blockers]
    return DeviceStatus(
        spec,
        model,
        f"Android {phone.android_release}, {'/'.join(phone.abis)}",
        True,
        "",
        tuple(Finding(problem, remedy or "wait") for problem, _, remedy in findings),
    )
