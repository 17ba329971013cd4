"""What can be wrong between this computer and a phone, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from profiler.errors import DeviceUnavailableError


class LinkError(DeviceUnavailableError):
    """The phone cannot be reached or used now.

    Attributes:
        reason: server_unreachable, not_found, offline, dropped, timeout, corrupt (transient);
            unauthorized, no_permission, several_devices, no_device, not_booted, no_shell_v2,
            out_of_space (permanent).
        transient: whether the same command may succeed when the link is back.
    """

    def __init__(self, message: str, *, reason: str, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient

    def __reduce__(self) -> tuple[Any, ...]:
        """Crosses processes whole: devices are measured side by side in processes."""
        make = partial(type(self), reason=self.reason, transient=self.transient)
        return make, self.args


def unauthorized(serial: str, _: str) -> LinkError:
    return LinkError(
        f"{serial} has not allowed this computer; unlock it and accept the USB debugging prompt",
        reason="unauthorized",
    )


def no_permission(serial: str, _: str) -> LinkError:
    return LinkError(
        f"this user may not open {serial}; install the udev rules (Debian: "
        "apt-get install android-sdk-platform-tools-common), join group plugdev, plug it in again",
        reason="no_permission",
    )


def offline(serial: str, state: str) -> LinkError:
    return LinkError(
        f"{serial} is offline ({state}); plug it in again, or toggle USB debugging",
        reason="offline",
        transient=True,
    )


def absent(serial: str, shown: str) -> LinkError:
    return LinkError(
        f"{serial} is not attached (attached: {shown})", reason="not_found", transient=True
    )


def no_device() -> LinkError:
    return LinkError(
        "no Android device is attached; plug it in by a cable that carries data, and allow USB "
        "debugging (pnag help android)",
        reason="no_device",
    )


def no_server(address: str, cause: str, remedy: str) -> LinkError:
    return LinkError(
        f"no adb server at {address} ({cause}); {remedy}",
        reason="server_unreachable",
        transient=True,
    )


def no_program() -> LinkError:
    return LinkError(
        "no adb server runs and adb is not installed; install Android's platform-tools "
        "(Debian: apt-get install adb)",
        reason="server_unreachable",
    )


def no_start(program: str, cause: str) -> LinkError:
    return LinkError(
        f"no adb server runs, and {program} cannot be started ({cause}); install Android's "
        "platform-tools, and unset ADBUTILS_ADB_PATH where that names it",
        reason="server_unreachable",
    )


def not_booted(serial: str, state: str) -> LinkError:
    return LinkError(
        f"{serial} is in {state} mode; boot Android: adb -s {serial} reboot", reason="not_booted"
    )


def state_error(serial: str, state: str) -> LinkError:
    """Of a phone that the server shows, in a state other than `device`."""
    return STATE_ERRORS.get(state, absent)(serial, state)


STATE_ERRORS: dict[str, Callable[[str, str], LinkError]] = {
    "unauthorized": unauthorized,
    "no permissions": no_permission,
    "offline": offline,
    "connecting": offline,
    "authorizing": offline,
    "recovery": not_booted,
    "sideload": not_booted,
    "rescue": not_booted,
    "bootloader": not_booted,
}
