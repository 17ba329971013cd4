"""From a latency table of NAS-Bench-201 to generated cells: accuracies are the published ones, so
that the exact frontier is known."""

import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from benchmarks.measures import best_within
from pnag.generate import generate_each
from pnag.generated import refuse_unmet
from pnag.results import export_results, generated_results
from pnag.runs.inputs import ACCURACY_FILE, inputs_of_run, table_inputs
from pnag.runs.run import load_run, train_run
from pnag.search.frontier import hypervolume
from pnag.serve.app import create_app
from predictors.accuracy.enumerated import enumerated_accuracy
from predictors.cost import madds_cost
from predictors.latency.lookup import calibrated_where_possible
from profiler.devices.base import network_workload
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import InvalidInputError
from profiler.graph.from_onnx import read_onnx
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.tables.table import load_table
from tests.pnag.profiled import DEVICE, SILENT, SMALL
from tests.profiler.fast import FAST

pytestmark = pytest.mark.slow

SPACE = NasBench201Space("cifar100")
EVERY = SPACE.every()
TOP1 = enumerated_accuracy(SPACE, "cifar100").top1(EVERY)


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "table.json"
    request = ProfileRequest(
        DEVICE, SPACE, path, FAST, n_networks=20, complete=calibrated_where_possible
    )
    profile_device(request, SILENT)
    return path


@pytest.fixture(scope="module")
def run(table_file):
    return train_run(table_inputs(table_file), SMALL, table_file.parent / "run")


def test_a_table_knows_its_data_set(table_file):
    document = json.loads(table_file.read_text())
    assert document["space"] == {"name": "nasbench201", "dataset": "cifar100"}
    assert load_table(table_file).search_space == SPACE
    with pytest.raises(InvalidInputError, match="of cifar100, not of nasbench201 of cifar10"):
        load_table(table_file, space=NasBench201Space("cifar10"))


def test_costs_are_latencies_of_cells_that_were_not_measured(run):
    drawn = EVERY[np.random.default_rng(5).permutation(len(EVERY))[:100]]
    device = FakeDevice(1)
    true_ms = [device.latency_ms(network_workload(SPACE, row)) for row in drawn]
    np.testing.assert_allclose(run.problem.cost(drawn), true_ms, rtol=0.02)


def test_decoding_bounds_every_cell_exactly(run):
    path_costs = run.problem.constraints.path_costs(EVERY)[:, 0]
    np.testing.assert_allclose(path_costs, run.problem.cost(EVERY), rtol=1e-12)


def test_generated_cells_are_near_the_exact_frontier(run):
    cost_ms = run.problem.cost(EVERY)
    low_ms, high_ms = run.reachable_ms
    budgets = np.geomspace(low_ms, high_ms, 40)
    made = run.generate(budgets.tolist())
    assert all(one.latency_ms <= one.budget_ms for one in made)
    exact = best_within(cost_ms, TOP1, budgets)
    top1, corner = np.array([one.top1 for one in made]), run.problem.reference_point
    assert (top1 <= exact).all()
    reached = hypervolume(np.array([one.latency_ms for one in made]), top1, *corner)
    assert reached >= 0.97 * hypervolume(cost_ms, TOP1, *corner)


def test_a_kept_run_holds_the_published_accuracies(run, table_file):
    again = load_run(table_file.parent / "run")
    assert again.problem.accuracy.top1(EVERY).tolist() == TOP1.tolist()
    config = json.loads((table_file.parent / "run" / "config.json").read_text())
    assert config["inputs"][ACCURACY_FILE]["source"] == "embedded"


def test_measured_energies_of_every_cell_are_kept_and_bounded(run, table_file, tmp_path):
    energies = 1 + np.random.default_rng(0).permutation(len(EVERY)) / 1000
    lines = [f"{SPACE.format(row)},{mj}" for row, mj in zip(EVERY, energies, strict=True)]
    path = tmp_path / "energy.csv"
    path.write_text("\n".join(["arch,energy_mj", *lines]) + "\n")
    (tmp_path / "run").mkdir()
    inputs = table_inputs(table_file, costs=path)
    inputs.save(tmp_path / "run")
    again = inputs_of_run(tmp_path / "run", [file.name for file in inputs.files])
    kept = again.problem.further["energy"]
    assert kept.unit == "mJ" and kept(EVERY).tolist() == energies.tolist()
    assert [file.to_json()["sha256"] for file in again.files] == [
        file.to_json()["sha256"] for file in inputs.files
    ]
    budget_ms = run.reachable_ms[1]
    (made,) = refuse_unmet(
        generate_each(again.problem, run.learners, [budget_ms], bounds={"energy": 1.5})
    )
    assert made.costs["energy"].value == kept(made.tokens[None])[0] <= 1.5


def test_multiply_adds_are_bounded_beside_the_latency(run):
    budget_ms = run.reachable_ms[1]
    (made,) = run.generate([budget_ms], bounds={"madds": 5e7})
    assert madds_cost(SPACE)(made.tokens[None])[0] == SPACE.network(made.tokens).madds <= 5e7


def test_a_service_answers_with_cells(run):
    """Networks that Once-for-All has no form for."""
    with TestClient(create_app(run)) as client:
        answer = client.post("/generate", json={"budgets_ms": [run.reachable_ms[1]]})
    (row,) = answer.json()["results"]
    assert "ofa" not in row
    assert row["params"] == SPACE.network(SPACE.parse(row["arch"])).params


def test_generated_cells_are_exported_as_they_are(run, tmp_path):
    made = run.generate([run.reachable_ms[1]])
    document = generated_results(made, SPACE)
    export_results(document, SPACE, ("onnx",), tmp_path, seed=0)
    (written,) = tmp_path.iterdir()
    assert read_onnx(written).graph.madds == SPACE.network(made[0].tokens).madds


def test_a_further_cost_may_be_called_latency(table_file, tmp_path):
    inputs = table_inputs(table_file, cost_name="cpu", further={"latency": table_file})
    inputs.save(tmp_path)
    again = inputs_of_run(tmp_path, [file.name for file in inputs.files], "cpu").problem
    assert (again.cost_name, list(again.further)) == ("cpu", ["latency"])
