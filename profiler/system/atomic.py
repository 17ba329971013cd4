"""Files appear whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from profiler.errors import InvalidInputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which it becomes if the block succeeds.

    A link stays one: the file it points to is replaced. Mode and owner of a file stay as they were.

    Raises:
        InvalidInputError: `path` cannot be written.
    """
    make_folder(path)
    place = path.resolve()
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".pnag-")  # as long as any name
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        _take_mode(temporary, place)
        temporary.replace(place)
    except OSError as error:  # a full disk, or a mount point
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Raise InvalidInputError unless `path` can be written; nothing is left behind.

    Called before long work, so that its result has a place.
    """
    new = [folder for folder in _resolved(path).parents if not os.path.lexists(folder)]
    try:
        make_folder(path)
    finally:
        for folder in new:  # the innermost first
            with suppress(OSError):
                folder.rmdir()


def make_folder(path: Path) -> None:
    """Make the folder of `path`, and raise InvalidInputError unless a file can be written there.

    Only a new name or a regular file can be: no device, pipe or socket is ever replaced, nor what
    this process writes to itself.
    """
    place = _resolved(path)
    try:
        for found in (path, place):  # what a pipe in /dev/fd resolves to is no path
            with suppress(FileNotFoundError):
                _refuse_to_replace(path, found.stat())
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from None


def _refuse_to_replace(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InvalidInputError(f"cannot write {path}: it is a directory")
    if not stat.S_ISREG(status.st_mode) or _is_own_output(status):
        raise InvalidInputError(f"cannot write {path}: it is not a file that can be replaced")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:  # what it says of a link to itself
        raise InvalidInputError(f"cannot write {path}: it is a link to itself") from None


def write_text_atomic(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def lacks_room(error: BaseException) -> bool:
    """Whether a disk, a quota or a limit of file sizes is what lacked; of a file that is written
    here InvalidInputError says so.

    >>> lacks_room(OSError(errno.ENOSPC, "No space left on device")), lacks_room(OSError("other"))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in NO_ROOM


def _is_own_output(status: os.stat_result) -> bool:
    """Whether it is the file that stdout or stderr go to: /dev/stdout leads there, too."""
    for stream in (1, 2):
        with suppress(OSError):  # closed
            if os.path.samestat(status, os.fstat(stream)):
                return True
    return False


def _take_mode(temporary: Path, place: Path) -> None:
    try:
        old = place.stat()
    except FileNotFoundError:
        temporary.chmod(0o666 & ~_umask())
        return
    with suppress(PermissionError):  # only root gives files away
        os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
