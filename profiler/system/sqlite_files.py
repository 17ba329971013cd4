"""A SQLite database as files: with write-ahead logging there are two beside it while it is open."""

from __future__ import annotations

from pathlib import Path

from profiler.errors import InvalidInputError


def read_only_address(path: Path) -> str:
    """SQLite's address of a file to read. Without a log nothing is pending, and nothing needs to be
    made beside the file, which may lie where nothing can be.
    """
    path = path.resolve()  # the log lies beside the file itself, not beside a link to it
    pending = path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?{'mode=ro' if pending else 'immutable=1'}"


def remove_database(path: Path) -> None:
    """With what lies beside it; harmless where there is none.

    Raises:
        InvalidInputError: it may not be removed, or is no file.
    """
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot remove {path}: {error.strerror}") from None
