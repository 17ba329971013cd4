"""What launches read of networks, by hand-made blocks."""

import pytest

from profiler.devices.base import DeviceInfo, epoch_of
from profiler.flags import Flag
from profiler.measuring.drift import session_levels
from profiler.measuring.journal import Journal
from profiler.measuring.records import Block
from tests.profiler.fast import FAST

INFO = DeviceInfo("fake", "fake", "Fake", "fake", "1", 1, "float32", 1, boot_id="boot")
EPOCH = epoch_of(INFO)
STARTED = "2026-01-01T00:00:00+00:00"
TABLE_MS = {"a": 2.0, "b": 4.0, "c": 8.0}


@pytest.fixture
def journal():
    with Journal(None) as opened:
        yield opened


def launch(journal, readings_ms, *, n_blocks=10, flags=()):
    """One launch, in which every sample of a network reads the same."""
    sweep = journal.begin_sweep(INFO, FAST.as_dict(), STARTED)
    for key, ms in readings_ms.items():
        for at in range(n_blocks):
            block = Block(key, float(at), 0.1, 1, (ms, ms), "", None, flags, sweep, EPOCH)
            journal.add_block(key, block)


def levels_of(journal, epochs=(EPOCH,)):
    return session_levels(journal, TABLE_MS, FAST, epochs)


def test_a_launch_has_the_median_ratio_to_the_table_and_the_scatter_around_it(journal):
    launch(journal, {"a": 2.0, "b": 4.0, "c": 8.0})
    launch(journal, {"a": 2.02, "b": 4.0, "c": 8.16})
    first, second = levels_of(journal)
    assert (first.level, first.scatter, first.n_networks, first.epoch) == (1.0, 0.0, 3, EPOCH)
    assert first.started == STARTED
    assert second.level == pytest.approx(1.01)  # of 1.01, 1.00 and 1.02
    assert second.scatter == pytest.approx(0.01 / 1.01, rel=1e-3)


def test_neither_few_networks_nor_few_blocks_are_a_session(journal):
    launch(journal, {"a": 2.0, "b": 4.0})
    launch(journal, TABLE_MS, n_blocks=FAST.stopping.check_every - 1)
    assert levels_of(journal) == ()


def test_what_was_throttled_or_is_of_a_dropped_epoch_is_no_session(journal):
    launch(journal, TABLE_MS, flags=(Flag.THROTTLED,))
    assert levels_of(journal) == ()
    launch(journal, TABLE_MS)
    assert len(levels_of(journal)) == 1
    assert levels_of(journal, epochs=("another",)) == ()
