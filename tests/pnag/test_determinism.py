"""Same seed, same files: the same bytes, whatever the hash seed and the number of threads."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from pnag.cli.app import run as pnag
from pnag.report.contents import Sources, gather
from pnag.report.run_page import render_run
from pnag.runs.inputs import table_inputs
from pnag.runs.run import train_run
from profiler.tables.table import load_table
from tests.pnag.profiled import SILENT, SMALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUICK = replace(SMALL, n_evaluations=200, evaluator_steps=5, generator_steps=5)
# what differs from run to run: when, and how long it took
DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+:\d]*")
TIMES = re.compile(rb'("generation_ms": )[\d.]+')


def make(folder: Path) -> None:
    """All that is made of a latency table, in `folder`, which holds one."""
    os.chdir(folder)
    table, rng = Path("table.json"), np.random.default_rng(0)
    space = load_table(table).search_space
    archs = [space.format(tokens) for tokens in space.sample(120, rng)]
    rows = [f'"{arch}",{rng.uniform(0.5, 0.9):.4f}\n' for arch in archs]
    Path("accuracies.csv").write_text("arch,top1\n" + "".join(rows))
    inputs = table_inputs(table, accuracy_table=Path("accuracies.csv"))
    middle_ms = np.mean(train_run(inputs, QUICK, Path("run")).reachable_ms)
    rows = [f'"{arch}",{rng.uniform(2, 3):.4f},us\n' for arch in archs[:9]]
    Path("measured.csv").write_text("arch,latency_ms,source\n" + "".join(rows))
    commands = {
        "generated": f"generate --run run --budget {middle_ms}ms --confidence 0.9 --json",
        "predicted": "predict --latency-table table.json --arch-file run/frontier.csv --json",
        "transferred": "table transfer --from table.json --measured measured.csv --device phone "
        "--out transferred.json --json",
    }
    for name, command in commands.items():
        with Path(f"{name}.txt").open("w") as file, redirect_stdout(file):
            assert pnag([*command.split(), "--quiet"]) == 0
    contents = gather(Path("run"), Sources(), SILENT, n_budgets=4)
    Path("report.html").write_text(render_run(contents), encoding="utf-8")


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return data if b"\0" in data else TIMES.sub(rb"\1", DATE.sub(b"then", data))


def test_neither_threads_nor_hashes_change_a_byte(profiled_folder, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        shutil.copy(profiled_folder.with_name("table.json"), folder)
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    environment |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "2")
    code = "import sys; from tests.pnag.test_determinism import *; make(Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", code, str(there)], cwd=ROOT, env=environment) as p:
        monkeypatch.chdir(here)
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1):
                make(here)
        finally:
            torch.set_num_threads(n_threads)
        assert p.wait(120) == 0
    made, again = (
        {path.relative_to(folder): content(path) for path in folder.rglob("*") if path.is_file()}
        for folder in (here, there)
    )
    assert made.keys() == again.keys() and len(made) > 15
    assert [path for path in made if made[path] != again[path]] == []
