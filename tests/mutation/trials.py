"""Tests of one mutant after another, each in a process of its own.

This process has imported what the project and its tests import of others, and nothing of the
project: a fork of it takes a fraction of a second until the first test, and whatever the tests
import, by whatever name, is the mutant.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = {"profiler", "predictors", "pnag", "tests", "benchmarks", "__main__", "__mp_main__"}
MAX_MEMORY_BYTES = 4 * 10**9
MEMORY = resource.RLIMIT_DATA


class Fate(StrEnum):
    """What the tests made of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"  # counts as killed: an endless loop is noticed, too
    SURVIVED = "survived"


class _Mutated(importlib.machinery.SourceFileLoader):
    """A module's file with another text in it."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


@dataclass
class _Finder(MetaPathFinder):
    name: str
    path: str
    source: str

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = _Mutated(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


@dataclass(eq=False)  # a plugin is looked up by its hash
class _Order:
    """Runs the quickest tests first, and learns how long each takes."""

    seconds: dict[str, float] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took_s[report.nodeid] = self.took_s.get(report.nodeid, 0.0) + report.duration


@dataclass
class Trials:
    """The tests of one module.

    Attributes:
        folder: for the bytecode of what is not mutated, and what the latest tests told.
        root: what the module and its tests are in.
        seconds: what each test takes on the module as it is.
    """

    module: str
    tests: Sequence[str]
    folder: Path
    root: Path = ROOT
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.root / f"{self.module.replace('.', '/')}.py"

    def begin(self) -> float:
        """Run the tests on the module as it is; seconds from fork to end.

        Raises:
            SystemExit: they fail.
        """
        source = self.path.read_text(encoding="utf-8")
        for _ in range(2):  # the second finds others' modules imported, and ours compiled
            begun = time.monotonic()
            if self._forked(source, None):
                told = (self.folder / "output").read_text(encoding="utf-8")
                raise SystemExit(f"{told}\nthe tests of {self.module} fail on it as it is")
            whole_s = time.monotonic() - begun
            found = json.loads((self.folder / "found").read_text(encoding="utf-8"))
            self.seconds = found["seconds"]
            _import_all(found["modules"])
        return whole_s

    def fate(self, source: str, most_s: float) -> Fate:
        """Of the module with this text instead of its own."""
        code = self._forked(source, most_s)
        if code is None:
            return Fate.TIMED_OUT
        return Fate.KILLED if code else Fate.SURVIVED

    def _forked(self, source: str, most_s: float | None) -> int | None:
        """Exit code of the tests, None if they took longer."""
        process = multiprocessing.get_context("fork").Process(target=self._run, args=(source,))
        process.start()
        process.join(most_s)
        if process.exitcode is not None:
            return process.exitcode
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        return None

    def _run(self, source: str) -> None:
        os.setsid()
        output = (self.folder / "output").open("w", encoding="utf-8")
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        sys.stdout = sys.stderr = output
        resource.setrlimit(MEMORY, (MAX_MEMORY_BYTES, resource.getrlimit(MEMORY)[1]))
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(self.folder)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        _settle_hypothesis()
        sys.meta_path.insert(0, _Finder(self.module, str(self.path), source))
        order = _Order(self.seconds)
        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={self.root}"]
        tests = [str(self.root / test) for test in self.tests]
        code = pytest.main([*options, *tests], plugins=[order])
        modules = [name for name in sys.modules if name.partition(".")[0] not in OURS]
        found = {"seconds": order.took_s, "modules": modules}
        (self.folder / "found").write_text(json.dumps(found), encoding="utf-8")
        output.flush()
        os._exit(int(code))


def _settle_hypothesis() -> None:
    """The same examples for every mutant, and none made smaller once one fails."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
    )
    settings.load_profile("mutation")


def _import_all(modules: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            try:
                importlib.import_module(name)
            except ImportError:  # made by its package while it ran, not from a file
                continue
