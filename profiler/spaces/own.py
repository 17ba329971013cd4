"""Spaces in users' own Python files, named FILE.py:NAME.

A file is a program. It is run where somebody names it; what a table or a run names is run only if
somebody named a file of that content before, so that nobody's table starts a program.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType

from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.spaces.base import MAX_CHOICES
from profiler.spaces.networks import NetworkSpace
from profiler.system.atomic import write_text_atomic


def is_own(name: str) -> bool:
    """Whether a space is named by its file."""
    return ".py:" in name


def trust(name: str) -> None:
    """Remember the content of a file that somebody names, for tables and runs that name it.

    Raises:
        InvalidInputError: unreadable, or no name of a file.
    """
    digest = _digest(name)
    _named.add(_file(name))
    if digest and digest not in (trusted := _trusted()):
        with suppress(InvalidInputError, OSError, RuntimeError):  # no home that can be written
            write_text_atomic(_trusted_file(), "".join(f"{one}\n" for one in (*trusted, digest)))


def refuse_untrusted(name: str) -> None:
    """For a name that was read: InvalidInputError unless nothing would be run, or it is trusted."""
    if _file(name) in _named:
        return
    digest = _digest(name)
    if digest and digest not in _trusted():
        raise InvalidInputError(
            f"this space is in {shown(str(_file(name)))}, which would be run and which nobody here "
            "has named as it is now: if you trust it, pnag space describe --space FILE.py:NAME"
        )


_named: set[Path] = set()  # in this process


def _file(name: str) -> Path:
    """Raises InvalidInputError where no file can be named so."""
    place = name.rpartition(":")[0]
    try:
        return Path(place).resolve()
    except (OSError, RuntimeError, ValueError):  # too long, a link to itself, or no text
        raise InvalidInputError(f"no file is named {shown(place)}") from None


def _digest(name: str) -> str:
    """SHA-256 of a space's file; empty where there is none.

    Raises:
        InvalidInputError: unreadable.
    """
    path = _file(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError as error:
        why = error.strerror or error
        raise InvalidInputError(f"cannot read {shown(str(path))}: {why}") from None


def _trusted() -> tuple[str, ...]:
    try:
        return tuple(_trusted_file().read_text(encoding="ascii").split())
    except (OSError, ValueError, RuntimeError):  # none yet, not ours, or no home
        return ()


def _trusted_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "pnag" / "trusted_spaces"


def own_opener(name: str) -> Callable[..., NetworkSpace]:
    """What makes the space FILE.py:NAME, given its facts. The file is trusted from now on, and
    run, once a process.

    Raises:
        InvalidInputError: unreadable, fails, or has nothing of that name that makes spaces.
    """
    trust(name)
    file, _, attribute = name.rpartition(":")
    found = getattr(_module(_file(name)), attribute, None)
    if not callable(found) or "name" not in inspect.signature(found).parameters:
        raise InvalidInputError(f"{file} has no class {shown(attribute)} that takes a name")
    return partial(found, name=name)


def checked(space: object, name: str) -> NetworkSpace:
    """A space that a user's file made.

    Raises:
        InvalidInputError: it is none, goes by another name than `name`, or has more choices at a
            position than tokens tell apart.
    """
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(
            f"{name} makes {type(space).__name__}, which is no NetworkSpace (pnag help own_space)"
        )
    if unknown := space.facts.keys() - {"space", "width_mult", "resolution_px", "dataset"}:
        raise InvalidInputError(
            f"{name} has a field {min(unknown)}, for which tables have no place"
        )
    if not space.name == space.facts["space"] == name:
        raise InvalidInputError(
            f"{name} calls itself {shown(space.name)}; use the name it is given"
        )
    for position in space.positions:
        if (n := len(position.choices)) > MAX_CHOICES:
            raise InvalidInputError(
                f"{name}: {shown(position.name)} has {n} choices (> {MAX_CHOICES})"
            )
    return space


class _SourceLoader(SourceFileLoader):
    """Runs the file that is trusted: bytecode beside it may be of another program."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@cache
def _module(path: Path) -> ModuleType:
    # a name of its own: dataclasses look their module up, and two files may share a stem
    name = f"own_space.{path.stem}_{hash(path):x}"
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None or not path.is_file():
        raise InvalidInputError(f"cannot read {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        del sys.modules[spec.name]
        lines = [
            frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        where = f"{path} line {line}" if line else str(path)
        raise InvalidInputError(f"{where}: {type(error).__name__}: {error}") from error
    return module
