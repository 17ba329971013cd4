"""Memory of this computer."""

from __future__ import annotations


def available_memory_mb() -> float:
    """What new allocations can have without swapping."""
    import psutil

    return float(psutil.virtual_memory().available) / 1e6
