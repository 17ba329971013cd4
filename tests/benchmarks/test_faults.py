"""What `benchmarks.faults` looks with sees what a fault may do."""

import json
import sqlite3
from contextlib import closing

import pytest

from benchmarks.faults.contents import check_whole, committed, steps_in
from profiler.devices.simulated.fake import FakeDevice
from profiler.measuring.journal import Journal
from profiler.measuring.records import Block
from profiler.system.tensor_files import described, write_arrays


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
