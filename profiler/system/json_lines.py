"""Files that JSON records are appended to, one a line: a kill cuts the last one short at most.

`user_files` reads them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from profiler.errors import InvalidInputError
from profiler.system.context_manager import Closing


class JsonLines(Closing):
    """Appends; a record is in the file once `append` returns.

    Raises:
        InvalidInputError: the file cannot be written, now or later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)  # else what failed is tried again at the end
            if _is_cut_short(self._file):
                self._file.write(b"\n")

    def append(self, record: dict[str, Any]) -> None:
        left = memoryview(f"{json.dumps(record)}\n".encode())
        with self._writing():
            while left:
                left = left[self._file.write(left) :]

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidInputError(f"cannot write {self._path}: {error.strerror}") from None


def _is_cut_short(file: io.FileIO) -> bool:
    """Whether its last line has no end."""
    if not file.tell():
        return False
    file.seek(-1, io.SEEK_END)
    return file.read(1) != b"\n"
