import numpy as np
import pytest

from benchmarks.plain_gpu_timer import architectures, figures
from predictors.latency.lookup import cost_from_table
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


def test_predictions_are_judged_by_the_plain_timer(table, archs):
    predicted_ms = cost_from_table(table)(np.stack([SPACE.parse(arch) for arch in archs]))
    plain_ms = predicted_ms / np.array([1.01, 0.97, 1.0])
    found = figures(table, dict(zip(archs, plain_ms.tolist(), strict=True)))
    assert found["n_networks"] == 3
    assert found["mean_abs_error_pct"] == pytest.approx(4 / 3)
    assert found["bias_pct"] == pytest.approx(-2 / 3)
    assert found["worst_pct"] == pytest.approx(-3.0)
    assert list(found["predicted_ms"].values()) == pytest.approx(predicted_ms.tolist())


def test_networks_come_from_a_table_or_a_list(table, archs, tmp_path):
    entries = [NetworkEntry(arch=arch, latency_ms=1.0, verdict=Verdict.STABLE) for arch in archs]
    table.model_copy(update={"networks": tuple(entries)}).save(tmp_path / "held_out.json")
    (tmp_path / "archs.txt").write_text("\n".join(archs) + "\n")
    assert architectures(tmp_path / "held_out.json") == archs
    assert architectures(tmp_path / "archs.txt") == archs
