import errno
import functools
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.base import epoch_of
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import InvalidInputError
from profiler.measuring.journal import Journal
from profiler.measuring.records import Block, Condition, Outcome, SweepReport, SweepTimes
from profiler.measuring.stopping import Decision
from profiler.models.cold_start import ColdStart

INFO = FakeDevice(0).info
REBOOTED = replace(INFO, boot_id="another")
BLOCK = Block("op", 1.5, 0.25, 3, (1.0, 1.1), "resident", 0.5, ("steal",))


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        sweep = journal.begin_sweep(INFO, {"name": "quick"}, "now")
        journal.add_block("key", replace(BLOCK, sweep=sweep))
        journal.add_outcome("key", Outcome(sweep, "op", Decision.CONVERGED))
        journal.set_reference_ms(epoch_of(INFO), "resident", 0.5)
    with Journal(path) as journal:
        assert journal.blocks("key") == [replace(BLOCK, sweep=1, epoch=epoch_of(INFO))]
        assert journal.blocks("other") == []
        outcome = Outcome(1, "op", Decision.CONVERGED, "", epoch_of(INFO))
        assert journal.outcomes() == {"key": outcome}
        assert journal.references_ms(epoch_of(INFO)) == {"resident": 0.5}


def test_the_time_of_a_sweep_is_that_of_its_blocks_and_what_it_recorded():
    with Journal(None) as journal:
        first, second = (journal.begin_sweep(INFO, {}, "now") for _ in range(2))
        for _ in range(2):
            journal.add_block("key", replace(BLOCK, sweep=first, started_s=3.0))
        killed = SweepReport(3.25, 0.5, 0.0, 2, steady=True)
        assert journal.report(first) == killed
        journal.set_times(first, SweepTimes(2.0, 1.5, 0.0))  # before the first block
        journal.set_times(first, SweepTimes(4.0, 1.5, 0.25, steady=False))
        assert journal.report(first) == SweepReport(4.0, 2.0, 0.25, 2, steady=False)
        both = journal.report(first) + killed
        assert both == SweepReport(7.25, 2.5, 0.25, 4, steady=False)
        assert journal.report(second) == SweepReport()
        assert journal.sweeps_of("key", epoch_of(INFO)) == [first]
        assert journal.sweeps_of("key", epoch_of(REBOOTED)) == []


def test_a_journal_without_times_is_read(tmp_path):
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        journal.add_block("key", replace(BLOCK, sweep=journal.begin_sweep(INFO, {}, "now")))
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE times")
    connection.close()
    with Journal(path) as journal:
        assert journal.report(1) == SweepReport(1.75, 0.25, 0.0, 1)
        journal.set_times(1, SweepTimes(2.0))
        assert journal.report(1).wall_s == 2.0


def test_a_reference_is_fixed_once():
    with Journal(None) as journal:
        journal.set_reference_ms("epoch", "resident", 0.5)
        journal.set_reference_ms("epoch", "resident", 0.6)
        journal.set_reference_ms("epoch", "streaming", 7.0)
        assert journal.references_ms("epoch") == {"resident": 0.5, "streaming": 7.0}
        assert journal.references_ms("other") == {}


def test_epochs_are_kept_apart():
    with Journal(None) as journal:
        for info in (INFO, REBOOTED):
            sweep = journal.begin_sweep(info, {}, "now")
            journal.add_block("key", replace(BLOCK, sweep=sweep, started_s=float(sweep)))
        assert journal.epochs() == [epoch_of(INFO), epoch_of(REBOOTED)]
        assert len(journal.blocks("key")) == 2
        assert [b.sweep for b in journal.blocks("key", epoch=epoch_of(REBOOTED))] == [2]
        times_s, samples_ms = journal.canary_series(2, "resident")
        np.testing.assert_array_equal(times_s, [2.0])
        np.testing.assert_array_equal(samples_ms, [0.5])
        assert journal.canary_series(2, "streaming")[0].shape == (0,)


def test_an_epoch_is_a_boot_and_a_runtime_version():
    epochs = {epoch_of(INFO), epoch_of(REBOOTED), epoch_of(replace(INFO, runtime_version="2"))}
    assert len(epochs) == 3
    assert epoch_of(replace(INFO, affinity=(1,))) == epoch_of(INFO)


def test_a_block_of_a_throttled_device_knows_it():
    assert replace(BLOCK, flags=("throttled:thermal",)).throttled
    assert not BLOCK.throttled


def test_the_log_is_written_ahead(tmp_path):
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        sweep = journal.begin_sweep(INFO, {}, "now")
        journal.add_block("key", replace(BLOCK, sweep=sweep))
        reader = sqlite3.connect(path)  # another process sees the block at once
        assert reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert reader.execute("SELECT COUNT(*) FROM block").fetchone()[0] == 1
        reader.close()


def test_fresh_begins_anew(tmp_path):
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        journal.begin_sweep(INFO, {}, "now")
    with Journal(path, fresh=True) as journal:
        assert journal.epochs() == []


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "j.sqlite"
    path.write_text("not a database, and long enough to be read as one" * 10)
    with pytest.raises(InvalidInputError, match=r"not a journal.*--fresh"):
        Journal(path)
    with pytest.raises(InvalidInputError, match=r"not a journal \([^)]*\)$"):  # a report's
        Journal(path, read_only=True)


def test_a_locked_journal_is_not_to_be_thrown_away(tmp_path, monkeypatch):
    path = tmp_path / "t.sqlite"
    connect = sqlite3.connect
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, timeout=0))
    with pytest.raises(InvalidInputError, match=r"cannot open .*locked") as refusal:
        Journal(path)
    assert "--fresh" not in str(refusal.value)
    other.close()


@pytest.mark.parametrize("place", ["file/t.sqlite", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError, match="cannot write"):
        Journal(tmp_path / place)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "j.sqlite"
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidInputError, match="version 99"):
        Journal(path)


def test_what_ran_in_a_model_is_known_within_its_epoch(tmp_path):
    ran = (("Conv 3x3", 0.75), ("Reorder", None))
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.set_kernels("now", "vgg 0", ran)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.kernels("now") == {"vgg 0": ran}
        assert journal.kernels("after a reboot") == {}


def read_all(path, **options):
    """All that a journal tells, and its blocks."""
    found = []
    with Journal(path, **options) as journal:
        for epoch in journal.epochs():
            found += [journal.references_ms(epoch), journal.starts(epoch), journal.kernels(epoch)]
            found += [journal.sweeps_of("key", epoch)]
            for sweep in journal.sweeps(epoch):
                found += [journal.report(sweep), journal.conditions(sweep)]
                found += [journal.canary_series(sweep, "resident")]
        blocks = [block for key in journal.outcomes() for block in journal.blocks(key)]
        found += [journal.outcomes(), journal.started(), journal.extent(), *blocks]
    return found, blocks


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        sweep = journal.begin_sweep(INFO, {}, "now")
        for _ in range(100):
            journal.add_block("key", replace(BLOCK, sweep=sweep))
        journal.add_outcome("key", Outcome(sweep, "op", Decision.CONVERGED))
        journal.set_reference_ms(epoch_of(INFO), "resident", 0.5)
        journal.set_times(sweep, SweepTimes(1.0))
        journal.set_start(epoch_of(INFO), "key", ColdStart(5.0, 2.0, None))
        journal.set_kernels(epoch_of(INFO), "vgg 0", (("Conv 3x3", None),))
        journal.add_condition(sweep, Condition(0.5, 36.5, None))
    read_all(path)
    return path


def test_no_memory_of_a_start_is_unknown_memory(written):
    """Of a process whose peak was higher before; older versions recorded it so."""
    connection = sqlite3.connect(written)
    connection.execute("update start set peak_memory_mb = 0")
    connection.commit()
    connection.close()
    with Journal(written) as journal:
        assert journal.starts(epoch_of(INFO)) == {"key": ColdStart(5.0, 2.0, None)}


@pytest.mark.parametrize(
    "change",
    [
        "drop table block", "drop table launch", "drop table outcome", "drop table reference",
        "alter table block rename column samples_ms to y",
        "update block set samples_ms = 'x'", "update block set samples_ms = '5'",
        "update block set samples_ms = '[5'", "update block set samples_ms = x'ff'",
        "update block set samples_ms = '[\"1\", 1, 1]'", "update block set samples_ms = '[null]'",
        "update block set canary_ms = 'abc'",
        "update block set flags = 'x'", "update block set flags = '5'",
        "update block set flags = '[5]'", "update block set spent_s = 'abc'",
        "update block set started_s = 'abc'", "update block set started_s = 1e999",
        "update block set name = cast(x'ff41' as text)",
        "update reference set reference_ms = 'abc'", "update reference set reference_ms = -1",
        "update outcome set decision = 'perhaps'", "update times set wall_s = 'abc'",
        "update start set load_ms = 'abc'", "update start set first_run_ms = -1",
        "update start set peak_memory_mb = 'abc'", "update start set peak_memory_mb = -1",
        "update ran set kernels = '5'",
        "update ran set kernels = '[[5, null]]'", "update ran set kernels = '[[\"a\", \"b\"]]'",
        "update condition set at_s = 'abc'", "update condition set temperature_c = 'warm'",
        "delete from launch", "update launch set epoch = cast(x'ff41' as text)",
    ],
)  # fmt: skip
def test_a_row_that_no_measurement_gives_is_one_line(written, change):
    connection = sqlite3.connect(written)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(InvalidInputError) as refused:
        read_all(written)
    assert str(written) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_canary_that_no_measurement_gives_is_refused_with_its_block(written):
    """Whoever reads blocks alone, as a report does."""
    with sqlite3.connect(written) as connection:
        connection.execute("UPDATE block SET canary_ms = 'abc' WHERE id = 30")
    connection.close()
    with (
        Journal(written, read_only=True) as journal,
        pytest.raises(InvalidInputError, match=r"cannot read .*'abc' for a number"),
    ):
        journal.blocks("key")


@pytest.mark.parametrize("sample", ["0", "-1", "NaN", "1e999", "-0.0"])
def test_blocks_with_samples_that_are_no_latencies_are_left_out(written, sample):
    """Older versions committed what a device returned, and could not go on from there."""
    with sqlite3.connect(written) as connection:
        connection.execute(f"UPDATE block SET samples_ms = '[1.0, {sample}]' WHERE id <= 30")
        canary_ms = "NULL" if sample == "NaN" else sample  # as SQLite keeps it
        connection.execute(f"UPDATE block SET canary_ms = {canary_ms} WHERE id > 90")
    connection.close()
    with Journal(written) as journal:
        assert len(journal.blocks("key")) == 70
        assert len(journal.canary_series(1, BLOCK.canary)[1]) == 90


def test_damaged_bytes_are_one_line(written):
    content = written.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(40):
        bytes_ = np.frombuffer(content, np.uint8).copy()
        at = rng.integers(100, len(bytes_))  # behind the file's own header
        bytes_[at : at + 64] = rng.integers(0, 256, len(bytes_[at : at + 64]))
        written.write_bytes(bytes_.tobytes())
        try:
            read_all(written)
        except InvalidInputError:
            n_refused += 1
    assert n_refused > 5


WRITES = {
    "launch": lambda journal: journal.begin_sweep(INFO, {}, "now"),
    "block": lambda journal: journal.add_block("key", BLOCK),
    "outcome": lambda journal: journal.add_outcome("key", Outcome(1, "op", Decision.CAPPED)),
    "reference": lambda journal: journal.set_reference_ms("now", "resident", 0.5),
    "times": lambda journal: journal.set_times(1, SweepTimes()),
    "start": lambda journal: journal.set_start("now", "key", ColdStart(5.0, 2.0, None)),
    "ran": lambda journal: journal.set_kernels("now", "vgg 0", ()),
    "condition": lambda journal: journal.add_condition(1, Condition(0.5, None, None)),
}


@pytest.mark.parametrize("table", WRITES)
def test_what_a_damaged_file_does_not_take_is_one_line(written, table):
    with Journal(written) as journal:
        with sqlite3.connect(written) as connection:
            connection.execute(f"DROP TABLE {table}")
        connection.close()
        with pytest.raises(InvalidInputError, match=rf"cannot write .*j\.sqlite: .*{table}"):
            WRITES[table](journal)


def test_a_full_disk_is_one_line_and_loses_nothing_committed(written):
    with Journal(written) as journal:
        before = len(journal.blocks("key"))
        journal._db.execute("PRAGMA max_page_count = 1")  # no more than it has
        with pytest.raises(InvalidInputError, match=r"cannot write .*j\.sqlite: .*full"):
            for _ in range(1000):
                journal.add_block("key", replace(BLOCK, sweep=1))
                before += 1
    with Journal(written) as journal:
        assert len(journal.blocks("key")) == before


# --- Readers change nothing ---------------------------------------------------------------


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["empty", "foreign", "foreign with our version", "foreign in WAL"])
def foreign(request, tmp_path):
    """Databases that are no journals; the last is open elsewhere."""
    path = tmp_path / "foreign.sqlite"
    path.touch()
    other = sqlite3.connect(path, isolation_level=None)
    if "WAL" in request.param:
        other.execute("PRAGMA journal_mode = WAL")
    if request.param != "empty":
        other.execute("CREATE TABLE block (id INTEGER)")
    if "version" in request.param:
        other.execute("PRAGMA user_version = 1")
    if "WAL" not in request.param:
        other.close()
    yield path
    other.close()


def test_a_reader_leaves_a_foreign_database_as_it_is(foreign):
    before = snapshot(foreign.parent)
    with pytest.raises(InvalidInputError, match="is not a journal: it is a database of something"):
        Journal(foreign, read_only=True)
    after = snapshot(foreign.parent)
    assert after.keys() == before.keys()
    assert {n: d for n, d in after.items() if not n.endswith("-shm")} == {
        n: d for n, d in before.items() if not n.endswith("-shm")
    }  # who reads a WAL marks its place in the shared index


def test_a_sweep_does_not_write_to_a_foreign_database(tmp_path):
    path = tmp_path / "t.journal.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE accounts (id INTEGER)")
    other.close()
    before = snapshot(tmp_path)
    with pytest.raises(InvalidInputError, match="it is a database of something else"):
        Journal(path)
    assert snapshot(tmp_path) == before


def test_a_reader_sees_through_a_link_what_is_being_written(tmp_path):
    """SQLite's log lies beside the file that the link leads to."""
    (tmp_path / "elsewhere").mkdir()
    store, link = tmp_path / "elsewhere" / "store.sqlite", tmp_path / "j.sqlite"
    link.symlink_to(store)
    with Journal(store) as journal:
        journal.begin_sweep(INFO, {}, "now")
        for path in (store, link):
            with Journal(path, read_only=True) as reader:
                assert reader.epochs() == [epoch_of(INFO)]


@pytest.mark.parametrize("name", ["j.sqlite", "a b?mode=rwc#%41.sqlite"])
def test_a_reader_sees_what_was_written_and_writes_nothing(tmp_path, name):
    path = tmp_path / name
    with Journal(path) as journal:
        sweep = journal.begin_sweep(INFO, {}, "now")
        journal.add_block("key", replace(BLOCK, sweep=sweep))
        with Journal(path, read_only=True) as reader:  # while the sweep goes on
            assert len(reader.blocks("key")) == 1
    before = snapshot(tmp_path)
    path.chmod(0o444)
    with Journal(path, read_only=True) as reader:
        assert len(reader.blocks("key")) == 1
        with pytest.raises(InvalidInputError, match=r"cannot write .* readonly"):
            reader.begin_sweep(INFO, {}, "later")
    assert snapshot(tmp_path) == before


def test_fresh_begins_anew_through_a_link(tmp_path):
    store = tmp_path / "store.sqlite"
    Journal(store).close()
    (tmp_path / "j.sqlite").symlink_to(store)
    with Journal(store) as journal:
        journal.begin_sweep(INFO, {}, "now")
    with Journal(tmp_path / "j.sqlite", fresh=True) as journal:
        assert journal.epochs() == []
    assert (tmp_path / "j.sqlite").is_symlink() and store.is_file()


def test_fresh_that_may_not_remove_the_old_one_is_refused(tmp_path, monkeypatch):
    """Another user's, in a folder such as /tmp: root, as tests may be, is not told so."""
    path = tmp_path / "j.sqlite"
    Journal(path).close()

    def unlink(path, missing_ok=False):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(InvalidInputError) as refused:
        Journal(path, fresh=True)
    assert str(refused.value) == f"cannot remove {path}: Operation not permitted"
