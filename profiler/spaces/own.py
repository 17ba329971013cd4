"""Spaces in users' own Python files, named FILE.py:NAME."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.spaces.networks import NetworkSpace


def is_own(name: str) -> bool:
    """Whether a space is named by its file."""
    return ".py:" in name


def own_opener(name: str) -> Callable[..., NetworkSpace]:
    """What makes the space FILE.py:NAME, given its facts. The file is run, once a process.

    Raises:
        InvalidInputError: unreadable, fails, or has nothing of that name that makes spaces.
    """
    file, _, attribute = name.rpartition(":")
    found = getattr(_module(Path(file).resolve()), attribute, None)
    if not callable(found) or "name" not in inspect.signature(found).parameters:
        raise InvalidInputError(f"{file} has no class {shown(attribute)} that takes a name")
    return partial(found, name=name)


def checked(space: object, name: str) -> NetworkSpace:
    """A space that a user's file made.

    Raises:
        InvalidInputError: it is none, or goes by another name than `name`.
    """
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(f"{name} makes {type(space).__name__}, which is no NetworkSpace")
    if unknown := space.facts.keys() - {"space", "width_mult", "resolution_px", "dataset"}:
        raise InvalidInputError(
            f"{name} has a field {min(unknown)}, for which tables have no place"
        )
    if not space.name == space.facts["space"] == name:
        raise InvalidInputError(
            f"{name} calls itself {shown(space.name)}; use the name it is given"
        )
    return space


@cache
def _module(path: Path) -> ModuleType:
    # a name of its own: dataclasses look their module up, and two files may share a stem
    spec = importlib.util.spec_from_file_location(f"own_space.{path.stem}_{hash(path):x}", path)
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
