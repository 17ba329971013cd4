"""Ends a process that hangs where nothing interrupts it: in a runtime's own endless loop.

What Python does about a signal waits for the next bytecode, so the deadline of `sampling` never
acts inside C. But the C half of its handler does, at each ring of the timer: it writes a byte to
where `signal.set_wakeup_fd` says. Another process sleeps until such bytes come. So no thread is
beside the measurement, nothing wakes up while it goes well, and nothing needs the interpreter's
lock, which the loop may hold.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from profiler.printable import printable
from profiler.system.context_manager import Closing

RINGS = 10  # of the timer, for the same configuration, until its process is ended
_MAX_BYTES = 4096


class Watchdog(Closing):
    """Watches this process's main thread, until `close`.

    Args:
        journal: of the sweep; there what hangs is recorded as failed. None: nothing is kept.
        sweep: its number in the journal.
    """

    def __init__(self, journal: Path | None, sweep: int) -> None:
        self._record = _memory_file()  # what is at work, read when it hangs
        rung, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        place = "" if journal is None else str(journal.resolve())
        facts = map(str, (os.getpid(), self._record, RINGS, sweep, place))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *facts],  # nothing of the current folder
            stdin=rung, stdout=subprocess.DEVNULL, pass_fds=[self._record],
            start_new_session=True,  # Ctrl-C is for the process that measures
        )  # fmt: skip
        os.close(rung)
        self._before = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)

    def about(self, key: str, name: str) -> None:
        """What is at work from now on; no key: no configuration is to blame."""
        text = f"{key}\n{name}".encode()
        os.pwrite(self._record, text.ljust(_MAX_BYTES)[:_MAX_BYTES], 0)

    def close(self) -> None:
        if self._process.returncode is None:
            signal.set_wakeup_fd(self._before)
            os.close(self._bell)  # at which the other process ends
            os.close(self._record)
            self._process.wait()


def _memory_file() -> int:
    """A descriptor of a file without a name, which no disk is written for, where there are such."""
    if sys.platform == "linux":
        return os.memfd_create("pnag")
    from tempfile import mkstemp

    descriptor, name = mkstemp()
    Path(name).unlink()
    return descriptor


def watch(pid: int, record: int, rings: int, sweep: int, journal: str) -> None:
    """Until stdin ends; a byte is the number of a signal that the process `pid` got."""
    last, rung = b"", 0
    while signals := os.read(0, _MAX_BYTES):
        now = os.pread(record, _MAX_BYTES, 0)
        rung = signals.count(signal.SIGALRM) + (rung if now == last else 0)
        last = now
        if rung >= rings:
            key, _, name = now.decode(errors="replace").rstrip().partition("\n")
            said = f"{printable(name)} hangs in its runtime, where nothing interrupts it"
            try:
                kept = _fail(Path(journal), sweep, key, name) if journal and key else ""
                print(f"\npnag: {said}; process {pid} is ended{kept}", file=sys.stderr, flush=True)
            finally:
                os.kill(pid, signal.SIGKILL)
            return


def _fail(journal: Path, sweep: int, key: str, name: str) -> str:
    """Record it, so that nobody tries it again; what the person may do, in words."""
    from profiler.errors import PnagError
    from profiler.measuring.journal import Journal
    from profiler.measuring.records import Outcome, hung

    try:
        with Journal(journal) as opened:
            opened.add_outcome(key, Outcome.failure(sweep, name, hung()))
    except PnagError as error:
        return f" ({printable(str(error))})"
    return "; what was measured is kept, and the same command goes on without it"


if __name__ == "__main__":
    pid, record, rings, sweep = map(int, sys.argv[1:5])
    watch(pid, record, rings, sweep, sys.argv[5])
