import json

import numpy as np
import pytest

from pnag.cli.app import run
from predictors.latency.lookup import cost_from_table
from profiler.errors import DeviceUnavailableError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import network_ops
from profiler.tables.table import LatencyTable, Verdict, load_table
from tests.profiler.fast import FAST

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr("profiler.measuring.protocol.QUICK", FAST)


@pytest.fixture
def written(monkeypatch):
    """Each latency table in the moment that its file is written."""
    tables, save = [], LatencyTable.save

    def recorded(table, path):
        tables.append(table)
        save(table, path)

    monkeypatch.setattr(LatencyTable, "save", recorded)
    return tables


def test_a_profiled_table_holds_its_calibration(tmp_path, capsys, written):
    out = tmp_path / "fake.json"
    arguments = ["--device", "fake:1", "--quick", "--networks", "6", "--out", str(out), "--json"]
    assert run(["profile", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["networks"] == 6
    table = load_table(out)
    assert table.calibration is not None
    assert table.calibration.n_networks == 6
    assert written == [table]  # a kill leaves no table without it
    # the fake device's networks take 0.9 of the sum of their ops
    space = MobileNetV3Space()
    tokens = space.sample(20, np.random.default_rng(5))
    sums = [sum(table.ops[op.key].latency_ms for op in network_ops(space, t)) for t in tokens]
    assert np.allclose(cost_from_table(table)(tokens), 0.9 * np.array(sums), rtol=0.02)


def test_too_few_networks_leave_the_table_uncalibrated(tmp_path):
    out = tmp_path / "fake.json"
    arguments = ["--device", "fake:1", "--quick", "--networks", "1", "--out", str(out), "--quiet"]
    assert run(["profile", *arguments]) == 0
    assert load_table(out).calibration is None


@pytest.mark.parametrize("order", [("cuda", "fake"), ("fake", "cuda")])
def test_a_device_that_fails_leaves_the_others_calibrated(tmp_path, monkeypatch, capsys, order):
    def no_gpu():
        raise DeviceUnavailableError("no NVIDIA GPU can be used")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("profiler.devices.cuda.device.require_driver", no_gpu)
    devices = [option for spec in order for option in ("--device", spec)]
    assert run(["profile", *devices, "--quick", "--networks", "4", "--json", "--quiet"]) == 4
    printed = capsys.readouterr()
    assert printed.err == "pnag: no NVIDIA GPU can be used\n"
    (table,) = json.loads(printed.out)["tables"]
    calibration = load_table(tmp_path / table["path"]).calibration
    assert calibration is not None and calibration.n_networks == 4


def test_a_device_like_another_is_profiled_by_a_few_samples(tmp_path, capsys, written):
    """The simulated devices share their law, up to a factor; 12 samples find it."""
    base, out, whole = (tmp_path / name for name in ("base.json", "like.json", "whole.json"))
    quick = ["--quick", "--quiet", "--networks", "6"]
    assert run(["profile", "--device", "fake:1", *quick, "--out", str(base)]) == 0
    like = ["profile", "--device", "fake:2", "--quick", "--quiet", "--like", str(base)]
    assert run([*like, "--samples", "12", "--out", str(out)]) == 0
    assert run(["profile", "--device", "fake:2", *quick, "--out", str(whole)]) == 0
    table, truth = load_table(out), load_table(whole)
    assert {entry.verdict for entry in table.ops.values()} == {Verdict.TRANSFERRED}
    assert table.transfer is not None
    assert len(table.transfer.samples) == 12
    assert [len(one.ops) for one in written] == [96, 96, 96]  # never the samples alone
    assert table.noise_floor is not None
    tokens = MobileNetV3Space().sample(20, np.random.default_rng(5))
    assert np.allclose(cost_from_table(table)(tokens), cost_from_table(truth)(tokens), rtol=0.03)
    capsys.readouterr()
    for wrong in (["--networks", "3"], ["--batch-size", "2"], ["--samples", "2"]):
        assert run([*like, *wrong, "--out", str(tmp_path / "no.json")]) == 2
    assert run(["profile", "--device", "fake:2", "--samples", "9", "--out", "no.json"]) == 2
    assert not (tmp_path / "no.json").exists()
    err = capsys.readouterr().err
    assert "batch size 1, not of 2" in err
    assert "--samples is for --like" in err
