"""The demo on the fake device: five budgets kept, predicted, measured, and written down."""

import json
from typing import Any

import pytest

from pnag.cli.app import run
from pnag.learning.settings import TrainSettings
from profiler.devices.simulated.fake import FakeDevice
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table
from tests.pnag.profiled import SMALL
from tests.profiler.fast import FAST

pytestmark = pytest.mark.slow

SPACE = MobileNetV3Space()


@pytest.fixture
def demo(tmp_path, monkeypatch, capsys):
    """Run the command, with fewer samples and training steps."""
    monkeypatch.setattr("profiler.measuring.protocol.QUICK", FAST)
    few = {**SMALL.to_json(), "n_evaluations": 300, "n_budgets": 3}
    names = TrainSettings.__dataclass_fields__
    monkeypatch.setattr(TrainSettings.__init__, "__defaults__", tuple(few[n] for n in names))

    def call(*options, code=0):
        arguments = ["demo", "--device", "fake:1", "--out", str(tmp_path / "demo"), *options]
        assert run(arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    bound: Any = call
    bound.folder = tmp_path / "demo"
    return bound


def test_five_budgets_are_kept_predicted_and_measured(demo):
    printed = json.loads(demo("--json", "--quiet"))
    low, high = printed["reachable_ms"]
    rows = printed["results"]
    shares = [(row["budget_ms"] - low) / (high - low) for row in rows]
    assert shares == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.001)  # budgets are rounded
    for row in rows:
        assert row["predicted_ms"] <= row["budget_ms"]
        assert row["error_pct"] == pytest.approx(
            100 * (row["measured_ms"] / row["predicted_ms"] - 1)
        )
        assert abs(row["error_pct"]) < 5
        assert SPACE.format(SPACE.parse(row["arch"])) == row["arch"]
    report = json.loads((demo.folder / "report.json").read_text())
    assert report["rows"] == rows
    assert len(load_table(demo.folder / "table.json").ops) == 96


def test_a_second_demo_begins_anew_and_an_interrupted_one_goes_on(demo):
    demo("--quiet")
    table = demo.folder / "table.json"
    (demo.folder / "report.json").unlink()  # as if it had been interrupted while measuring
    kept = table.read_bytes()
    text = demo("--quiet")
    assert table.read_bytes() == kept
    assert text.splitlines()[-1] == (
        f"next: pnag report --run {demo.folder}/run --measured {demo.folder}/report.json "
        f"--out {demo.folder}/report.html"
    )
    demo("--quiet")
    assert table.read_bytes() != kept


def test_the_whole_job_opens_its_device_once(demo, monkeypatch):
    opened = []
    construct = FakeDevice.__init__

    def counted(device, *arguments, **settings):
        opened.append(device)
        construct(device, *arguments, **settings)

    monkeypatch.setattr(FakeDevice, "__init__", counted)
    demo("--quiet")
    assert len(opened) == 1


def test_a_demo_that_cannot_begin_removes_nothing(demo):
    demo("--quiet")
    kept = {path: path.read_bytes() for path in demo.folder.rglob("*") if path.is_file()}
    assert "unknown device" in demo("--device", "nosuch", "--fresh", code=2)
    (demo.folder / "report.json").unlink()
    for other in (("--device", "fake:2"), ("--seed", "1")):
        assert "unfinished demo of another device or seed" in demo(*other, code=2)
    del kept[demo.folder / "report.json"]
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("name", ["table.json", "report.json", "run/config.json"])
def test_what_is_not_of_a_demo_is_left_alone(demo, name):
    path = demo.folder / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for options in ((), ("--fresh",)):
        assert "is not of a demo" in demo(*options, code=2)
    assert path.read_text() == "mine"
    assert [path for path in demo.folder.rglob("*") if path.is_file()] == [path]
