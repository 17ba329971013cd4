from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.base import DeviceInfo
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.checks import check_table, compare_tables
from profiler.tables.table import (
    Calibration,
    Entry,
    LatencyTable,
    NetworkEntry,
    NoiseFloor,
    SpaceRef,
    Verdict,
    table_json_schema,
)

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "schemas" / "latency-table-1.json"
SPACE = MobileNetV3Space()
KEYS = list(SPACE.distinct_ops())


@pytest.fixture
def table():
    return LatencyTable(
        space=SpaceRef(name="mbv3", width_mult=1.0, resolution_px=224),
        device=DeviceInfo("cpu", "cpu", "A CPU", "onnxruntime", "1.0", 1, "float32", 1),
        protocol={"preset": "full"},
        ops={
            key: Entry(latency_ms=1 + i / 96, verdict=Verdict.STABLE) for i, key in enumerate(KEYS)
        },
        created="2026-01-01T00:00:00+00:00",
        tool="pnag test",
    )


def changed(table, **entry):
    return table.model_copy(
        update={"ops": table.ops | {KEYS[3]: table.ops[KEYS[3]].model_copy(update=entry)}}
    )


def test_the_published_schema_is_current():
    assert SCHEMA_FILE.read_text() == table_json_schema(), (
        "run: pnag table schema > docs/schemas/latency-table-1.json"
    )


def test_a_sound_table_has_no_faults(table):
    found = check_table(table)
    assert (found.faults, found.warnings) == ((), ())


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"min_ms": 2.0, "median_ms": 1.5}, "min 2 ms exceeds median 1.5 ms"),
        ({"p10_ms": 1.0, "p90_ms": 0.9}, "p10 1 ms exceeds p90 0.9 ms"),
        ({"ci95_ms": (2.0, 3.0)}, "lies outside its interval"),
    ],
)
def test_statistics_that_contradict_each_other_are_faults(table, entry, fault):
    (found,) = check_table(changed(table, **entry)).faults
    assert found.startswith(KEYS[3])
    assert fault in found


def test_missing_and_foreign_ops_and_failures_are_found(table):
    ops = {key: entry for key, entry in table.ops.items() if key != KEYS[5]}
    ops["Pool-input:1"] = table.ops[KEYS[0]]
    broken = table.model_copy(update={"ops": ops, "failures": {KEYS[0]: "nonzero_exit"}})
    found = check_table(broken)
    assert found.faults == (
        f"op is missing: {KEYS[5]}",
        "not an op key: 'Pool-input:1'",
        f"both measured and failed: {KEYS[0]}",
    )
    assert found.warnings == (f"failed: {KEYS[0]}: nonzero_exit",)


def test_networks_that_do_not_fit_their_ops_are_faults(table):
    arch = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
    total = sum(table.ops[op.key].latency_ms for op in SPACE.ops(SPACE.parse_architecture(arch)))
    for factor, n_faults in ((0.9, 0), (0.2, 1), (4.0, 1)):
        network = NetworkEntry(arch=arch, latency_ms=factor * total, verdict=Verdict.STABLE)
        found = check_table(table.model_copy(update={"networks": (network,)}))
        assert len(found.faults) == n_faults, factor
    unreadable = NetworkEntry(arch="1:2", latency_ms=1.0, verdict=Verdict.STABLE)
    (fault,) = check_table(table.model_copy(update={"networks": (unreadable,)})).faults
    assert "malformed architecture" in fault


def test_factors_that_make_an_op_take_less_than_nothing_are_faults(table):
    op = SPACE.block_op(1, 4, 5)
    sound = Calibration(
        intercept_ms=0.0, factors={"all": 1.0, op.key: -0.2}, n_networks=3, residual_mape_pct=1.0
    )
    wrong = sound.model_copy(update={"factors": {"all": 1.0, "kernel=5": -0.9, op.key: -0.2}})
    assert check_table(table.model_copy(update={"calibration": sound})).faults == ()
    (fault,) = check_table(table.model_copy(update={"calibration": wrong})).faults
    assert fault == f"the calibration's factor of {op.key} is -0.1, not above 0"


def test_unsteady_numbers_are_warnings(table):
    noisy = changed(table, verdict=Verdict.NOISY).model_copy(
        update={"noise_floor": NoiseFloor(n_repeats=5, median_pct=3, p95_pct=7, publishable=False)}
    )
    assert check_table(noisy).faults == ()
    assert check_table(noisy).warnings == (
        "1 of 96 ops are noisy",
        "repeats differ by 7 % (p95): not publishable",
    )


def test_a_comparison_gives_ratios_and_what_differs(table):
    slower = table.model_copy(
        update={
            "ops": {k: e.model_copy(update={"latency_ms": 1.5 * e.latency_ms}) for k, e in
                    table.ops.items() if k != KEYS[1]},
            "device": replace(table.device, threads=4),
            "protocol": {"preset": "quick"},
        }
    )  # fmt: skip
    document = compare_tables(table, slower)
    assert (document["n_common"], document["only_in_a"], document["only_in_b"]) == (
        95,
        [KEYS[1]],
        [],
    )
    assert document["ratio"]["median"] == pytest.approx(1.5)
    assert document["ratio"]["p95_difference_pct"] == pytest.approx(50)
    assert set(document["ratio_by_kind"]) == {key.split("-")[0] for key in KEYS}
    assert document["device"] == {"threads": [1, 4]}
    assert document["protocol"] == {"preset": ["full", "quick"]}
    assert document["space"] == {}


def test_tables_without_a_common_op_have_no_ratio(table):
    empty = table.model_copy(update={"ops": {}})
    document = compare_tables(table, empty)
    assert (document["n_common"], document["ratio"], document["furthest"]) == (0, None, {})
