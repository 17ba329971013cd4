"""What a command takes: seconds and memory of a process of its own, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

MAIN = "from pnag.cli.app import main; main()"


def taken_by(*arguments: str, stdout: Path = Path(os.devnull)) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory of `pnag ARGUMENTS`."""
    begun = time.perf_counter()
    with stdout.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"pnag {' '.join(arguments[:8])} ... failed")
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }
