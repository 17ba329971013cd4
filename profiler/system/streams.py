"""stdout and stderr of a command outlast whoever reads them: its work goes on."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from errno import EIO, EPIPE
from typing import TextIO

GONE = (EPIPE, EIO)  # a pipe without a reader, a terminal that hung up


class LastingStream(io.TextIOWrapper):
    """Text to a descriptor, and to nowhere once that takes no more.

    Characters that its encoding lacks are written as escapes.

    Attributes:
        lost: what stopped it, other than a reader that has seen enough.
    """

    def __init__(
        self, number: int, *, encoding: str = "utf-8", line_buffering: bool = True
    ) -> None:
        self._number = number
        self.lost: OSError | None = None
        buffer = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        super().__init__(buffer, encoding, errors="backslashreplace", line_buffering=line_buffering)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._turn_away(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._turn_away(error)

    def _turn_away(self, error: OSError) -> None:
        if error.errno not in GONE:
            self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._number)
        os.close(nowhere)
        super().flush()  # what is still in the buffer


def open_streams() -> None:
    """Make the streams of this process last; a closed one goes nowhere.

    Without it the next file that is opened would get a closed stream's number, and notes that find
    no stderr would be printed among results.
    """
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    for number, name in ((1, "stdout"), (2, "stderr")):
        old: TextIO | None = getattr(sys, name)
        if old is None:
            setattr(sys, name, LastingStream(number))
        elif old.fileno() == number:
            lasting = LastingStream(
                number, encoding=old.encoding, line_buffering=bool(old.line_buffering)
            )
            setattr(sys, name, lasting)
