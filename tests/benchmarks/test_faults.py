"""What `benchmarks.faults` looks with sees what a fault may do."""

import json
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from functools import partial

import pytest

from benchmarks.faults import forks
from benchmarks.faults.contents import check_close, check_whole, committed, measured_ms, steps_in
from benchmarks.faults.trials import arguments_of
from benchmarks.faults.writers import MODELS, WRITERS, made_small, networks
from pnag.cli import app
from pnag.runs.inputs import LATENCY_FILE
from pnag.runs.verification import VERIFICATION_FILE, KeptVerification
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import InvalidInputError
from profiler.measuring.journal import Journal
from profiler.measuring.records import Block
from profiler.system.tensor_files import described, write_arrays
from profiler.tables.table import NetworkEntry, Verdict

OWN_STDERR = partial(setattr, sys, "stderr", None)  # pytest's is no stream of a command


@pytest.fixture
def journal(tmp_path):
    """Three blocks, of which the file itself may hold none: they are in its log."""
    path = tmp_path / "t.journal.sqlite"
    with Journal(path) as opened:
        sweep = opened.begin_sweep(FakeDevice().info, {}, "now")
        for at in range(3):
            block = Block("op", at, 1.0, 1, (1.0, 2.0 + at), "", None, (), sweep)
            opened.add_block("key", block)
        yield path


def test_blocks_are_seen_in_the_log_of_a_command_that_was_killed(journal):
    assert len(committed(journal.parent)) == 3
    before = {path: path.read_bytes() for path in journal.parent.iterdir()}
    check_whole(journal)
    assert {path: path.read_bytes() for path in journal.parent.iterdir()} == before


def test_a_block_that_is_lost_or_changed_is_missed(journal):
    done = committed(journal.parent)
    with closing(sqlite3.connect(journal, isolation_level=None)) as database:
        database.execute("UPDATE block SET samples_ms = '[1.0, 9.0]' WHERE id = 2")
        database.execute("DELETE FROM block WHERE id = 3")
    assert len(done - committed(journal.parent)) == 2


def test_rounds_and_steps_are_counted(tmp_path):
    path = tmp_path / "run" / "checkpoint.safetensors"
    progress = [{"rounds_done": 2}, {"rounds_done": 1}]
    write_arrays(path, {}, described("progress", progress))
    assert steps_in(path) == 3
    assert committed(tmp_path) == {"run 0", "run 1", "run 2"}
    write_arrays(path, {}, described("pnag.supernet/1", {"step": 7}))
    assert steps_in(path) == 7


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("a.json", json.dumps({"a": [1, 2]}).encode()),
        ("a.html", b"<html></html>\n"),
        ("a.svg", b"<svg></svg>\n"),
        ("a.csv", b"a,b\n1,2\n"),
        ("a.png", b"\x89PNG....IEND\xaeB`\x82"),
    ],
)
def test_a_file_that_is_cut_short_is_not_whole(name, whole, tmp_path):
    path = tmp_path / name
    path.write_bytes(whole)
    check_whole(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="not whole"):
        check_whole(path)


def test_kernels_that_a_killed_command_asked_for_are_done(journal):
    before = committed(journal.parent)
    with Journal(journal) as opened:
        opened.set_kernels("boot", "conv 0", (("Conv(1x8; 8x8; 1x8; )", 1.0),))
    (kernels,) = committed(journal.parent) - before
    assert "conv 0" in kernels


@pytest.fixture
def verify(tmp_path):
    """Keeps networks, measured at 1, 2, ... ms, in the run of a name."""

    def keep(name, *archs):
        run = tmp_path / name
        run.mkdir(exist_ok=True)
        (run / LATENCY_FILE).write_text("{}")
        networks = [
            NetworkEntry(arch=arch, latency_ms=float(at), verdict=Verdict.STABLE)
            for at, arch in enumerate(archs, 1)
        ]
        KeptVerification.of(
            run, FakeDevice().info, same_device=True, calibration=None, networks=networks,
            sessions=(),
        ).save(run)  # fmt: skip
        return run / VERIFICATION_FILE

    return keep


def test_verified_networks_that_are_lost_are_missed(verify):
    path = verify("run", "a", "b")
    done = committed(path.parent)
    assert done == {"run a", "run b"}
    verify("run", "a")
    assert done - committed(path.parent) == {"run b"}
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InvalidInputError, match=VERIFICATION_FILE):
        committed(path.parent)


def test_what_was_measured_is_compared_with_another_session(verify):
    ours, theirs = verify("ours", "a", "b"), verify("theirs", "a", "c", "b")
    assert measured_ms(ours) == {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match=r"b takes 2\.0 ms"):
        check_close(ours, theirs)
    shutil.rmtree(theirs.parent)
    check_close(ours, verify("theirs", "a", "b", "c"))


def test_a_command_begins_when_it_answers_sigterm(tmp_path, monkeypatch):
    """Sent right then, the signal is told in the command's own line, however slow its start is."""

    def slow_main():
        time.sleep(0.2)
        app.main()

    def wait(arguments, _signals):
        try:
            signal.pause()
        except KeyboardInterrupt:
            return app._interrupted(arguments)

    monkeypatch.setattr(forks, "main", slow_main)
    monkeypatch.setattr(app, "run", wait)
    fork = forks.Fork(["report"], tmp_path, before=[OWN_STDERR])
    fork.send(signal.SIGTERM)
    assert fork.wait() == (-signal.SIGTERM, "pnag: interrupted\n")


def test_model_files_are_measured_on_the_simulated_device(tmp_path):
    networks(tmp_path, str)
    fork = forks.Fork(arguments_of(MODELS), tmp_path, before=[OWN_STDERR, made_small])
    assert fork.wait() == (0, "")
    assert measured_ms(tmp_path / "models.json") == {
        f"{name}, 1 threads": pytest.approx(1 + (tmp_path / name).stat().st_size / 1e7, rel=0.01)
        for name in ("small.onnx", "large.onnx")
    }


def test_kernels_are_measured_on_the_simulated_device(tmp_path):
    line = WRITERS["profile --space kernels"].arguments
    fork = forks.Fork(arguments_of(line), tmp_path, before=[OWN_STDERR, made_small])
    assert fork.wait() == (0, "")
    found = measured_ms(tmp_path / "kernels.json")
    assert len(found) == 3 and "chain 0" in found
    assert len([row for row in committed(tmp_path) if " ran " in row]) == 3
