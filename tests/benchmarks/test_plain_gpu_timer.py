from dataclasses import replace

import numpy as np
import pytest

from benchmarks.plain_gpu_timer import check_comparable, figures, measured_before
from predictors.latency.lookup import cost_from_table
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import NetworkEntry, Verdict
from tests.predictors.synthetic import make_table

SPACE = MobileNetV3Space()


@pytest.fixture(scope="module")
def table():
    return make_table(SPACE)


@pytest.fixture(scope="module")
def archs():
    return [SPACE.format(row) for row in SPACE.sample(3, np.random.default_rng(0))]


def test_predictions_and_measurements_are_judged_by_the_plain_timer(table, archs):
    predicted_ms = cost_from_table(table)(np.stack([SPACE.parse(arch) for arch in archs]))
    plain_ms = dict(zip(archs, (predicted_ms / [1.01, 0.97, 1.0]).tolist(), strict=True))
    measured_ms = {arch: 1.02 * ms for arch, ms in plain_ms.items()}
    found = figures(table, plain_ms, measured_ms)
    assert found["n_networks"] == 3
    assert found["predicted"] == pytest.approx({"mean_abs": 4 / 3, "bias": -2 / 3, "worst": -3.0})
    assert found["measured"] == pytest.approx({"mean_abs": 2.0, "bias": 2.0, "worst": 2.0})
    assert list(found["predicted_ms"].values()) == pytest.approx(predicted_ms.tolist())
    assert figures(table, plain_ms, dict.fromkeys(archs))["measured"] is None


def test_networks_come_from_a_table_or_a_list(table, archs, tmp_path):
    entries = [NetworkEntry(arch=arch, latency_ms=1.5, verdict=Verdict.STABLE) for arch in archs]
    table.model_copy(update={"networks": tuple(entries)}).save(tmp_path / "held_out.json")
    (tmp_path / "archs.txt").write_text("\n".join(archs) + "\n")
    (tmp_path / "none.txt").write_text("\n")
    assert measured_before(tmp_path / "held_out.json") == dict.fromkeys(archs, 1.5)
    assert measured_before(tmp_path / "archs.txt") == dict.fromkeys(archs)
    with pytest.raises(InvalidInputError, match="names no architecture"):
        measured_before(tmp_path / "none.txt")


def test_a_table_of_other_latencies_is_refused(table):
    options = (("launch", "graph"), ("l2", "hot"), ("memory_format", "contiguous"))
    device = replace(table.device, platform="cuda", options=options)
    check_comparable(table.model_copy(update={"device": device}))
    for other in (
        replace(device, precision="float16"),
        replace(device, options=(("launch", "eager"), *options[1:])),
    ):
        with pytest.raises(InvalidInputError, match="is for float32, graphs"):
            check_comparable(table.model_copy(update={"device": other}))
