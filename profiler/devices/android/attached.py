"""Attached phones, as `pnag devices` shows them; no adb server is started to look."""

from __future__ import annotations

from profiler.devices.android.errors import no_device, state_error
from profiler.devices.android.facts import read_identity, read_state
from profiler.devices.android.link import AdbLink, attached_phones
from profiler.devices.android.preflight import lacking, together
from profiler.devices.android.session import phone_lock
from profiler.devices.android.syntax import parse_spec
from profiler.devices.backend import DeviceStatus, Finding
from profiler.errors import DeviceUnavailableError, PnagError


def discover() -> list[DeviceStatus]:
    """Every phone of this computer's adb server, with what would make its numbers unsteady.

    Raises:
        LinkError: there is no server, or no phone; says what to do.
    """
    phones = attached_phones(parse_spec("adb"))
    if not phones:
        raise no_device()
    return [_status(serial, state) for serial, state in phones.items()]


def _status(serial: str, state: str) -> DeviceStatus:
    spec = f"adb:{serial}"
    if state != "device":
        return DeviceStatus(spec, "", "", False, str(state_error(serial, state)))
    try:
        link = AdbLink(parse_spec(spec), reconnect_s=0, backoff_s=0)
        phone = read_identity(link)
        blockers = read_state(link, phone.big_cores(1)).blockers()
        problems = lacking(link, phone)
    except PnagError as error:
        return DeviceStatus(spec, "", "", False, str(error))
    try:
        with phone_lock(serial, phone):
            pass  # nobody measures on it
    except DeviceUnavailableError as error:
        problems.append(error)
    model = " ".join(filter(None, (phone.model, phone.platform)))
    findings = [blocker.partition("; ") for blocker in blockers]
    return DeviceStatus(
        spec,
        model,
        f"Android {phone.android_release}, {'/'.join(phone.abis)}",
        not problems,
        str(together(problems)) if problems else "",
        tuple(Finding(problem, remedy or "wait") for problem, _, remedy in findings),
    )
