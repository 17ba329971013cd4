"""When and by what a file was written, as files record it."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def today() -> str:
    """UTC, ISO 8601."""
    return now()[:10]


def this_tool() -> str:
    """Its name and version; without one where it runs from sources that are not installed."""
    try:
        return f"pnag {version('pnag')}"
    except PackageNotFoundError:
        return "pnag"
