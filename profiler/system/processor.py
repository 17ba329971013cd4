"""What this machine's processor can do."""

from __future__ import annotations

from pathlib import Path

KNOWN = ("avx512f", "avx2", "avx", "sse4_2", "sve", "asimd", "neon")  # widest first


def vector_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The widest vector instructions, on which a runtime's choice of kernels depends; None where
    the system does not tell."""
    try:
        flags = set(cpuinfo.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return None
    return next((name for name in KNOWN if name in flags), None)
