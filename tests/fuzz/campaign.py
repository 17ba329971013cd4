"""Trials of one reader: each input ends in a valid value, or in an error that is one line."""

from __future__ import annotations

import dataclasses
import math
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from profiler.errors import PnagError
from tests.fuzz.mutations import Edit, mutated

MAX_S = 10.0
MAX_MEMORY_MB = 500


@dataclass(frozen=True)
class Reader:
    """Something that reads what others wrote.

    Attributes:
        seeds: sound inputs, made in a folder by the project's own writers.
        edits: what is changed in them.
        read: what is under test, for bytes and a folder to place them in; it may assert what
            holds of a valid value beyond its numbers being finite.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    edits: Sequence[Edit]
    read: Callable[[bytes, Path], Any]


class TooLongError(BaseException):
    """Not an Exception, so that no reader takes it for what a library raised."""


def input_of(reader: Reader, seeds: Sequence[bytes], seed: int, index: int) -> bytes:
    """The same for the same reader, seed and index."""
    rng = random.Random(f"{reader.name} {seed} {index}")
    return seeds[index] if index < len(seeds) else mutated(rng, seeds, reader.edits)


def tried(
    reader: Reader, data: bytes, folder: Path, *, sound: bool = False
) -> tuple[str | None, float]:
    """What is wrong with what a reader makes of an input, None if nothing; and its seconds.

    One that is `sound` is not to be refused.
    """
    begun = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, MAX_S)
    try:
        check_finite(reader.read(data, folder))
        why = None
    except PnagError as error:
        lines = str(error).splitlines()
        why = None if len(lines) == 1 and lines[0].strip() else f"a message of {len(lines)} lines"
        if sound:
            why = f"refused what is sound: {error}"
    except TooLongError:
        why = f"took over {MAX_S:g} s"
    except MemoryError:
        why = f"took over {MAX_MEMORY_MB} MB"
    except Exception as error:
        (*_, place) = traceback.extract_tb(error.__traceback__)
        why = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return why, time.perf_counter() - begun


def check_finite(value: Any, depth: int = 0) -> None:
    """Raise AssertionError for a number that is not finite anywhere in a value."""
    if isinstance(value, float):
        assert math.isfinite(value), value
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind not in "fc" or np.isfinite(value).all()
    elif depth > 8 or value is None or isinstance(value, str | bytes | int):
        return
    elif isinstance(value, Mapping):
        check_finite(list(value.values()), depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            check_finite(item, depth + 1)
    elif dataclasses.is_dataclass(value):
        check_finite([getattr(value, f.name) for f in dataclasses.fields(value)], depth + 1)
    elif isinstance(value, BaseModel):
        check_finite(list(value.__dict__.values()), depth + 1)


@contextmanager
def bounded() -> Iterator[None]:
    """10 s a trial, and 500 MB beyond what the process has now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (held_kib,) = (int(line.split()[1]) for line in status.splitlines() if "VmData" in line)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, _stop)
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * held_kib + MAX_MEMORY_MB * 10**6, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def _stop(*_: object) -> None:
    raise TooLongError
