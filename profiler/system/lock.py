"""One process at a time on one device: a lock of the whole machine that dies with its process."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from profiler.errors import DeviceUnavailableError

HOST_CPU = "host cpu"  # backends that run on this machine's cores share it
# Tests keep apart with it. No session sets it, as sessions set XDG_RUNTIME_DIR and TMPDIR: two
# users, or a login and cron, meet at one lock.
TEST_NAMESPACE = "PNAG_TEST_LOCKS"

_MAX_ASKING = 4096  # who asks for the holder stays in the socket's queue, never accepted
_MOMENT_S = 0.05
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@contextmanager
def device_lock(name: str) -> Iterator[None]:
    """Hold the device `name` for the block: no other process of this machine, whosesoever, can.

    Raises:
        DeviceUnavailableError: another process has it, or locks cannot be kept.
    """
    label = _label(name)
    with ExitStack() as held:
        try:
            held.enter_context(_socket_lock(label) if sys.platform == "linux" else file_lock(label))
        except BlockingIOError:
            raise DeviceUnavailableError(
                f"another process{_holder(label)} is at work on {name}; wait for it or stop it, "
                "two at once would disturb each other"
            ) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise DeviceUnavailableError(f"cannot lock {name}: {where}{error.strerror}") from None
        yield


def _label(name: str) -> str:
    """A short name of its own for every `name`, whose end tells more than its beginning."""
    key = f"{os.environ.get(TEST_NAMESPACE, '')}\0{name}"
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
    return f"pnag-{digest}-{re.sub('[^A-Za-z0-9.-]+', '_', name)[-40:]}"


@contextmanager
def _socket_lock(label: str) -> Iterator[None]:
    """An abstract Unix socket, as Linux has them.

    The name is the kernel's: there is no file to plant, to clean away or to leave behind.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        try:
            held.bind(f"\0{label}")
            held.listen(_MAX_ASKING)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BlockingIOError from None
            raise
        yield


def _holder(label: str) -> str:
    """Who holds the socket, by what the kernel says of it; empty where it cannot be told."""
    if sys.platform != "linux":
        return ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(f"\0{label}")
            found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:  # it ended just now, or its queue is full
            return ""
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return f" (pid {pid})" if uid == os.getuid() else f" (pid {pid} of user {uid})"


@contextmanager
def file_lock(label: str, folder: Path = Path("/tmp")) -> Iterator[None]:
    """A lock on a file in the folder that all users share, where sockets have files.

    The file goes with the lock; those of processes that were killed go with the next lock.
    """
    _tidy(folder)
    path = folder / f"{label}.lock"
    try:
        held = _lock(path, create=True)
    except BlockingIOError:  # perhaps by one that only tidies: it is done in a moment
        time.sleep(_MOMENT_S)
        held = _lock(path, create=True)
    try:
        yield
    finally:
        with suppress(OSError):  # it is another user's
            path.unlink()  # while it is locked: who opened it before sees that it is gone
        os.close(held)


def _lock(path: Path, *, create: bool) -> int:
    """A locked descriptor of the file that lies at `path` now.

    It is opened to be read, by no link: whoever made it, nothing can be overwritten through it.
    """
    import fcntl

    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        held = os.open(path, flags | (os.O_CREAT if create else 0), 0o644)
        try:
            status = os.fstat(held)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            if create and status.st_uid == os.geteuid():
                os.fchmod(held, 0o644)  # other users lock it too, whatever this one's umask
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _lies_at(path, status):
                return held
        except OSError:
            os.close(held)
            raise
        os.close(held)  # its holder removed it after it was opened here


def _lies_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), status)
    except FileNotFoundError:
        return False


def _tidy(folder: Path) -> None:
    """Remove this user's lock files that nobody holds: their processes were killed."""
    for path in folder.glob("pnag-*.lock"):
        with suppress(OSError):  # held, gone, no file, or another user's
            if path.lstat().st_uid == os.geteuid():
                held = _lock(path, create=False)
                try:
                    path.unlink()
                finally:
                    os.close(held)
