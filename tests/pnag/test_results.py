"""What `generate` prints: its rows, its text, and the way back from its file."""

import json
from dataclasses import replace

import pytest

from pnag.generated import GeneratedArchitecture, Spent
from pnag.results import (
    MeasuredNetwork,
    generated_results,
    read_measured,
    results_text,
    verified_results,
)
from pnag.runs.verification import KeptVerification
from pnag.verify import Candidate, Verification, VerifiedArchitecture
from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import NetworkEntry, Verdict
from tests.pnag.landscapes import grid_space

DEVICE = DeviceInfo("cpu", "cpu", "one", "runtime", "1", 1, "float32", 1)
SPACE = MobileNetV3Space()
SMALL, LARGE = (str(arch) for arch in SPACE.extremes())


def of_bound(unit, value, bound):
    return Spent(unit, value, None, bound, value / bound)


def generated(arch, latency_ms, **others):
    made = GeneratedArchitecture(
        budget_ms=20.0, arch=arch, tokens=SPACE.parse(arch), latency_ms=latency_ms,
        interval_ms=None, top1=0.75, costs={"latency": of_bound("ms", latency_ms, 20.0)},
        feasible=True, generation_ms=1.5,
    )  # fmt: skip
    return replace(made, **others)


def measured(arch, latency_ms):
    return NetworkEntry(
        arch=arch, latency_ms=latency_ms, ci95_ms=(latency_ms - 1, latency_ms + 1),
        verdict=Verdict.STABLE,
    )  # fmt: skip


@pytest.fixture
def verification():
    """The large network was promised to take 19 ms, took 21, and was replaced by the small."""
    candidates = (
        Candidate(LARGE, 0.78, 19.0, 21.5, measured(LARGE, 21.0)),
        Candidate(SMALL, 0.75, 9.0, 10.5, measured(SMALL, 10.0)),
    )
    row = VerifiedArchitecture(
        generated(SMALL, 10.5), measured(SMALL, 10.0), generated(LARGE, 19.0), candidates
    )
    return Verification(DEVICE, True, (row,), 2, 12.5, None, None)


def test_a_row_says_how_its_space_writes_an_architecture():
    (row,) = generated_results([generated(SMALL, 10.5)], SPACE)["results"]
    assert row == {
        "budget_ms": 20.0, "arch": SMALL, "ofa": SPACE.extremes()[0].to_ofa(), "latency_ms": 10.5,
        "interval_ms": None, "top1": 0.75, "feasible": True, "generation_ms": 1.5,
        "top1_interval": None, "origin": "generated", "bound": "latency", "bound_used": 0.525,
        "madds": SPACE.madds(SPACE.extremes()[0]), "params": SPACE.params(SPACE.extremes()[0]),
    }  # fmt: skip
    space = grid_space(n_positions=3, n_choices=3)
    tokens = space.parse(",".join(map(str, space.rows[4])))
    made = generated(SMALL, 10.5, tokens=tokens, interval_ms=(10.0, 11.0))
    (row,) = generated_results([made], space)["results"]
    assert row["tokens"] == [str(value) for value in space.rows[4]]
    assert row["interval_ms"] == [10.0, 11.0] and not row.keys() & {"ofa", "madds", "params"}


def test_a_row_says_which_bound_held_it_back():
    latency = {"latency": of_bound("ms", 10.5, 20.0)}
    for further, bound, used in [
        ({}, "latency", 0.525),
        ({"energy": Spent("mJ", 7.0)}, "latency", 0.525),
        ({"energy": of_bound("mJ", 7.0, 10.0)}, "energy", 0.7),
        ({"phone": of_bound("ms", 3.0, 4.0), "params": of_bound("params", 9.0, 10)}, "params", 0.9),
    ]:
        made = generated(SMALL, 10.5, costs=latency | further)
        (row,) = generated_results([made], SPACE)["results"]
        assert (row["bound"], row["bound_used"]) == (bound, pytest.approx(used))


def test_every_cost_is_said_with_its_unit():
    space = grid_space(n_positions=3, n_choices=3)
    costs = {
        "cpu": of_bound("ms", 10.5, 20.0), "energy": of_bound("mJ", 7.0, 8.0),
        "phone": Spent("ms", 31.25, (30.0, 32.5)),
    }  # fmt: skip
    made = generated(SMALL, 10.5, tokens=space.rows[4], costs=costs)
    document = generated_results([made], space)
    (row,) = document["results"]
    assert row["costs"]["phone"] == {
        "unit": "ms", "value": 31.25, "interval": [30.0, 32.5], "bound": None, "used": None,
    }  # fmt: skip
    assert row["costs"]["energy"]["bound"] == 8.0
    header, line = results_text(document).splitlines()
    assert header.split("  ")[:2] == ["budget ms", "latency ms"]
    assert "energy mJ  phone ms  top-1 %   bound" in header
    assert line.split()[:5] == ["20.000", "10.500", "7.000", "31.250", "75.00"]
    assert line.split()[5:7] == ["energy", "87.50"]


def test_an_architecture_that_was_measured_says_so():
    kept = KeptVerification(
        latency_table="0" * 64, device=DEVICE, same_device=True, networks=(measured(SMALL, 10.0),),
        calibration=None, picks=(), created="2026-01-01T00:00:00+00:00", tool="test",
    )  # fmt: skip
    document = generated_results([generated(SMALL, 10.5), generated(LARGE, 19.0)], SPACE, kept=kept)
    small, large = document["results"]
    assert (small["measured_ms"], small["verdict"]) == (10.0, "stable")
    assert "measured_ms" not in large
    assert document["verified"]["device"]["model"] == "one"
    lines = results_text(document).splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["10.000", "-"]


def test_the_text_is_a_line_a_budget(verification):
    made = generated(SMALL, 10.5)
    small = SPACE.extremes()[0]
    counts = f"  {SPACE.madds(small) / 1e6:7.1f}  {SPACE.params(small) / 1e6:8.2f}"
    assert results_text(generated_results([made], SPACE)).splitlines()[1:] == [
        f"   20.000      10.500    75.00{counts}  latency   52.50  {SMALL}"
    ]
    lines = results_text(verified_results(verification, SPACE)).splitlines()
    assert lines[1:] == [
        f"   20.000      10.500       10.000    75.00{counts}  latency   52.50  {SMALL}",
        "2 networks measured on one; predictions were off by 12.50 % on average",
        f"20 ms: was {LARGE} (19.000 ms predicted, 21.000 measured)",
    ]


def test_what_is_printed_is_read_back(verification, tmp_path):
    path = tmp_path / "verified.json"
    path.write_text(json.dumps(verified_results(verification, SPACE)))
    assert read_measured(path, DEVICE) == [
        MeasuredNetwork(SMALL, 10.0, (9.0, 11.0), "stable", 20.0),
        MeasuredNetwork(LARGE, 21.0, (20.0, 22.0), "stable", None),
        MeasuredNetwork(SMALL, 10.0, (9.0, 11.0), "stable", None),
    ]
    with pytest.raises(InvalidInputError, match="measured with threads 1, the run's table with 2"):
        read_measured(path, replace(DEVICE, threads=2))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0", "-1", "true", '"1.5"', "1e999"])
def test_what_no_measurement_gives_is_refused(value, tmp_path):
    path = tmp_path / "m.json"
    for name in ("measured_ms", "budget_ms"):
        row = {"arch": "a", "measured_ms": 1.0} | {name: "VALUE"}
        for rows in ([row], [{"arch": "b", "candidates": [row]}]):
            path.write_text(json.dumps({"rows": rows}).replace('"VALUE"', value))
            with pytest.raises(InvalidInputError, match=rf"m\.json: rows\.0\..*{name}: "):
                read_measured(path, DEVICE)


def test_a_number_without_end_is_refused(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"rows": [{"arch": "a", "measured_ms": 10**399}]}))
    with pytest.raises(InvalidInputError, match=r"m\.json .*a number of 400 digits"):
        read_measured(path, DEVICE)


@pytest.mark.parametrize(
    "interval", [[1.0], [2.0, 1.0], [-1.0, 1.0], [1.0, 2.0, 3.0], 1.0, ["1", "2"]]
)
def test_an_interval_has_two_rising_ends(interval, tmp_path):
    path = tmp_path / "m.json"
    row = {"arch": "a", "measured_ms": 1.0, "measured_ci95_ms": interval}
    path.write_text(json.dumps({"rows": [row]}))
    with pytest.raises(InvalidInputError, match=r"rows\.0\.measured_ci95_ms"):
        read_measured(path, DEVICE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no output of pnag generate"),
        ('{"results": [{"measured_ms": 1}]}', r"results\.0\.arch: Field required"),
        ('{"results": 1}', "results: Input should be a valid"),
        ('{"rows": [], "device": "x"}', "device: Input should be"),
        ('{"rows": [], "verification": "x"}', "verification: Input should be"),
        ('{"rows": ' + "[" * 900 + "]" * 900 + "}", r"rows\.0: Input should be|recursion"),
        ('{"results": [{"arch": "a", "measured_ms": null}]}', "holds nothing measured"),
    ],
)
def test_another_file_is_one_line(text, message, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_measured(path, DEVICE)
