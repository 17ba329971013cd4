"""A runtime that never comes back, in C: its process is ended, and the next one does without it."""

import itertools
import signal
import sqlite3
import subprocess
import sys
from collections import deque
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.base import DeviceBase
from profiler.devices.simulated.fake import FakeDevice
from profiler.measuring import watchdog
from profiler.measuring.campaign import Campaign, ProfileRequest
from profiler.measuring.journal import Journal, journal_path
from profiler.spaces.mobilenetv3 import open_space
from profiler.terminal import Terminal
from tests.profiler.fast import FAST

ROOT = Path(__file__).parents[3]
SPACE = open_space("mbv3-cifar")
HANGS_AT = next(iter(SPACE.distinct_ops()))
PROTOCOL = replace(FAST, sampling=replace(FAST.sampling, deadline_s=0.3))


def hold_the_interpreter():
    deque(itertools.repeat(0), maxlen=0)


def leave_the_interpreter_to_others():
    numbers = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n)"
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"{numbers} SELECT sum(x) FROM n").fetchone()


HANGS = [hold_the_interpreter, leave_the_interpreter_to_others]


class Hanging(FakeDevice, DeviceBase):
    """Its runtime hangs in one workload, after a few samples."""

    def __init__(self, workload, hang):
        super().__init__(0)
        self._workload, self._hang, self._left = workload, hang, 20

    def draw_ms(self, workload, runs):
        if workload.key == self._workload:
            self._left -= 1
            if not self._left:
                self._hang()
        return super().draw_ms(workload, runs)


def campaign(out, device):
    request = ProfileRequest("fake", SPACE, Path(out), PROTOCOL, n_networks=0)
    with Journal(journal_path(Path(out))) as journal:
        return Campaign(request, device, journal, Terminal(quiet=True)).run()


def until_ended(out, workload, hang):
    """A campaign in a process of its own: its exit status and what was said."""
    code = (
        "import sys; from tests.profiler.measuring.test_watchdog import *; watchdog.RINGS = 2; "
        f"campaign(sys.argv[1], Hanging(sys.argv[2], {hang.__name__}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(out), workload],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("hang", HANGS)
def test_what_hangs_in_c_is_ended_and_the_next_run_goes_on_without_it(tmp_path, hang):
    out = tmp_path / "t.json"
    status, said = until_ended(out, HANGS_AT, hang)
    assert status == -signal.SIGKILL
    [line] = said.split("\n")[1:-1]
    assert line.startswith(f"pnag: {HANGS_AT} hangs in its runtime")
    assert line.endswith("what was measured is kept, and the same command goes on without it")
    table = campaign(out, Hanging(HANGS_AT, hang))  # would hang if it was tried
    failed = {HANGS_AT: "hung: the runtime did not come back, and its process was ended"}
    assert {key: table.failures[key] for key in failed} == failed
    assert {key.removesuffix(" (repeat)") for key in table.failures} == failed.keys()
    assert table.ops.keys() == SPACE.distinct_ops().keys() - failed.keys()


def test_a_canary_that_hangs_is_no_configurations_fault(tmp_path):
    out = tmp_path / "t.json"
    status, said = until_ended(out, "canary:resident", hold_the_interpreter)
    assert status == -signal.SIGKILL
    assert said.strip().startswith("pnag: the reference op hangs in its runtime")
    with Journal(journal_path(out)) as journal:
        assert journal.outcomes() == {}


def test_nothing_is_left_of_a_watchdog():
    def descriptors():
        return len(list(Path("/dev/fd").iterdir()))

    before = signal.set_wakeup_fd(-1), descriptors()
    with watchdog.Watchdog(None, 1) as dog:
        dog.about("key", "n" * 10_000)
        assert descriptors() == before[1] + 2
    assert (signal.set_wakeup_fd(-1), descriptors()) == before


def test_a_watchdog_runs_nothing_of_the_folder_that_the_user_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("subprocess.py").write_text("open('ran', 'w')")
    with watchdog.Watchdog(None, 1):
        pass
    assert not Path("ran").exists()
