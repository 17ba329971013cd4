"""Trials of one reader in a process of its own, which tells of them in batches.

The trial in progress lies in memory that both processes see: so an input that ends the process, or
hangs where no signal reaches, is known.
"""

from __future__ import annotations

import mmap
import multiprocessing
import re
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.campaign import MAX_S, Reader, bounded, input_of, tried
from tests.fuzz.mutations import MAX_BYTES

BATCH_S = 2.0
IN_MEMORY = Path("/dev/shm")


@dataclass
class Batch:
    """What came of the trials since the last batch.

    Attributes:
        inputs: trials.
        slowest_input: its number.
        peak_memory_mb: the most so far, beyond what the process held before its first trial.
        found: what is wrong, with the input; once for each kind.
    """

    inputs: int = 0
    cpu_seconds: float = 0.0
    slowest_s: float = 0.0
    slowest_input: int = -1
    peak_memory_mb: float = 0.0
    found: list[tuple[str, bytes]] = field(default_factory=list)


class Current:
    """The trial in progress: its number and its input."""

    _HEAD = struct.Struct("<qq")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._HEAD.size + MAX_BYTES)
        self.ended(0)

    def began(self, index: int, data: bytes) -> None:
        self._memory[self._HEAD.size : self._HEAD.size + len(data)] = data
        self._HEAD.pack_into(self._memory, 0, index, len(data))

    def ended(self, index: int) -> None:
        """None is in progress; `index` is the next one."""
        self._HEAD.pack_into(self._memory, 0, index, -1)

    @property
    def index(self) -> int:
        return int(self._HEAD.unpack_from(self._memory)[0])

    @property
    def data(self) -> bytes | None:
        """None between trials."""
        length = int(self._HEAD.unpack_from(self._memory)[1])
        return None if length < 0 else self._memory[self._HEAD.size : self._HEAD.size + length]


class Trials:
    """Where an engine takes its inputs to, in the process that tries them.

    Args:
        end: the number of the trial that is not begun any more; none is after `until`.
        known: kinds of findings that need not be told again.
    """

    def __init__(
        self, reader: Reader, folder: Path, current: Current, pipe: Connection,
        *, end: int, until: float, known: Sequence[str],
    ) -> None:  # fmt: skip
        self._reader, self.folder, self._current, self._pipe = reader, folder, current, pipe
        self.index, self._end, self._until = current.index, end, until
        self._known, self._batch = set(known), Batch()
        self._told_at, self._told_cpu_s = time.monotonic(), time.process_time()
        self._held_kib = memory_kib("VmRSS")

    @property
    def over(self) -> bool:
        return self.index >= self._end or time.monotonic() > self._until

    def one(self, data: bytes, *, sound: bool = False) -> None:
        self._current.began(self.index, data)
        why, seconds = tried(self._reader, data, self.folder, sound=sound)
        batch = self._batch
        batch.inputs += 1
        if seconds > batch.slowest_s:
            batch.slowest_s, batch.slowest_input = seconds, self.index
        if why is not None and kind_of(why) not in self._known:
            self._known.add(kind_of(why))
            batch.found.append((why, data))
        self.index += 1
        self._current.ended(self.index)
        if time.monotonic() > self._told_at + BATCH_S:
            self.tell()

    def tell(self) -> None:
        """Send what there is to tell."""
        batch, cpu_s = self._batch, time.process_time()
        batch.cpu_seconds, self._told_cpu_s = cpu_s - self._told_cpu_s, cpu_s
        batch.peak_memory_mb = max(0, memory_kib("VmHWM") - self._held_kib) / 1024
        self._pipe.send(batch)
        self._batch, self._told_at = Batch(), time.monotonic()


Engine = Callable[[Reader, Sequence[bytes], Trials], None]


def seeded(seed: int) -> Engine:
    """Sound inputs, then those with edits: the same for the same seed."""

    def engine(reader: Reader, seeds: Sequence[bytes], trials: Trials) -> None:
        while not trials.over:
            data = input_of(reader, seeds, seed, trials.index)
            trials.one(data, sound=trials.index < len(seeds))

    return engine


class Worker:
    """A process that tries inputs of a reader until there are enough, or one ends it.

    Its messages are batches; the end of the pipe is its own.
    """

    def __init__(
        self, reader: Reader, engine: Engine,
        *, begin: int, end: int, until: float, known: Sequence[str],
    ) -> None:  # fmt: skip
        self._current = Current()
        self._current.ended(begin)
        self._seen, self._seen_at, self._stopped = begin, time.monotonic(), False
        self._place = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(reader, engine, Path(self._place.name), self._current, theirs),
            kwargs={"end": end, "until": until, "known": known}, daemon=True,
        )  # fmt: skip
        self._process.start()
        theirs.close()

    def is_stuck(self) -> bool:
        """Beyond what a trial's own alarm, or making the sound inputs, may take."""
        now, index = time.monotonic(), self._current.index
        if index != self._seen:
            self._seen, self._seen_at = index, now
        return now - self._seen_at > 6 * MAX_S

    def stop(self) -> None:
        self._stopped = True
        self._process.kill()

    def ended(self) -> tuple[int, str | None, bytes | None]:
        """The next trial's number; and what is wrong with the input that ended the process."""
        self._process.join()
        self.pipe.close()
        self._place.cleanup()
        code = self._process.exitcode
        if not code:
            return self._current.index, None, None
        why = "the process hung" if self._stopped else f"the process ended with {code}"
        return self._current.index + 1, why, self._current.data


def _work(
    reader: Reader, engine: Engine, folder: Path, current: Current, pipe: Connection,
    *, end: int, until: float, known: Sequence[str],
) -> None:  # fmt: skip
    tempfile.tempdir = str(folder)  # so that nothing stays behind a process that is killed
    seeds = reader.seeds(folder)
    reader.read(seeds[0], folder)  # what is imported and built once is no trial's
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("error")  # as in the suite
        trials = Trials(reader, folder, current, pipe, end=end, until=until, known=known)
        engine(reader, seeds, trials)
        trials.tell()


def kind_of(why: str) -> str:
    """Findings of one place are told once."""
    return why.partition(": ")[0]


def memory_kib(name: str) -> int:
    """What /proc tells of this process under a name."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = re.findall(rf"^{name}:\s*([0-9]+) kB$", status, re.MULTILINE)
    return int(kib)
