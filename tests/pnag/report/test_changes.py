"""What changed between two tables, against closed forms."""

import math

import pytest

from pnag.report.changes import table_changes
from profiler.measuring.comparison import Difference
from profiler.tables.table import load_table


@pytest.fixture(scope="module")
def table(profiled_folder):
    return load_table(profiled_folder / "latency_table.json")


def scaled(table, factor, **fields):
    def of(entry):
        return entry.model_copy(
            update={
                "latency_ms": factor * entry.latency_ms,
                "ci95_ms": tuple(factor * end for end in entry.ci95_ms),
            }
        )

    ops = {key: of(entry) for key, entry in table.ops.items()}
    networks = tuple(map(of, table.networks))
    return table.model_copy(update={"ops": ops, "networks": networks, **fields})


def test_a_table_does_not_differ_from_itself(table):
    found = table_changes(table, table)
    assert {op.found.finding for op in found.ops} == {Difference.NOT_TOLD_APART}
    assert [(group.found.ratio, group.found.interval) for group in found.groups] == [
        (1.0, (1.0, 1.0))
    ] * len(found.groups)


def test_an_interval_is_of_both_measurements_and_no_narrower_than_the_noise_floor(table):
    after = scaled(table, 1.3)
    for noise_floor in (table.noise_floor, None):
        before = table.model_copy(update={"noise_floor": noise_floor})
        floor = math.log1p(noise_floor.p95_pct / 100) if noise_floor else 0.0
        found = table_changes(before, after.model_copy(update={"noise_floor": None}))
        for op in found.ops:
            low, high = table.ops[op.key].ci95_ms
            half = max(floor, math.sqrt(2) * math.log(high / low) / 2)
            assert op.found.ratio == pytest.approx(1.3)
            assert op.found.interval == pytest.approx((1.3 / math.exp(half), 1.3 * math.exp(half)))
            assert op.found.finding is Difference.SLOWER


def test_groups_have_students_interval_of_the_mean(table):
    first, second, *others = table.networks
    networks = (
        first.model_copy(update={"latency_ms": 2 * first.latency_ms}),
        second.model_copy(update={"latency_ms": 8 * second.latency_ms}),
    )
    found = table_changes(table, table.model_copy(update={"networks": networks}))
    (group,) = [one for one in found.groups if one.what == "whole networks"]
    assert (group.n, len(others) > 0) == (2, True)
    assert group.found.ratio == pytest.approx(4.0)
    half = 12.7062 * math.log(2)  # t of one degree of freedom, times half the difference
    assert group.found.interval == pytest.approx((4 / math.exp(half), 4 * math.exp(half)), rel=1e-3)


def test_what_one_table_lacks_is_left_out(table):
    key = next(iter(table.ops))
    fewer = {name: entry for name, entry in table.ops.items() if name != key}
    found = table_changes(table.model_copy(update={"ops": fewer, "networks": ()}), table)
    assert {op.key for op in found.ops} == fewer.keys()
    assert "whole networks" not in {group.what for group in found.groups}
