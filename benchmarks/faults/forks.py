"""Commands as forks of a process that has imported all that they import.

A start of Python and its imports takes a second or two; a fork takes a hundredth of it, so that
thousands can be begun and killed. The process that forks has one thread, and has run nothing of
PyTorch's automatic differentiation, which does not outlive a fork.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from select import select

(COMMAND,) = entry_points(group="console_scripts", name="pnag")
main = COMMAND.load()
LONGEST_S = 120.0  # a command that takes longer hangs
HANGS = -signal.SIGALRM  # what it then ends with
BROKEN = 70  # it ended in a traceback
MAX_SAID = 1 << 16  # bytes on stderr: what a pipe holds


class Fork:
    """`pnag ARGUMENTS` in `folder`, from the moment that it answers SIGTERM: before, and so before
    it has done anything, the signal ends it as it ends any process.

    Args:
        before: what is done in the child first; it changes nothing here.
        tell_modules: a file for the names of what it had imported in the end.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, *,
        before: Sequence[Callable[[], object]] = (), tell_modules: Path | None = None,
    ) -> None:  # fmt: skip
        (begun, tells_begun), (self._said, says) = os.pipe(), os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(arguments, folder, before, tells_begun, says, tell_modules)
        os.close(tells_begun)
        os.close(says)
        os.read(begun, 1)
        os.close(begun)
        while not catches_or_ended(self.pid, signal.SIGTERM):
            time.sleep(0.0005)
        self.begun_s = time.monotonic()
        self.seconds = 0.0  # once it has ended
        self._code: int | None = None

    def send(self, number: signal.Signals) -> None:
        """To the command and to what it started; harmless once it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self) -> tuple[int, str]:
        """Its exit code, negative for a signal, and what it said on stderr."""
        code = self.ended()
        said = os.read(self._said, MAX_SAID) if select([self._said], [], [], 0)[0] else b""
        os.close(self._said)
        return code, said.decode(errors="replace")

    def ended(self) -> int:
        """Wait, and nothing else."""
        if self._code is None:
            self._code = self._waited()
            self.seconds = time.monotonic() - self.begun_s
            self.send(signal.SIGKILL)  # what it left behind
        return self._code

    def _waited(self) -> int:
        while time.monotonic() - self.begun_s < LONGEST_S:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        self.send(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return HANGS

    def _be(
        self, arguments: Sequence[str], folder: Path, before: Sequence[Callable[[], object]],
        tells_begun: int, says: int, tell_modules: Path | None,
    ) -> None:  # fmt: skip
        code = BROKEN
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(folder)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number, target in enumerate((nowhere, nowhere, says)):
                os.dup2(target, number)
            sys.argv = ["pnag", *arguments]
            for prepare in before:
                prepare()
            os.write(tells_begun, b".")
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # a traceback is what a person would see of it
            traceback.print_exc()
        finally:
            if tell_modules is not None:
                tell_modules.write_text("\n".join(sys.modules))
            os._exit(code)


def catches_or_ended(pid: int, number: signal.Signals) -> bool:
    """Whether a child has set a handler for the signal, or has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    facts = dict(line.split(":\t", 1) for line in lines)
    return facts["State"].startswith("Z") or bool(int(facts["SigCgt"], 16) >> (number - 1) & 1)


def import_all(names: Sequence[str]) -> None:
    """What a fork would import by itself.

    Raises:
        RuntimeError: an import began a thread, which no fork would have.
    """
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # a name that its package made up
                importlib.import_module(name)
    n_threads = len(list(Path("/proc/self/task").iterdir()))
    if n_threads > 1:
        raise RuntimeError(f"{n_threads} threads: begin with OMP_NUM_THREADS=1")
    gc.freeze()  # else each fork copies what its first collection marks
