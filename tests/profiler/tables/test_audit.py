"""Planted impossibilities are found; honest tables, of a real phone among them, are left alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from profiler.tables.audit import AuditFinding, FindingKind, audit_tables
from profiler.tables.table import Entry, LatencyTable, Verdict, load_table

TABLES = Path(__file__).parents[3] / "tables"


@pytest.fixture(scope="module")
def note10() -> LatencyTable:
    """96 measured ops of a Note10, as Once-for-All publishes them."""
    return load_table(TABLES / "note10.json")


def altered(table: LatencyTable, changes: dict[str, dict[str, float]]) -> LatencyTable:
    entries = {key: table.ops[key].model_copy(update=fields) for key, fields in changes.items()}
    return table.model_copy(update={"ops": table.ops | entries})


def scaled(table: LatencyTable, factor: float) -> LatencyTable:
    latencies = {key: {"latency_ms": factor * e.latency_ms} for key, e in table.ops.items()}
    return altered(table, latencies)


def audit(table: LatencyTable) -> list[AuditFinding]:
    return audit_tables({"t": table})


def kinds(found: list[AuditFinding]) -> set[FindingKind]:
    return {one.kind for one in found}


def test_honest_and_transferred_numbers_are_left_alone(note10: LatencyTable) -> None:
    tables = {"note10": note10, "sd821": load_table(TABLES / "sd821.json")}
    assert audit_tables(tables) == []


def test_planted_copies_are_found_in_50_altered_tables(note10: LatencyTable) -> None:
    """One or several ops of each table get the digits of another."""
    draw = random.Random(0)
    for _ in range(50):
        source, *copies = draw.sample(sorted(note10.ops), draw.randint(2, 5))
        latency = note10.ops[source].latency_ms
        planted = altered(note10, {key: {"latency_ms": latency} for key in copies})
        (copied,) = [one for one in audit(planted) if one.kind is FindingKind.COPY]
        assert set(copied.keys) == {source, *copies}


def test_few_digits_are_equal_by_chance(note10: LatencyTable) -> None:
    """At 3 digits some of 96 values agree in any table; at 16 none do."""
    rounded = {key: {"latency_ms": float(f"{e.latency_ms:.3g}")} for key, e in note10.ops.items()}
    coarse = altered(note10, rounded)
    assert len({entry.latency_ms for entry in coarse.ops.values()}) < 96
    assert audit(coarse) == []


def test_copies_between_tables(note10: LatencyTable) -> None:
    keys = sorted(note10.ops)
    noise = random.Random(1)
    other = altered(
        note10,
        {k: {"latency_ms": e.latency_ms * noise.uniform(0.9, 1.1)} for k, e in note10.ops.items()},
    )
    assert audit_tables({"a": note10, "b": other}) == []
    copied = altered(other, {k: {"latency_ms": note10.ops[k].latency_ms} for k in keys[:2]})
    (same,) = audit_tables({"a": note10, "b": copied})
    assert (same.table, same.kind, same.keys) == ("a, b", FindingKind.COPY, tuple(keys[:2]))
    (ratio,) = audit_tables({"a": note10, "b": scaled(note10, 1.37)})
    assert (ratio.kind, len(ratio.keys)) == (FindingKind.COPY, 96)
    assert "1.37 times" in ratio.message


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_units_off_by_1000(note10: LatencyTable, factor: float) -> None:
    for key in sorted(note10.ops)[::16]:
        wrong = altered(note10, {key: {"latency_ms": factor * note10.ops[key].latency_ms}})
        assert key in {k for f in audit(wrong) if f.kind is FindingKind.UNIT for k in f.keys}
    assert kinds(audit(scaled(note10, factor))) == {FindingKind.UNIT}
    between = audit_tables({"a": note10, "b": scaled(note10, factor * 1.01)})
    assert any("is one of them not in ms?" in one.message for one in between)


@pytest.mark.parametrize("latency_ms", [5e-324, 1e-310, 1e308])
@pytest.mark.parametrize("n_ops", [2, 60])
def test_latencies_at_the_ends_of_the_doubles(
    note10: LatencyTable, n_ops: int, latency_ms: float
) -> None:
    keys = sorted(note10.ops)[:n_ops]
    extreme = altered(note10, {key: {"latency_ms": latency_ms} for key in keys})
    assert FindingKind.UNIT in kinds(audit(extreme))
    between = audit_tables({"a": note10, "b": extreme})
    assert FindingKind.UNIT in kinds(between)


def test_spreads_that_no_sample_has(note10: LatencyTable) -> None:
    key = sorted(note10.ops)[5]
    (zero,) = audit(altered(note10, {key: {"std_ms": 0.0}}))
    assert (zero.kind, zero.keys) == (FindingKind.SPREAD, (key,))
    flat = {"min_ms": 1.5, "p10_ms": 1.5, "median_ms": 1.5, "p90_ms": 1.5}
    (same,) = audit(altered(note10, {key: flat | {"mean_ms": 1.5}}))
    assert "nine tenths of" in same.message
    made_up = {k: {"std_ms": 0.05 * e.latency_ms} for k, e in note10.ops.items()}
    (share,) = audit(altered(note10, made_up))
    assert "96 spreads are 0.05 of their latency" in share.message


def test_orders_that_cannot_be(note10: LatencyTable) -> None:
    """Half the expansion at the same kernel is a part of the whole, and cannot take longer."""
    inner, outer = (
        next(k for k in note10.ops if "-expand:" in k and k.startswith(stem))
        for stem in ("expanded_conv-input:14x14x136-output:14x14x136-expand:408-kernel:3",
                     "expanded_conv-input:14x14x136-output:14x14x136-expand:816-kernel:3")
    )  # fmt: skip
    swapped = {
        inner: {"latency_ms": note10.ops[outer].latency_ms},
        outer: {"latency_ms": note10.ops[inner].latency_ms},
    }
    found = audit(altered(note10, swapped))
    assert kinds(found) == {FindingKind.ORDER}
    assert (outer, inner) in {one.keys for one in found}


def test_means_that_cannot_be(note10: LatencyTable) -> None:
    """|mean - median| <= std holds of every distribution (Hotelling and Solomons 1932)."""
    key = sorted(note10.ops)[0]
    sample = {"mean_ms": 1.0, "median_ms": 2.0, "std_ms": 0.5, "min_ms": 1.5, "p90_ms": 2.5}
    found = {one.message for one in audit(altered(note10, {key: sample}))}
    assert found == {
        "mean 1 ms is below min 1.5 ms",
        "mean and median differ by 1 ms, more than the standard deviation 0.5 ms",
    }


def test_nothing_is_asked_of_sizes_in_an_unknown_space(note10: LatencyTable) -> None:
    entry = Entry(latency_ms=1.25, verdict=Verdict.IMPORTED)
    space = note10.space.model_copy(update={"name": "somebody's"})
    ops = {"a": entry, "b": entry.model_copy(update={"latency_ms": 5.5})}
    assert audit(note10.model_copy(update={"space": space, "ops": ops})) == []
