"""One measurement at a time on one device: a lock file that dies with its process."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiler.errors import DeviceUnavailableError

MAX_NAME = 200  # file names end at 255 bytes; the end of a path tells more than its beginning
HOST_CPU = "host cpu"  # backends that run on this machine's cores share it


def lock_directory() -> Path:
    """Per user: ``$XDG_RUNTIME_DIR/pnag`` where it may be written, else a temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "pnag"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"pnag-{user}"


@contextmanager
def device_lock(name: str, directory: Path | None = None) -> Iterator[None]:
    """Hold the device `name` for the block.

    Raises:
        DeviceUnavailableError: another process measures on it, or locks cannot be kept.
    """
    from filelock import FileLock, Timeout

    folder = directory or lock_directory()
    slug = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-MAX_NAME:]
    holder = folder / f"{slug}.pid"
    lock = FileLock(folder / f"{slug}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise DeviceUnavailableError(
            f"another process{_holder(holder)} is measuring on {name}; wait for it or stop it, "
            "two at once would disturb each other"
        ) from None
    except OSError as error:
        raise DeviceUnavailableError(
            f"cannot lock {name}: {folder} cannot be written ({error.strerror}); give another "
            "folder in XDG_RUNTIME_DIR"
        ) from None
    try:
        holder.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        return f" (pid {int(path.read_text(encoding='ascii'))})"
    except (OSError, ValueError):
        return ""
