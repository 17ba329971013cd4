"""What users and phones name (serials, paths, words), checked before it goes anywhere."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.errors import InvalidInputError
from profiler.numerals import port_number

TEMPORARY = "/data/local/tmp"  # the one place where adb's shell may write and execute
_SERIAL = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,127}|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_PATH = re.compile(rf"{TEMPORARY}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


@dataclass(frozen=True, slots=True)
class AdbTarget:
    """A phone, by its serial (None: the only one attached), behind one adb server."""

    serial: str | None
    host: str
    port: int
    local_server: bool  # the user's own server: started when it does not run


def parse_spec(spec: str) -> AdbTarget:
    """Read `adb`, `adb:SERIAL` or `adb://HOST:PORT[/SERIAL]`.

    >>> parse_spec("adb://10.0.0.7:5037/FA6AB0301534").host
    '10.0.0.7'

    Raises:
        InvalidInputError: not of that form, or a serial that adb could not have given.
    """
    match = re.fullmatch(
        r"adb(?:://(?P<host>[^/]*?):(?P<port>[^/:]*)(?:/(?P<far>.*))?|:(?P<near>.*))?",
        spec,
        re.DOTALL,
    )
    if match is None:
        raise InvalidInputError(f"device {spec!r} is not adb, adb:SERIAL or adb://HOST:PORT/SERIAL")
    serial = match["far"] if match["host"] is not None else match["near"]
    if serial == "" or (serial is not None and not _SERIAL.fullmatch(serial)):
        raise InvalidInputError(f"{serial!r} is not a serial that `adb devices` could show")
    if match["host"] is None:
        written = os.environ.get("ANDROID_ADB_SERVER_PORT") or "5037"
        port = port_number(written)
        if port is None:
            raise InvalidInputError(f"ANDROID_ADB_SERVER_PORT {written!r} is not a port")
        return AdbTarget(serial, "127.0.0.1", port, local_server=True)
    port = port_number(match["port"])
    if not _HOST.fullmatch(match["host"]) or port is None:
        raise InvalidInputError(
            f"{match['host']}:{match['port']} is not HOST:PORT of an adb server"
        )
    return AdbTarget(serial, match["host"], port, local_server=False)


def quote(arguments: Sequence[str]) -> str:
    """One command for the phone's shell; no argument can break out of its quotes."""
    if not arguments or any("\0" in argument for argument in arguments):
        raise InvalidInputError("a command for the phone must be words without NUL")
    return shlex.join(arguments)


def check_path(path: str) -> str:
    """Refuse a path that is not plainly below /data/local/tmp."""
    if not _PATH.fullmatch(path):
        raise InvalidInputError(f"{path!r} is not a plain path below {TEMPORARY}")
    return path
