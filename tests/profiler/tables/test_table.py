import json

import pytest

from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Entry, LatencyTable, SpaceRef, Verdict, load_table


@pytest.fixture
def table():
    space = MobileNetV3Space()
    return LatencyTable(
        space=SpaceRef(name="mbv3", width_mult=1.0, resolution_px=224),
        device=DeviceInfo(
            "cpu", "cpu", "Some CPU", "onnxruntime", "1.0", 1, "float32", 1, affinity=(1,)
        ),
        protocol={"preset": "full"},
        ops={
            key: Entry(
                latency_ms=op.graph.madds / 1e8 + 0.01,
                ci95_ms=(0.01, 10.0),
                verdict=Verdict.STABLE,
                flags=("canary_split",),
            )
            for key, op in space.distinct_ops().items()
        },
        failures={"x": "nonzero_exit"},
        created="2026-01-01T00:00:00Z",
        tool="pnag 0.1.0",
    )


def test_a_saved_table_loads_back_equal(table, tmp_path):
    table.save(tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == table
    assert json.loads((tmp_path / "t.json").read_text())["schema"] == "pnag.latency-table/1"
    assert table.search_space == MobileNetV3Space()


def test_a_space_that_is_not_said_in_full_is_refused(table, tmp_path):
    """It is none of the default width."""
    document = json.loads(table.to_json())
    del document["space"]["width_mult"]
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(
        InvalidInputError, match="mbv3 at 224 px does not say which; such as mbv3 w"
    ):
        load_table(tmp_path / "t.json")


def damaged(document, how):
    match how:
        case "schema":
            document["schema"] = "pnag.latency-table/0"
        case "zero":
            next(iter(document["ops"].values()))["latency_ms"] = 0
        case "nan":
            next(iter(document["ops"].values()))["latency_ms"] = float("nan")
        case "nan_in_protocol":  # where no type says that it is a number
            document["protocol"]["wall_s"] = float("nan")
        case "unknown_field":
            document["extra"] = 1
        case "unit":
            document["unit"] = "s"
        case "missing_op":
            document["ops"].popitem()
        case "no_common_factor":
            factors = {"kernel=3": 0.1}
            document["calibration"] = {
                "intercept_ms": 0.0, "factors": factors, "n_networks": 3, "residual_mape_pct": 1.0,
            }  # fmt: skip
        case "no_threads":
            document["device"]["threads"] = 0
        case "list":
            return [document]
    return document


@pytest.mark.parametrize(
    "how",
    [
        *("schema", "zero", "nan", "unknown_field", "unit", "missing_op", "list"),
        *("no_common_factor", "no_threads", "nan_in_protocol"),
    ],
)
def test_damaged_tables_are_refused(table, tmp_path, how):
    path = tmp_path / "t.json"
    table.save(path)
    path.write_text(json.dumps(damaged(json.loads(path.read_text()), how)))
    with pytest.raises(InvalidInputError, match=r"t\.json"):
        load_table(path)


CALIBRATION = {
    "intercept_ms": 0.0, "factors": {"all": 1.0, "kernel=3": -0.1}, "n_networks": 3,
    "residual_mape_pct": 1.0, "relative_quantiles": {"0.5": 0.01, "0.75": 0.02},
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *((("ops", "latency_ms"), value) for value in (True, "1.5", -1.0)),
        *((("ops", "ci95_ms"), value) for value in ([2.0, 1.0], [-1.0, 2.0], [1.0], ["1", "2"])),
        *((("ops", "n_samples"), value) for value in (1.5, True, -1)),
        (("space", "resolution_px"), "224"),
        (("space", "width_mult"), 0),
        (("device", "threads"), True),
        (("calibration", "factors"), {"all": -1.0}),
        (("calibration", "factors"), {"all": 0.0}),
        (("calibration", "relative_quantiles"), {"0.5": -0.01}),
        (("calibration", "relative_quantiles"), {"0.5": 0.02, "0.9": 0.01}),
        (("calibration", "relative_quantiles"), {"1": 0.02}),
        (("calibration", "margins"), {"0.5": [-0.01, 0.1]}),
        (("calibration", "margins"), {"0.5": [0.01, -0.1]}),
        (("calibration", "margins"), {"0.5": 0.01}),
        (("calibration", "margins"), {"0.9": [0.0, 0.1], "0.5": [0.1, 0.1]}),
        (("calibration", "residual_mape_pct"), -1),
    ],
)
def test_what_is_no_such_number_is_refused_by_its_place(table, tmp_path, where, value):
    path = tmp_path / "t.json"
    table.save(path)
    document = json.loads(path.read_text()) | {"calibration": dict(CALIBRATION)}
    path.write_text(json.dumps(document))
    load_table(path)
    part, name = where
    place = next(iter(document["ops"].values())) if part == "ops" else document[part]
    place[name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=rf"t\.json: {part}\..*{name}"):
        load_table(path)


def test_a_key_given_twice_is_refused(table, tmp_path):
    path = tmp_path / "t.json"
    table.save(path)
    key = next(iter(table.ops))
    path.write_text(path.read_text().replace('"ops": {', f'"ops": {{"{key}": 1,'))
    with pytest.raises(InvalidInputError, match="is given twice"):
        load_table(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_table_is_refused(table, tmp_path, share):
    path = tmp_path / "t.json"
    table.save(path)
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(InvalidInputError, match="truncated"):
        load_table(path)


def test_a_table_of_another_width_is_refused_with_both_named(table, tmp_path):
    table.save(tmp_path / "t.json")
    with pytest.raises(InvalidInputError, match=r"width 1 at 224 px, not of .* width 1\.2 at 224"):
        load_table(tmp_path / "t.json", space=MobileNetV3Space(width_mult=1.2))


def test_an_absent_table_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"there is no latency table .*none.json; measure"):
        load_table(tmp_path / "none.json")
