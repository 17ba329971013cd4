import json

import numpy as np

from pnag.cli.app import run
from predictors.latency.lookup import cost_from_table
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table


def test_a_profiled_table_holds_its_calibration(tmp_path, capsys):
    out = tmp_path / "fake.json"
    arguments = ["--device", "fake:1", "--quick", "--networks", "6", "--out", str(out), "--json"]
    assert run(["profile", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["networks"] == 6
    table = load_table(out)
    assert table.calibration is not None
    assert table.calibration.n_networks == 6
    # the fake device's networks take 0.9 of the sum of their ops
    space = MobileNetV3Space()
    tokens = space.sample(20, np.random.default_rng(5))
    sums = [sum(table.ops[op.key].latency_ms for op in space.ops(space.decode(t))) for t in tokens]
    assert np.allclose(cost_from_table(table)(tokens), 0.9 * np.array(sums), rtol=0.02)


def test_too_few_networks_leave_the_table_uncalibrated(tmp_path):
    out = tmp_path / "fake.json"
    arguments = ["--device", "fake:1", "--quick", "--networks", "1", "--out", str(out), "--quiet"]
    assert run(["profile", *arguments]) == 0
    assert load_table(out).calibration is None
