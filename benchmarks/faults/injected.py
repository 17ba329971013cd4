"""The faults, one function each: it comes at a random moment, and what it left is looked at.

Each returns whether the fault came at all: a command may have ended before.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.faults.contents import JOURNALS
from benchmarks.faults.forks import Fork
from benchmarks.faults.trials import Trial
from profiler.system import stamp

DONE, REFUSED, UNAVAILABLE, INTERRUPTED = 0, (1, 2), 4, 130
YEAR = timedelta(days=365)
FILE_BYTES = (1, 6)  # least and most that may be written to one file, as powers of 10
ROOM_BYTES = (2, 6)  # left on a disk
MEMORY_BYTES = (5, 9)  # beyond what the process has when the command begins
DISK_BYTES = 1 << 29


def kill(trial: Trial) -> bool:
    fork = trial.start()
    time.sleep(trial.moment_s())
    fork.send(signal.SIGKILL)
    code, said = fork.wait()
    return _stopped(trial, "SIGKILL", code, said, -signal.SIGKILL)


def kill_fresh(trial: Trial) -> bool:
    """In a process of its own, with the start of Python and all imports."""
    begun_s = time.monotonic()
    process = trial.start_fresh()
    _, said = process.communicate()
    seconds = time.monotonic() - begun_s
    trial.check_said("in a process of its own", process.returncode, said.decode(), (DONE,))
    trial.check_result("in a process of its own")
    trial.begin_anew()
    process = trial.start_fresh()
    time.sleep(trial.rng.uniform(0, seconds))
    process.kill()
    _, said = process.communicate()
    return _stopped(
        trial, "SIGKILL", process.returncode, said.decode(errors="replace"), -signal.SIGKILL
    )


def _stopped(trial: Trial, fault: str, code: int, said: str, stopped: int) -> bool:
    """Look at what is there after a command was stopped, or had ended before."""
    if code == DONE:
        trial.check_result(f"{fault} after the end")
        trial.begin_anew()
        return False
    if code != stopped:
        trial.is_wrong(f"{fault}: ended with {code}: {said.strip()[-300:]}")
    trial.look(fault)
    trial.perhaps_end(fault)
    return True


def interrupt(trial: Trial, number: signal.Signals) -> bool:
    """One line, the exit code that who sent it expects, and nothing left over."""
    expected = INTERRUPTED if number == signal.SIGINT else -number
    fork, n_left = trial.start(), trial.temporary_left
    time.sleep(trial.moment_s())
    fork.send(number)
    code, said = fork.wait()
    trial.check_said(number.name, code, said, (DONE, expected))
    came = _stopped(trial, number.name, code, said, expected)
    if trial.temporary_left > n_left:
        trial.is_wrong(f"{number.name}: a temporary file is left")
    return came


def limit_files(trial: Trial) -> bool:
    """No file may be longer than so many bytes: a write fails in the middle, as on a full disk."""
    n_bytes = int(10 ** trial.rng.uniform(*FILE_BYTES))
    return _refused(trial, "file limit", trial.start(partial(_limit_files, n_bytes)))


def _limit_files(n_bytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # without the signal a write beyond it fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def limit_memory(trial: Trial) -> bool:
    fork = trial.start(partial(_limit_memory, int(10 ** trial.rng.uniform(*MEMORY_BYTES))))
    return _refused(trial, "memory limit", fork)


def _limit_memory(n_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _refused(trial: Trial, fault: str, fork: Fork, codes: tuple[int, ...] = (0, 1, 2)) -> bool:
    """Look at what is there after a command that could not go on, if it could not."""
    code, said = fork.wait()
    trial.check_said(fault, code, said, codes)
    if code == DONE:
        trial.check_result(fault)
        trial.begin_anew()
        return False
    trial.look(fault)
    trial.perhaps_end(fault)
    return True


class Disk:
    """A file system of its own in memory, where this process may mount one."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self) -> bool:
        """Whether it could be."""
        return self._does("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")

    def unmount(self) -> None:
        self._does("umount", "--lazy")  # a command that was left may still be there

    @contextmanager
    def full_but_for(self, n_bytes: int) -> Iterator[None]:
        used = shutil.disk_usage(self.place).used
        with self._remounted(f"size={used + n_bytes}", f"size={DISK_BYTES}"):
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        with self._remounted("ro", "rw"):
            yield

    @contextmanager
    def _remounted(self, now: str, then: str) -> Iterator[None]:
        for options in (now, then):
            if not self._does("mount", "-o", f"remount,{options}"):
                raise SystemExit(f"{self.place} cannot be mounted {options}")
            if options is now:
                yield

    def _does(self, *command: str) -> bool:
        done = subprocess.run([*command, str(self.place)], capture_output=True, check=False)
        return done.returncode == 0


def fill_disk(trial: Trial, disk: Disk) -> bool:
    with disk.full_but_for(int(10 ** trial.rng.uniform(*ROOM_BYTES))):
        fork = trial.start()
        fork.ended()
    return _refused(trial, "full disk", fork)


def write_protect(trial: Trial, disk: Disk) -> bool:
    """The command refuses at once, and nothing is changed."""
    trial.begin_anew()
    with disk.read_only():
        fork = trial.start()
        fork.ended()
    return _refused(trial, "read-only", fork, REFUSED)


def begin_two(trial: Trial) -> bool:
    """Two of the same command: one does it, and the other does it too or is told to wait."""
    first = trial.start()
    time.sleep(trial.moment_s())
    second = trial.start()
    codes = []
    for fork in (first, second):
        code, said = fork.wait()
        trial.check_said("two at once", code, said, (DONE, UNAVAILABLE))
        codes.append(code)
    if DONE in codes:
        trial.check_result("two at once")
    else:
        trial.is_wrong(f"two at once: neither is done, {codes}")
    trial.begin_anew()
    return True


def jump_clock(trial: Trial) -> bool:
    """The time of day goes forwards and backwards by a year whenever it is asked for."""
    fork = trial.start(partial(_jump, int(trial.rng.integers(1 << 30))))
    code, said = fork.wait()
    trial.check_said("clock", code, said, (DONE,))
    trial.end("clock", though_later=True)
    return True


def _jump(seed: int) -> None:
    rng = np.random.default_rng(seed)

    class JumpingClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> JumpingClock:
            found = datetime(2026, 1, 1, tzinfo=UTC) + float(rng.uniform(-1, 1)) * YEAR
            return cls.fromtimestamp(found.timestamp(), UTC)

    mock.patch.object(stamp, "datetime", JumpingClock).start()
    mock.patch.object(time, "time", lambda: JumpingClock.now().timestamp()).start()


def damage(trial: Trial) -> bool:
    """What a command goes on from is damaged: it says so in one line, or it goes on."""
    trial.begin_anew()
    fork = trial.start()
    time.sleep(trial.moment_s())
    fork.send(signal.SIGKILL)
    fork.wait()
    files = [path for name in trial.writer.kept for path in sorted(trial.folder.rglob(name))]
    if not files:
        trial.begin_anew()  # what the kill left is no other fault's
        return False
    path = files[int(trial.rng.integers(len(files)))]
    how = DAMAGES[int(trial.rng.integers(len(DAMAGES)))]
    how(path, trial.rng)
    code, said = trial.start().wait()
    trial.check_said(f"{how.__name__} {path.name}", code, said, (DONE, *REFUSED))
    trial.begin_anew()
    return True


def cut_short(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, int(rng.integers(path.stat().st_size + 1)))


def flip_a_bit(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def empty(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, 0)


def of_a_later_version(path: Path, rng: np.random.Generator) -> None:
    """Where files of its kind say a version."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
    elif path.suffix not in JOURNALS:
        path.write_bytes(path.read_bytes().replace(b"/1", b"/9"))


def lose_its_log(path: Path, rng: np.random.Generator) -> None:
    path.with_name(path.name + "-wal").unlink(missing_ok=True)


DAMAGES = (cut_short, flip_a_bit, empty, of_a_later_version, lose_its_log)

Fault = Callable[[Trial], bool]


def faults(n_kills: int, disk: Disk | None) -> dict[str, tuple[Fault, int]]:
    """By name, with how often each is tried for so many kills."""
    some, few, fewer = (max(n_kills // share, 1) for share in (10, 20, 50))
    found: dict[str, tuple[Fault, int]] = {
        "kill": (kill, n_kills),
        "kill, own process": (kill_fresh, max(n_kills // 100, 1)),
        "SIGINT": (partial(interrupt, number=signal.SIGINT), some),
        "SIGTERM": (partial(interrupt, number=signal.SIGTERM), some),
        "file limit": (limit_files, few),
        "memory limit": (limit_memory, few),
        "two at once": (begin_two, few),
        "clock": (jump_clock, fewer),
        "damage": (damage, few),
    }
    if disk is not None:
        found["full disk"] = (partial(fill_disk, disk=disk), few)
        found["read-only"] = (partial(write_protect, disk=disk), max(n_kills // 100, 1))
    return found
