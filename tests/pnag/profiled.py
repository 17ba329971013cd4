"""A run as users have it: the fake device profiled, calibrated, and trained on."""

import hashlib
import json
import shutil
from pathlib import Path

from pnag.learning.settings import TrainSettings
from pnag.runs.inputs import LATENCY_FILE, table_inputs
from pnag.runs.run import train_run
from predictors.latency.lookup import calibrated_where_possible
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.terminal import Terminal
from tests.profiler.fast import FAST

SILENT = Terminal(quiet=True)
SMALL = TrainSettings(
    n_evaluations=600, n_budgets=4, rounds=2, evaluator_steps=20, evaluator_full_steps=2,
    generator_steps=10, evaluator_hidden=32, generator_hidden=32,
)  # fmt: skip
DEVICE = "fake:1"


def profiled_run(folder: Path) -> Path:
    """`table.json` with its journal, and the run directory `run`, which is returned."""
    table = folder / "table.json"
    request = ProfileRequest(
        DEVICE, MobileNetV3Space(), table, FAST, n_networks=20, complete=calibrated_where_possible
    )
    profile_device(request, SILENT)
    train_run(table_inputs(table), SMALL, folder / "run")
    return folder / "run"


def slower_run(run: Path, folder: Path, factor: float) -> Path:
    """The run as it would be had every op and network taken `factor` times as long, a month ago."""
    shutil.copytree(run, folder)
    path, config = folder / LATENCY_FILE, folder / "config.json"
    table = json.loads(path.read_text())
    for entry in [*table["ops"].values(), *table["networks"]]:
        entry |= {
            name: factor * entry[name]
            for name in entry
            if name.endswith("_ms") and isinstance(entry[name], float)
        }
        entry["ci95_ms"] = [factor * end for end in entry["ci95_ms"]]
    table["calibration"]["intercept_ms"] *= factor
    table["created"] = "2026-10-01T12:00:00+00:00"
    path.write_text(json.dumps(table))
    document = json.loads(config.read_text())
    document["inputs"][LATENCY_FILE]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    config.write_text(json.dumps(document))
    return folder
