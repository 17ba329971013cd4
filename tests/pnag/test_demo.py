"""The demo on the fake device: five budgets kept, predicted, measured, and written down."""

import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
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


@pytest.fixture(scope="module", autouse=True)
def small():
    """Fewer samples and training steps."""
    few = {**SMALL.to_json(), "n_evaluations": 300, "n_budgets": 3}
    names = TrainSettings.__dataclass_fields__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profiler.measuring.protocol.QUICK", FAST)
        patch.setattr(TrainSettings.__init__, "__defaults__", tuple(few[n] for n in names))
        yield


@dataclass(frozen=True)
class Finished:
    """A demo that is done: its folder, what it printed, and how often it opened its device."""

    folder: Path
    printed: dict[str, Any]
    n_opened: int


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, opened = tmp_path_factory.mktemp("finished") / "demo", []
    construct = FakeDevice.__init__

    def counted(device, *arguments, **settings):
        opened.append(device)
        construct(device, *arguments, **settings)

    line = ["demo", "--device", "fake:1", "--out", str(folder), "--json", "--quiet"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.setattr(FakeDevice, "__init__", counted)
        assert run(line) == 0
    return Finished(folder, json.loads(out.getvalue()), len(opened))


@pytest.fixture
def demo(tmp_path, capsys):
    """Run the command."""

    def call(*options, code=0):
        arguments = ["demo", "--device", "fake:1", "--out", str(tmp_path / "demo"), *options]
        assert run(arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    bound: Any = call
    bound.folder = tmp_path / "demo"
    return bound


@pytest.fixture
def done(demo, finished):
    """The command, and a demo of it that is done."""
    shutil.copytree(finished.folder, demo.folder)
    return demo


def test_five_budgets_are_kept_predicted_and_measured(finished):
    low, high = finished.printed["reachable_ms"]
    rows = finished.printed["results"]
    shares = [(row["budget_ms"] - low) / (high - low) for row in rows]
    assert shares == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.001)  # budgets are rounded
    for row in rows:
        assert row["predicted_ms"] <= row["budget_ms"]
        assert row["error_pct"] == pytest.approx(
            100 * (row["measured_ms"] / row["predicted_ms"] - 1)
        )
        assert abs(row["error_pct"]) < 5
        assert SPACE.format(SPACE.parse(row["arch"])) == row["arch"]
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["rows"] == rows
    assert len(load_table(finished.folder / "table.json").ops) == 96


def test_a_second_demo_begins_anew_and_an_interrupted_one_goes_on(done):
    table = done.folder / "table.json"
    (done.folder / "report.json").unlink()  # as if it had been interrupted while measuring
    kept = table.read_bytes()
    text = done("--quiet")
    assert table.read_bytes() == kept
    assert text.splitlines()[-1] == (
        f"next: pnag report --run {done.folder}/run --measured {done.folder}/report.json "
        f"--out {done.folder}/report.html"
    )
    done("--quiet")
    assert table.read_bytes() != kept


def test_the_whole_job_opens_its_device_once(finished):
    assert finished.n_opened == 1


def test_a_demo_that_cannot_begin_removes_nothing(done):
    kept = {path: path.read_bytes() for path in done.folder.rglob("*") if path.is_file()}
    assert "unknown device" in done("--device", "nosuch", "--fresh", code=2)
    (done.folder / "report.json").unlink()
    for other in (("--device", "fake:2"), ("--seed", "1")):
        assert "unfinished demo of another device or seed" in done(*other, code=2)
    del kept[done.folder / "report.json"]
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_demo_killed_while_it_cleared_another_away_goes_on(done, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    shutil.rmtree(done.folder / "run")
    for path in done.folder.iterdir():
        if path.name != "demo.json":
            path.unlink()
    monkeypatch.setattr("pnag.demo._profiled", interrupted)
    assert "interrupted" in done("--seed", "1", code=130)
    assert json.loads((done.folder / "demo.json").read_text()) == {"device": "fake:1", "seed": 1}


@pytest.mark.parametrize("name", ["table.json", "report.json", "run/config.json"])
def test_what_is_not_of_a_demo_is_left_alone(demo, name):
    path = demo.folder / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for options in ((), ("--fresh",)):
        assert "is not of a demo" in demo(*options, code=2)
    assert path.read_text() == "mine"
    assert [path for path in demo.folder.rglob("*") if path.is_file()] == [path]
