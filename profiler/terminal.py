"""How commands speak: results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Protocol

from profiler.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


ANY_WIDTH = 100_000  # of a pipe or a file: nothing is folded or cut there
EVERY_S = 30.0


class Progress(Protocol):
    """Advances one long job; the terminal shows the share done and the time left.

    `skip` is for what an earlier run has done: part of the share, but of no rate. `expect` is for
    a job that turns out longer or shorter: its steps in all. `say` is one line beside it.
    """

    def advance(self, steps: float = 1.0, *, note: str = "") -> None: ...

    def skip(self, steps: float) -> None: ...

    def expect(self, total: float) -> None: ...

    def say(self, text: str) -> None: ...


class SilentProgress:
    def advance(self, steps: float = 1.0, *, note: str = "") -> None:
        return None

    def skip(self, steps: float) -> None:
        return None

    def expect(self, total: float) -> None:
        return None

    def say(self, text: str) -> None:
        return None


@dataclass(frozen=True)
class Terminal:
    """Output of one command. With `json_output`, stdout carries one JSON document only.

    Without `live`, progress is shown in lines: where several jobs report to one terminal.
    """

    json_output: bool = False
    quiet: bool = False
    live: bool = True

    def note(self, text: str) -> None:
        """One line on stderr for the person who watches."""
        if not self.quiet and sys.stderr is not None:  # print() would take stdout in its place
            print(printable(text), file=sys.stderr, flush=True)

    def result(self, document: dict[str, Any], render: Any = None) -> None:
        """The command's result: `document` as JSON, or `render` (text or a Rich renderable)."""
        if self.json_output:
            for part in _written(document):
                print(part, end="")
            print(flush=True)
        elif isinstance(render, str):
            print(printable(render), flush=True)  # not through Rich, which would wrap long lines
        elif render is not None:
            self._console(stderr=False).print(Printable(render))

    @contextmanager
    def progress(self, what: str, total: float) -> Iterator[Progress]:
        """A progress bar on stderr with time elapsed and estimated time left."""
        if self.quiet:
            yield SilentProgress()
            return
        if not self.live or not sys.stderr.isatty():
            yield LineProgress(self, what, total)
            return
        from rich import progress as rich_progress

        columns = (
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}", markup=False),
        )
        with rich_progress.Progress(*columns, console=self._console(stderr=True)) as bars:
            yield BarProgress(bars, bars.add_task(printable(what), total=total, note=""))

    def _console(self, *, stderr: bool) -> Console:
        from rich.console import Console

        to_person = (sys.stderr if stderr else sys.stdout).isatty()
        width = None if to_person else ANY_WIDTH
        return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


SILENT = Terminal(quiet=True)


def _written(document: dict[str, Any]) -> Iterator[str]:
    """`document` as JSON, in parts: the rows of a result may be 100,000."""
    before = "{"
    for name, value in document.items():
        yield f"{before}{json.dumps(name)}: "
        if isinstance(value, list) and value:
            for opening, item in zip(chain("[", repeat(", ")), value, strict=False):
                yield opening + json.dumps(item, allow_nan=False)
            yield "]"
        else:
            yield json.dumps(value, allow_nan=False)
        before = ", "
    yield "}" if document else "{}"


@dataclass(frozen=True)
class Printable:
    """A Rich renderable whose texts are `printable`; its styles stay."""

    renderable: Any

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class BarProgress:
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: float = 1.0, *, note: str = "") -> None:
        self._bars.update(self._task, advance=steps, note=printable(note))

    def skip(self, steps: float) -> None:
        self._bars.reset(self._task, completed=steps)

    def expect(self, total: float) -> None:
        self._bars.update(self._task, total=total)

    def say(self, text: str) -> None:
        self._bars.console.print(printable(text), markup=False, soft_wrap=True)


class LineProgress:
    """Without a terminal (CI, a log file): a line every tenth of the way, and at least every
    `EVERY_S` of a job that turns out longer, with the time left."""

    def __init__(self, terminal: Terminal, what: str, total: float) -> None:
        import time

        self._terminal, self._what, self._total = terminal, what, total
        self._clock, self._start = time.monotonic, time.monotonic()
        self._done, self._skipped, self._shown = 0.0, 0.0, 0
        self._told = self._start

    def advance(self, steps: float = 1.0, *, note: str = "") -> None:
        self._done += steps
        self._show(note)

    def skip(self, steps: float) -> None:
        self._skipped += steps
        self._done += steps
        self._shown = self._tenth()

    def expect(self, total: float) -> None:
        self._total = total
        if self._tenth() < self._shown - 1:  # much less far than it was; a little is not told twice
            self._shown = self._tenth()

    def say(self, text: str) -> None:
        self._terminal.note(text)

    def _tenth(self) -> int:
        return int(10 * self._done / self._total) if self._total else 10

    def _show(self, note: str) -> None:
        tenth, now = self._tenth(), self._clock()
        if tenth <= self._shown and now - self._told < EVERY_S:
            return
        self._shown, self._told = tenth, now
        elapsed = now - self._start
        left = elapsed / (self._done - self._skipped) * max(0.0, self._total - self._done)
        self._terminal.note(
            f"{self._what}: {10 * tenth} % after {elapsed:.0f} s, about {left:.0f} s left {note}"
        )
