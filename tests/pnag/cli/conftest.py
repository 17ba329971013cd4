"""The commands as functions of their arguments, and a small run to give them."""

import json

import pytest
import typer

import pnag.cli.generate
import pnag.cli.train
from pnag.learning.settings import TrainSettings
from profiler.devices.base import DeviceInfo
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Calibration, Entry, LatencyTable, SpaceRef, Verdict

INFO = DeviceInfo("fake", "fake", "simulated", "none", "0", 1, "float32", 1)


def app():
    app = typer.Typer(pretty_exceptions_enable=False)
    pnag.cli.train.register(app)
    pnag.cli.generate.register(app)
    return app


@pytest.fixture
def call(capsys):
    def called(*arguments):
        app()(list(map(str, arguments)), standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return called


@pytest.fixture(scope="package")
def quick_settings():
    """The defaults, made small: the commands expose only what users need."""
    small = {
        "rounds": 2, "evaluator_steps": 20, "evaluator_full_steps": 2, "generator_steps": 10,
        "evaluator_hidden": 32, "generator_hidden": 32,
    }  # fmt: skip
    patch = pytest.MonkeyPatch()
    defaults = list(TrainSettings.__init__.__defaults__ or ())
    names = list(TrainSettings.__dataclass_fields__)
    for name, value in small.items():
        defaults[names.index(name)] = value
    patch.setattr(TrainSettings.__init__, "__defaults__", tuple(defaults))
    yield
    patch.undo()


def simulated_table(space, path):
    """Latencies proportional to MAdds (at least 1 us), with a calibration."""
    ops = {
        key: Entry(latency_ms=max(op.graph.madds / 1e7, 1e-3), verdict=Verdict.IMPORTED)
        for key, op in space.distinct_ops().items()
    }
    table = LatencyTable(
        space=SpaceRef.of(space), device=INFO, protocol={},
        ops=ops, created="2026-01-01T00:00:00+00:00", tool="test",
        calibration=Calibration(
            intercept_ms=0.0, factors={"all": 1.0}, n_networks=20, residual_mape_pct=1.0,
            relative_quantiles={0.95: 0.02},
        ),
    )  # fmt: skip
    table.save(path)
    return path


@pytest.fixture(scope="package")
def latency_table(tmp_path_factory):
    return simulated_table(MobileNetV3Space(), tmp_path_factory.mktemp("tables") / "simulated.json")


@pytest.fixture(scope="package")
def run(quick_settings, latency_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "simulated"
    arguments = ["train", "--latency-table", latency_table, "--evaluations", 400, "--quiet"]
    app()([*map(str, arguments), "--out", str(folder)], standalone_mode=False)
    return folder
