"""The link to one phone: the only module that speaks adb, and the only place that quotes.

What may be tried again is tried again here, at most three times with growing pauses, after the
phone has come back; an adb server is started if none runs, and never killed. Every command must
therefore be safe to repeat.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import adbutils
from adbutils.errors import (
    AdbConnectionError,
    AdbError,
    AdbTimeout,
)

from profiler.devices.android import errors as adb_errors
from profiler.devices.android.errors import LinkError
from profiler.devices.android.syntax import TEMPORARY, AdbTarget, check_path, quote
from profiler.numerals import whole_number

T = TypeVar("T")

RETRIES = 3
MAX_OUTPUT_BYTES = 64 << 20
MIN_TIMEOUT_S = 5.0  # past a deadline, for the command that finds out what happened
_NETWORK_SERIAL = re.compile(r".*:[0-9]{1,5}")
_ADB_PORT = 5037
_LOOK_S = 3.0  # for a server to answer
_STALL_S = 15.0  # longest silence of a server or of a transfer
_SYNC_CHUNK = 64 * 1024  # the protocol's limit
_STDOUT, _STDERR, _EXIT = 1, 2, 3  # packets of the shell v2 protocol


@dataclass(frozen=True, slots=True)
class ShellResult:
    """A command that ran to its end on the phone."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def message(self) -> str:
        """The last line of what went wrong."""
        lines = (self.stderr or self.stdout).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.exit_code}"


def attached_phones(target: AdbTarget) -> dict[str, str]:
    """Serial and state of every phone of a server, which is not started to look.

    Raises:
        LinkError: no server runs, or what answers is none.
    """
    try:
        socket.create_connection((target.host, target.port), _LOOK_S).close()
    except OSError as error:
        raise _no_server(target, error) from None
    with _translated_errors("the adb server"):
        return _states(adbutils.AdbClient(target.host, target.port, socket_timeout=_LOOK_S))


def adb_program() -> str | None:
    """Path of the user's adb, or of the one that adbutils brings for some systems."""
    try:
        return str(adbutils.adb_path())
    except (AdbError, ImportError):
        return None


def _states(client: adbutils.AdbClient) -> dict[str, str]:
    """By serial, without what adb explains in brackets or after a semicolon.

    adbutils' own `list` takes the first word for the state, and `no permissions` has two.
    """
    with client.make_connection() as connection:
        connection.send_command("host:devices")
        connection.check_okay()
        lines = connection.read_string_block().splitlines()
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return {serial: re.split("[(;]", state)[0].strip() for serial, state in pairs}


def _no_server(target: AdbTarget, error: OSError) -> LinkError:
    """What to do where no server answers, on this computer or another."""
    address, cause = f"{target.host}:{target.port}", error.strerror or str(error)
    port = [] if target.port == _ADB_PORT else ["-P", str(target.port)]
    if not target.local_server:
        command = shlex.join(["adb", "-a", *port, "nodaemon", "server"])
        return adb_errors.no_server(address, cause, f"start one there: {command}")
    program = adb_program()
    if program is None:
        return adb_errors.no_program()
    command = shlex.join(["adb" if shutil.which("adb") else program, *port, "start-server"])
    return adb_errors.no_server(address, cause, f"start one: {command}")


class AdbLink:
    """One attached phone.

    Args:
        target: which phone, behind which server.
        reconnect_s: how long a lost phone is waited for (a reboot takes a minute).
        backoff_s: pause before the first retry; doubled for the next.
    """

    def __init__(
        self, target: AdbTarget, *, reconnect_s: float = 120.0, backoff_s: float = 0.5
    ) -> None:
        self.target = target
        self._reconnect_s, self._backoff_s = reconnect_s, backoff_s
        self._given_up = False
        self._client = adbutils.AdbClient(target.host, target.port, socket_timeout=_STALL_S)
        self.serial = target.serial or "the phone"
        self._require_server()
        self.serial = target.serial or self._only_serial()
        self._retry(self._attach)
        if "shell_v2" not in self._retry(self._features):
            raise LinkError(
                f"{self.serial} reports no exit status (no shell v2); Android 7 or newer is needed",
                reason="no_shell_v2",
            )

    def shell(
        self, arguments: Sequence[str], *, timeout_s: float = 30.0, deadline: float | None = None
    ) -> ShellResult:
        """Run a command to its end.

        Args:
            timeout_s: bounds the whole of one attempt.
            deadline: (monotonic seconds) bounds all attempts instead.

        Raises:
            LinkError: no attempt brought an exit status back.
        """
        command = quote(arguments)

        def attempt() -> ShellResult:
            if deadline is None:
                return self._shell(command, timeout_s)
            return self._shell(command, max(deadline - time.monotonic(), MIN_TIMEOUT_S))

        return self._retry(attempt)

    def script(self, text: str, *arguments: str, timeout_s: float = 30.0) -> ShellResult:
        """Run a constant shell script; what varies is passed as `$1`, `$2`, ..."""
        return self.shell(["sh", "-c", text, "pnag", *arguments], timeout_s=timeout_s)

    def push(self, data: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file that appears whole, with the right SHA-256, or not at all.

        Raises:
            LinkError: among others out_of_space.
        """
        check_path(path)
        self._retry(lambda: self._push(data, path, mode))

    def free_kib(self) -> int:
        """Free space in KiB where the phone's shell may write."""
        return self._retry(self._free_kib)

    # --- one attempt ------------------------------------------------------------------------

    def _shell(self, command: str, timeout_s: float) -> ShellResult:
        deadline = time.monotonic() + timeout_s
        output = {_STDOUT: bytearray(), _STDERR: bytearray()}
        service = f"shell,v2,raw:{command}"
        with _translated_errors(self.serial), self._service(service) as connection:

            def read(size: int) -> bytes:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise AdbTimeout(f"no exit status after {timeout_s:g} s")
                connection.conn.settimeout(left_s)
                return bytes(connection.read_exact(size))

            while True:
                kind, *length = read(5)
                data = read(int.from_bytes(bytes(length), "little"))
                if kind == _EXIT and data:
                    return ShellResult(data[0], bytes(output[_STDOUT]), bytes(output[_STDERR]))
                if kind in output:
                    output[kind] += data
                if sum(map(len, output.values())) > MAX_OUTPUT_BYTES:
                    raise AdbError("endless output")

    def _push(self, data: bytes, path: str, mode: int) -> None:
        part, digest = f"{path}.part", hashlib.sha256(data).hexdigest()
        try:
            self._send_file(data, part, mode)
        except LinkError as error:
            full = "No space left" in str(error)
            if full or (error.reason == "dropped" and self._free_kib() * 1024 < len(data)):
                raise LinkError(
                    f"{self.serial} has no space left in {TEMPORARY}; free some, then go on with "
                    "--resume",
                    reason="out_of_space",
                ) from None
            raise
        script = '[ "$(sha256sum <"$1" | cut -c1-64)" = "$2" ] && mv "$1" "$3"'
        result = self._shell(quote(["sh", "-c", script, "pnag", part, digest, path]), 60)
        if result.exit_code != 0:
            raise LinkError(
                f"a file arrived damaged on {self.serial} ({result.message}); use another cable "
                "or port",
                reason="corrupt",
                transient=True,
            )

    def _send_file(self, data: bytes, path: str, mode: int) -> None:
        """SEND of the sync protocol (SYNC.TXT); adbutils' own drops the phone's reason."""
        name = f"{path},{stat.S_IFREG | mode}".encode()
        with _translated_errors(self.serial), self._service("sync:") as connection:
            send = connection.conn.sendall
            send(b"SEND" + struct.pack("<I", len(name)) + name)
            for at in range(0, len(data), _SYNC_CHUNK):
                chunk = data[at : at + _SYNC_CHUNK]
                send(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            send(b"DONE" + struct.pack("<I", int(time.time())))
            status, size = struct.unpack("<4sI", connection.read_exact(8))
            if status != b"OKAY":
                raise AdbError(connection.read_exact(size).decode(errors="replace"))

    def _free_kib(self) -> int:
        result = self._shell(quote(["df", "-k", TEMPORARY]), 15)
        rows = [line.split() for line in result.text.strip().splitlines()]
        # A long device name may wrap; the numbers end with "Available Use% Mounted".
        free = whole_number(rows[-1][-3]) if len(rows) > 1 and len(rows[-1]) > 3 else None
        if free is None:
            raise LinkError(
                f"df on {self.serial} is unreadable: {result.message}", reason="corrupt"
            )
        return free

    def _features(self) -> list[str]:
        with _translated_errors(self.serial), self._client.make_connection(_STALL_S) as connection:
            connection.send_command(f"host-serial:{self.serial}:features")
            connection.check_okay()
            return str(connection.read_string_block()).split(",")

    @contextmanager
    def _service(self, name: str) -> Iterator[adbutils.AdbConnection]:
        """A service of the phone; the connection is closed whatever happens (adbutils' own
        `open_transport` leaves it open when the phone refuses)."""
        self._require_server()
        with self._client.make_connection(_STALL_S) as connection:
            for command in (f"host:transport:{self.serial}", name):
                connection.send_command(command)
                connection.check_okay()
            yield connection

    # --- coming back ------------------------------------------------------------------------

    def _retry(self, operation: Callable[[], T]) -> T:
        """A link that was given up is tried once, without waiting, until it works again."""
        for attempt in range(0 if self._given_up else RETRIES):
            try:
                return operation()
            except LinkError as error:
                if not error.transient:
                    raise
                time.sleep(self._backoff_s * 2**attempt)
                self._wait_until_attached()
        try:
            result = operation()
        except LinkError as error:
            self._given_up = error.transient
            raise
        self._given_up = False
        return result

    def _wait_until_attached(self) -> None:
        deadline = time.monotonic() + self._reconnect_s
        while True:
            try:
                return self._attach()
            except LinkError as error:
                if not error.transient or time.monotonic() > deadline:
                    self._given_up = error.transient
                    raise
            time.sleep(min(0.25, self._backoff_s))

    def _attach(self) -> None:
        """Check that the server shows the phone as usable; a network phone is connected to."""
        self._require_server()
        with _translated_errors(self.serial):
            state = self._states().get(self.serial)
            if state in (None, "offline") and _NETWORK_SERIAL.fullmatch(self.serial):
                self._client.disconnect(self.serial)
                self._client.connect(self.serial, timeout=15)
                state = self._states().get(self.serial)
        if state == "device":
            return
        shown = ", ".join(self._states()) or "none"
        raise adb_errors.state_error(self.serial, state or shown)

    def _states(self) -> dict[str, str]:
        with _translated_errors(self.serial):
            return _states(self._client)

    def _only_serial(self) -> str:
        states = self._states()
        if len(states) == 1:
            return next(iter(states))
        if not states:
            raise adb_errors.no_device()
        listed = ", ".join(f"adb:{serial} ({state})" for serial, state in states.items())
        raise LinkError(
            f"several Android devices are attached; name one: {listed}", reason="several_devices"
        )

    def _require_server(self) -> None:
        """A server answers, or the user's own is started; a remote one is only asked for."""
        host, port = self.target.host, self.target.port
        for started in (False, True):
            try:
                socket.create_connection((host, port), _LOOK_S).close()
                return
            except OSError as error:
                cause = error
            adb = adb_program() if self.target.local_server and not started else None
            if adb is None:
                break
            command = [adb, "-P", str(port), "start-server"]
            try:
                with suppress(subprocess.TimeoutExpired):  # whether it answers is seen next
                    subprocess.run(command, capture_output=True, timeout=20, check=False)
            except OSError as error:
                raise adb_errors.no_start(adb, error.strerror or str(error)) from None
        raise _no_server(self.target, cause)


@contextmanager
def _translated_errors(serial: str) -> Iterator[None]:
    try:
        yield
    except (AdbError, EOFError, OSError, ValueError) as error:
        raise _translate(error, serial) from error


def _translate(error: Exception, serial: str) -> LinkError:
    """adbutils and sockets report by text; the reasons are ours."""
    text = str(error)
    if isinstance(error, LinkError):
        return error
    if isinstance(error, AdbTimeout | TimeoutError):
        return LinkError(f"{serial} does not answer: {text}", reason="timeout", transient=True)
    if isinstance(error, AdbConnectionError):
        return LinkError(
            f"the adb server is gone: {text}", reason="server_unreachable", transient=True
        )
    for words, make in (
        ("unauthorized", adb_errors.unauthorized),
        ("permission", adb_errors.no_permission),
        ("offline", adb_errors.offline),
        ("not found", adb_errors.absent),
    ):
        if words in text:
            return make(serial, text)
    return LinkError(
        f"the link to {serial} dropped ({text or type(error).__name__})",
        reason="dropped",
        transient=True,
    )
