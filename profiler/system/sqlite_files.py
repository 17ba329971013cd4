"""A SQLite database as files: with write-ahead logging there are two beside it while it is open."""

from __future__ import annotations

from pathlib import Path


def read_only_address(path: Path) -> str:
    """SQLite's address of a file to read. Without a log nothing is pending, and nothing needs to be
    made beside the file, which may lie where nothing can be.
    """
    pending = path.with_name(f"{path.name}-wal").exists()
    return f"{path.resolve().as_uri()}?{'mode=ro' if pending else 'immutable=1'}"


def remove_database(path: Path) -> None:
    """With what lies beside it; harmless where there is none."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
