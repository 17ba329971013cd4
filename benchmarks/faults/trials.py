"""One command under attack: run, disturbed, looked at, and let go on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import benchmarks
from benchmarks.commands import MAIN
from benchmarks.faults.contents import (
    TEMPORARY,
    check_close,
    check_whole,
    committed,
    files_in,
)
from benchmarks.faults.forks import Fork, import_all
from benchmarks.faults.writers import Writer

EARLIER = b"of an earlier run\n"  # what may lie where a command writes
ENDS = 0.1  # share of the faults after which the command is let go on to its end
SMALL = "from benchmarks.faults.writers import made_small; made_small(); "
DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+:\d]*|\d{4}-\d\d-\d\d")


class Trial:
    """A command, a folder `folder` in which it is disturbed, and what was found.

    Attributes:
        seconds: that it takes undisturbed, in a fork.
        wrong: what no fault may do, once for each time.
        temporary_left: files that a kill left beside those that were being written.
    """

    def __init__(self, writer: Writer, place: Path, disk: Path, rng: np.random.Generator) -> None:
        self.writer, self.rng = writer, rng
        self._temporary = temporary_files_in(place)
        self.folder, self._inputs = disk / "at_work", made_inputs(writer, place)
        self._expected = place / "expected"
        self.wrong: list[str] = []
        self.temporary_left = 0
        for _ in range(2):  # the first imports
            shutil.rmtree(self._expected, ignore_errors=True)
            shutil.copytree(self._inputs, self._expected)
            self.seconds = done(writer.arguments, self._expected)
        self._done = self._begun = committed(self._inputs)
        self.begin_anew()

    def begin_anew(self) -> None:
        """As before the command; perhaps over what an earlier one made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._inputs, self.folder)
        self._done = self._begun
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(exist_ok=True)
        if self.writer.same and not self.writer.kept and self.rng.random() < 0.5:
            for name in files_in(self._expected).keys() - files_in(self._inputs).keys():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(EARLIER)

    def start(self, *before: Callable[[], object]) -> Fork:
        return Fork(arguments_of(self.writer.arguments), self.folder, before=before)

    def start_fresh(self) -> subprocess.Popen[bytes]:
        """In a process of its own, as a user types it."""
        return subprocess.Popen(
            [sys.executable, "-c", SMALL + MAIN, *arguments_of(self.writer.arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(benchmarks.__file__).parents[1])},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def moment_s(self) -> float:
        """Of its time, where a fault comes."""
        return float(self.rng.uniform(0, self.seconds))

    def is_wrong(self, what: str) -> None:
        self.wrong.append(what)

    def check_said(self, fault: str, code: int, said: str, codes: tuple[int, ...]) -> None:
        """It ended with one of the codes; and unless with 0, in one line."""
        lines = said.strip().splitlines()
        if code not in codes:
            self.is_wrong(f"{fault}: ended with {code}: {said.strip()[-300:]}")
        elif code and (len(lines) != 1 or not lines[0].startswith("pnag: ")):
            self.is_wrong(f"{fault}: said {' / '.join(lines)[-300:]}")
        elif code and re.search(r"\w+(Error|Exception): ", said):
            self.is_wrong(f"{fault}: an error of no type of ours: {lines[0][-300:]}")

    def look(self, fault: str) -> None:
        """Whether a fault left each file whole or as it was, and nothing that was done is lost."""
        found = list(self.folder.rglob(TEMPORARY))
        self.temporary_left += len(found)
        for path in found:
            path.unlink()
        try:
            expected = files_in(self._expected)
            for name, path in files_in(self.folder).items():
                if path.read_bytes() == EARLIER:
                    continue
                if not self.writer.kept and self._is_same(name) and name in expected:
                    self._check_same(name)
                check_whole(path)
            done = committed(self.folder)
        except Exception as error:
            self.is_wrong(f"{fault}: {error}")
            return
        self._check_kept(fault, done)
        self._done = done

    def _check_kept(self, fault: str, done: set[str]) -> None:
        if lost := self._done - done:
            self.is_wrong(f"{fault}: {len(lost)} of {len(self._done)} are lost, as {min(lost)}")

    def end(self, fault: str, *, though_later: bool = False) -> None:
        """Let it go on: it must be done, with the result of one that was not disturbed."""
        code, said = self.start().wait()
        if code:
            self.is_wrong(f"{fault}: does not go on: {code} {said.strip()[-300:]}")
        else:
            self.check_result(fault, though_later=though_later)
        self.begin_anew()

    def perhaps_end(self, fault: str) -> None:
        if self.rng.random() < ENDS:
            self.end(fault)

    def check_result(self, fault: str, *, though_later: bool = False) -> None:
        """That all is there as it would be undisturbed; `though_later`, but for dates."""
        expected, made = files_in(self._expected), files_in(self.folder)
        if differing := expected.keys() ^ made.keys():
            self.is_wrong(f"{fault}: too many or few files: {sorted(differing)}")
            return
        try:
            for name, path in made.items():
                check_whole(path)
                if self._is_same(name):
                    self._check_same(name, but_dates=though_later)
                else:
                    check_close(path, expected[name])
            self._check_kept(f"{fault}, at the end", committed(self.folder))
        except Exception as error:
            self.is_wrong(f"{fault}: {error}")

    def _is_same(self, name: str) -> bool:
        return self.writer.same and Path(name).name not in self.writer.varying

    def _check_same(self, name: str, *, but_dates: bool = False) -> None:
        ours, theirs = ((f / name).read_bytes() for f in (self.folder, self._expected))
        if but_dates:
            ours, theirs = DATE.sub(b"then", ours), DATE.sub(b"then", theirs)
        if ours != theirs:
            raise ValueError(f"{name} is another file ({len(ours)} bytes, not {len(theirs)})")


def temporary_files_in(place: Path) -> Path:
    """Where this process and its commands put them from now on: killed ones leave theirs."""
    temporary = place / "temporary"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    return temporary


def arguments_of(line: str) -> list[str]:
    return [*shlex.split(line), "--quiet"]


def done(line: str, folder: Path) -> float:
    """Run a command undisturbed; the seconds that it took. What it imported is imported here.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.NamedTemporaryFile() as modules:
        fork = Fork(arguments_of(line), folder, tell_modules=Path(modules.name))
        code, said = fork.wait()
        if code:
            raise SystemExit(f"pnag {line}: {said}")
        import_all(Path(modules.name).read_text().splitlines())
    return fork.seconds


def made_inputs(writer: Writer, place: Path) -> Path:
    """A folder with its inputs, made once for all commands that have the same."""
    names = [make.__name__ for make in writer.inputs]
    folder = place / "-".join(["in", *names])
    if not folder.exists():
        folder.mkdir()
        for make in writer.inputs:
            make(folder, lambda line: done(line, folder))
    return folder
