"""A phone for tests: an adbd over loopback TCP that the real adb server attaches with `connect`.

It speaks the device side of the protocol (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE; shell v2; sync v1),
runs every command in a sandbox folder whose paths stand for the phone's, and misbehaves on
demand. Protocol: packages/modules/adb/protocol.txt, shell_protocol.h and SYNC.TXT of Android.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.phone import Phone

CNXN, AUTH, OPEN = 0x4E584E43, 0x48545541, 0x4E45504F
OKAY, CLSE, WRTE = 0x59414B4F, 0x45534C43, 0x45545257
VERSION, MAX_DATA = 0x01000001, 256 * 1024
BANNER = b"device::ro.product.name=sailfish;ro.product.model=Pixel;features=shell_v2,cmd"
STDOUT, STDERR, EXIT = 1, 2, 3


@dataclass
class Fault:
    """Misbehaviour of `times` services whose name contains `match`, after `skip` such services.

    kind: drop (before the command runs), drop_after (the command runs on, its answer is lost),
    hang, truncate (half of the output, no exit status), garbage, reboot, or, while a file is
    pushed, drop_push and disk_full, after `after_bytes`.
    """

    kind: str
    match: str = ""
    times: int = 1
    skip: int = 0
    after_bytes: int = 0

    def applies(self, service: str) -> bool:
        """Counts down."""
        if not self.times or self.match not in service:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Stream:
    """One open service: the ids of both sides, and flow control (one packet in flight)."""

    local: int
    remote: int
    connection: Connection
    incoming: bytearray = field(default_factory=bytearray)
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_DATA // 2):
            self.connection.send(WRTE, self.local, self.remote, data[at : at + MAX_DATA // 2])
            if not self.ready.acquire(timeout=10) or self.closed:
                raise ConnectionError("the host stopped reading")

    def packet(self, kind: int, data: bytes) -> None:
        """One packet of the shell v2 protocol."""
        self.write(struct.pack("<BI", kind, len(data)) + data)

    def read(self, size: int) -> bytes:
        with self.changed:
            self.changed.wait_for(lambda: len(self.incoming) >= size or self.closed, timeout=30)
            if len(self.incoming) < size:
                raise ConnectionError("closed by the host")
            data = bytes(self.incoming[:size])
            del self.incoming[:size]
            return data

    def close(self) -> None:
        if not self.closed:
            self.connection.send(CLSE, self.local, self.remote)


class Connection:
    """One TCP connection from an adb server."""

    def __init__(self, daemon: Adbd, sock: socket.socket) -> None:
        self._daemon, self._socket = daemon, sock
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._next_id = 1

    def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        header = struct.pack(
            "<6I", command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF
        )
        with self._sending:
            self._socket.sendall(header + data)

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while header := self._receive(24):
                command, arg0, arg1, length, _, _ = struct.unpack("<6I", header)
                self._handle(command, arg0, arg1, self._receive(length))
        self.drop()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for stream in list(self._streams.values()):
            self._end(stream)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                return b""
            data += chunk
        return data

    def _handle(self, command: int, arg0: int, arg1: int, data: bytes) -> None:
        if command == CNXN:
            if self._daemon.state == "unauthorized":
                self.send(AUTH, 1, 0, os.urandom(20))
            elif self._daemon.state == "device":
                self.send(CNXN, VERSION, MAX_DATA, BANNER)
        elif command == AUTH:
            if arg0 == 2:  # a signature by a key that this phone never allowed
                self.send(AUTH, 1, 0, os.urandom(20))
        elif command == OPEN:
            stream = Stream(self._next_id, arg0, self)
            self._next_id += 1
            self._streams[stream.local] = stream
            service = data.rstrip(b"\0").decode()
            threading.Thread(
                target=self._daemon.serve_stream, args=(stream, service), daemon=True
            ).start()
        elif stream_ := self._streams.get(arg1):
            self._continue(stream_, command, data)

    def _continue(self, stream: Stream, command: int, data: bytes) -> None:
        if command == OKAY:
            stream.ready.release()
        elif command == WRTE:
            with stream.changed:
                stream.incoming += data
                stream.changed.notify_all()
            self.send(OKAY, stream.local, stream.remote)
        elif command == CLSE:
            self._streams.pop(stream.local, None)
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        with stream.changed:
            stream.closed = True
            stream.changed.notify_all()
        stream.ready.release()


class Adbd:
    """The daemon. `serial` is what `adb devices` shows after `adb connect`."""

    def __init__(self, root: Path) -> None:
        self.phone = Phone(root)
        self.state = "device"  # or unauthorized, or offline
        self.received: list[str] = []
        self.faults: list[Fault] = []
        self.drop_every = 0  # drop the link at every n-th service
        self._marker = f"PNAG_TEST_PHONE={uuid.uuid4().hex}"
        self._connections: list[Connection] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        self.kill_processes()

    def drop(self) -> None:
        """Pull the cable."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.drop()

    def reboot(self) -> None:
        self.kill_processes()
        self.phone.boot()
        self.drop()

    def processes(self) -> list[int]:
        """Ids of the phone's processes that live (zombies do not)."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._marker.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def kill_processes(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def serve_stream(self, stream: Stream, service: str) -> None:
        with self._lock:
            self.received.append(service)
            count = len(self.received)
        if self.drop_every and count % self.drop_every == 0:
            self.drop()
            return
        kind, _, command = service.partition(":")
        fault = self._take_fault(service)
        with contextlib.suppress(OSError):
            if fault and fault.kind in ("drop", "hang", "reboot"):
                self._misbehave(stream, fault)
                return
            stream.connection.send(OKAY, stream.local, stream.remote)
            if kind == "sync":
                SyncService(self, stream).serve()
            elif kind.split(",")[0] == "shell" and "v2" in kind.split(","):
                self._shell(stream, command, fault)
            stream.close()

    def take_push_fault(self) -> Fault | None:
        return self._take_fault("", kinds=("drop_push", "disk_full"))

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.state == "offline":  # attached, but it never answers
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def _take_fault(
        self,
        service: str,
        kinds: tuple[str, ...] = ("drop", "drop_after", "hang", "truncate", "garbage", "reboot"),
    ) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.applies(service):
                    return fault
        return None

    def _misbehave(self, stream: Stream, fault: Fault) -> None:
        if fault.kind == "drop":
            self.drop()
        elif fault.kind == "reboot":
            self.reboot()
        elif fault.kind == "hang":
            stream.connection.send(OKAY, stream.local, stream.remote)
            with stream.changed:
                stream.changed.wait_for(lambda: stream.closed, timeout=60)

    def _shell(self, stream: Stream, command: str, fault: Fault | None) -> None:
        """One non-interactive shell: bytes per stream, then the exit status."""
        with subprocess.Popen(
            [self.phone.shell, "-c", self.phone.inside(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self.phone.root,
            env=self.phone.environment() | dict([self._marker.split("=")]),
        ) as process:
            if fault and fault.kind == "drop_after":
                time.sleep(0.1)  # the command has begun
                self.drop()
            stdout, stderr = process.communicate()
        if fault and fault.kind == "garbage":
            stdout = bytes(range(256)) * 8
        if fault and fault.kind == "truncate":
            stream.packet(STDOUT, stdout[: len(stdout) // 2] or b"?")
            return
        if stdout:
            stream.packet(STDOUT, stdout)
        if stderr:
            stream.packet(STDERR, stderr)
        stream.packet(EXIT, bytes([process.returncode & 0xFF]))


class SyncService:
    """File transfer: STAT, SEND and RECV of sync v1."""

    def __init__(self, daemon: Adbd, stream: Stream) -> None:
        self._daemon, self._stream = daemon, stream

    def serve(self) -> None:
        while True:
            name, size = self._header()
            if name == b"QUIT":
                return
            argument = self._stream.read(size).decode()
            if name == b"STAT":
                self._stat(argument)
            elif name == b"SEND":
                self._send(argument)
            elif name == b"RECV":
                self._receive(argument)

    def _header(self) -> tuple[bytes, int]:
        name, size = struct.unpack("<4sI", self._stream.read(8))
        return name, size

    def _stat(self, path: str) -> None:
        try:
            info = Path(self._daemon.phone.inside(path)).stat()
            answer = (info.st_mode, info.st_size, int(info.st_mtime))
        except OSError:
            answer = (0, 0, 0)
        self._stream.write(b"STAT" + struct.pack("<3I", *answer))

    def _send(self, argument: str) -> None:
        path, _, mode = argument.rpartition(",")
        fault, received = self._daemon.take_push_fault(), 0
        target, failure = Path(self._daemon.phone.inside(path)), ""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in self._chunks():
                received += len(chunk)
                if fault and received > fault.after_bytes:
                    if fault.kind == "drop_push":
                        self._daemon.drop()
                        raise ConnectionError("dropped")
                    failure = "write failed: No space left on device"
                    self._daemon.phone.set_free_kib(0)
                else:
                    file.write(chunk)
        target.chmod(int(mode) & (0o666 if self._daemon.phone.noexec else 0o777))
        if failure:
            self._stream.write(b"FAIL" + struct.pack("<I", len(failure)) + failure.encode())
        else:
            self._stream.write(b"OKAY" + struct.pack("<I", 0))

    def _chunks(self) -> Iterator[bytes]:
        while True:
            name, size = self._header()
            if name == b"DONE":
                return
            yield self._stream.read(size)

    def _receive(self, path: str) -> None:
        try:
            data = Path(self._daemon.phone.inside(path)).read_bytes()
        except OSError as error:
            message = str(error.strerror).encode()
            self._stream.write(b"FAIL" + struct.pack("<I", len(message)) + message)
            return
        for at in range(0, len(data), 65536):
            chunk = data[at : at + 65536]
            self._stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        self._stream.write(b"DONE" + struct.pack("<I", 0))
