"""Tests marked `gpu` or `container` run where there is one, and are named where there is none.

Tests of Ctrl-C work in the background of a shell as well, which has SIGINT ignored.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Generator
from functools import cache
from typing import Any

import pytest

from pnag.cli.app import run
from profiler.devices.cuda.device import discover
from profiler.errors import DeviceUnavailableError
from profiler.system.lock import TEST_NAMESPACE
from tests.containers import container_runtime

pytest.register_assert_rewrite("profiler.testing", "predictors.testing", "pnag.testing")


@cache
def why_no_gpu() -> str:
    """Empty where the first GPU, which the tests open, can be used."""
    try:
        found = discover()
        return found[0].reason if found else "CUDA shows no GPU"
    except DeviceUnavailableError as error:
        return str(error)


def why_no_container() -> str:
    """Empty where images can be built and run."""
    try:
        return container_runtime() and ""
    except OSError as error:
        return str(error)


NEEDS: dict[str, Callable[[], str]] = {"gpu": why_no_gpu, "container": why_no_container}


def pytest_configure(config: pytest.Config) -> None:
    # of this worker and its children: no other one may be in its way
    os.environ[TEST_NAMESPACE] = uuid.uuid4().hex
    state = tempfile.TemporaryDirectory()  # what the tests trust, nobody else shall
    os.environ["XDG_STATE_HOME"] = state.name
    config.add_cleanup(state.cleanup)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay to the end: the garbage collector need not go over them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_report_header() -> str:
    return "\n".join(
        f"tests marked {mark}: {f'deselected, {reason}' if (reason := why()) else 'run'}"
        for mark, why in NEEDS.items()
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark, why in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        if marked and why():
            items[:] = [item for item in items if item not in marked]
            config.hook.pytest_deselected(items=marked)
    # so that no worker is left with one of them when the others are done
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def pnag(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """Run a command that succeeds; its JSON document and its notes."""

    def call(*arguments: str) -> tuple[Any, str]:
        assert run([*arguments, "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return call
