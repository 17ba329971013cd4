"""What a run was trained from is what its config says, whatever else lies in its folder."""

import shutil

import pytest

from pnag.cli.app import run as pnag
from pnag.runs.config import read_config, write_config
from pnag.runs.inputs import COSTS_FILE, LATENCY_FILE, OFA_ACCURACY_FILE, TABULAR_FILE
from pnag.runs.run import load_run
from profiler.errors import InvalidInputError


@pytest.fixture
def crowded(profiled_folder, tmp_path):
    """A run with files of other names that runs of other kinds have."""
    folder = shutil.copytree(profiled_folder, tmp_path / "run")
    shutil.copy(folder / LATENCY_FILE, folder / "latency_table.phone.json")
    for name in (TABULAR_FILE, COSTS_FILE, OFA_ACCURACY_FILE):
        (folder / name).write_text("a,top1,latency_ms\n0,0.5,1\n1,0.6,2\n")
    return folder


def test_other_files_in_the_folder_are_none_of_its_inputs(crowded, profiled_folder):
    run, alone = load_run(crowded), load_run(profiled_folder)
    assert not run.problem.further
    assert run.reachable_ms == alone.reachable_ms
    assert pnag(["train", "--out", str(crowded), "--resume", "--quiet"]) == 0


def test_its_accuracies_are_found_by_its_config_too(crowded, tmp_path):
    arguments = ["--latency-table", crowded / LATENCY_FILE, "--run", crowded]
    small = ["--evaluations", 40, "--out", tmp_path / "next", "--quiet"]
    assert pnag(["train", *map(str, [*arguments, *small])]) == 0
    taken = read_config(tmp_path / "next")["inputs"]["accuracy.safetensors"]["source"]
    assert taken == str(crowded / "accuracy.safetensors")


@pytest.mark.parametrize("name", ["latency_table.../../phone.json", "latency_table.a/b.json"])
def test_a_name_that_leads_out_of_the_folder_is_no_input(crowded, name):
    config = read_config(crowded)
    config["inputs"][name] = config["inputs"][LATENCY_FILE]
    write_config(crowded, config)
    assert not load_run(crowded).problem.further


def test_a_run_without_files_takes_its_problem_from_the_caller(crowded):
    config = read_config(crowded)
    write_config(crowded, config | {"inputs": {}})
    with pytest.raises(InvalidInputError, match="holds no latency table; give the problem"):
        load_run(crowded)
