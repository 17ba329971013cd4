"""What a command takes: seconds and memory of a process of its own, as a user types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = "from pnag.cli.app import main; main()"
# the system's own figure for a child that has ended, ru_maxrss, is never below its parent's
TELLING = (
    "import atexit, sys; from pathlib import Path; place = Path(sys.argv.pop(1)); "
    "atexit.register(lambda: place.write_bytes(Path('/proc/self/status').read_bytes())); "
)


def taken_by(*arguments: str, stdout: Path = Path(os.devnull)) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory of `pnag ARGUMENTS`."""
    with tempfile.NamedTemporaryFile() as status, stdout.open("wb") as out:
        command = [sys.executable, "-c", TELLING + MAIN, status.name, *arguments]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=out)
        _, code, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        told = Path(status.name).read_text(encoding="ascii")
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"pnag {' '.join(arguments[:8])} ... failed")
    (peak_kib,) = re.findall(r"^VmHWM:\s*([0-9]+) kB$", told, re.MULTILINE)
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": int(peak_kib) / 1024,
    }
