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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler.errors import DeviceUnavailableError

HOST_CPU = "host cpu"  # backends that run on this machine's cores share it
# Tests keep apart with it. No session sets it, as sessions set XDG_RUNTIME_DIR and TMPDIR: two
# users, or a login and cron, meet at one lock.
TEST_NAMESPACE = "PNAG_TEST_LOCKS"

_MAX_ASKING = 4096  # who asks for the holder stays in the socket's queue, never accepted
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@contextmanager
def device_lock(name: str) -> Iterator[None]:
    """Hold the device `name` for the block: no other process of this machine, whosesoever, can.

    Raises:
        DeviceUnavailableError: another process has it, or locks cannot be kept.
    """
    label = _label(name)
    try:
        held = _socket_lock(label) if sys.platform == "linux" else file_lock(label)
    except BlockingIOError:
        raise DeviceUnavailableError(
            f"another process{_holder(label)} is at work on {name}; wait for it or stop it, two "
            "at once would disturb each other"
        ) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise DeviceUnavailableError(f"cannot lock {name}: {where}{error.strerror}") from None
    try:
        yield
    finally:
        os.close(held)


def _label(name: str) -> str:
    """A short name of its own for every `name`, whose end tells more than its beginning."""
    key = f"{os.environ.get(TEST_NAMESPACE, '')}\0{name}"
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
    return f"pnag-{digest}-{re.sub('[^A-Za-z0-9.-]+', '_', name)[-40:]}"


def _socket_lock(label: str) -> int:
    """A descriptor of an abstract Unix socket, as Linux has them.

    The name is the kernel's: there is no file to plant, to clean away or to leave behind.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0{label}")
        held.listen(_MAX_ASKING)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            raise BlockingIOError from None
        raise
    return held.detach()


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


def file_lock(label: str, folder: Path = Path("/tmp")) -> int:
    """A locked descriptor of a file in the folder that all users share, where sockets have files.

    It is opened to be read, by no link: whoever made it, nothing can be overwritten through it.
    """
    import fcntl

    path = folder / f"{label}.lock"
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    held = os.open(path, flags, 0o644)
    try:
        status = os.fstat(held)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_uid == os.geteuid():
            os.fchmod(held, 0o644)  # other users lock it too, whatever this one's umask
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held
