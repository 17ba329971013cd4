"""Searching under the longer of two sums: both are held within the budget while decoding."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from pnag.cli.app import run as pnag
from pnag.generate import generate_each
from pnag.generated import refuse_unmet
from pnag.runs.inputs import table_inputs
from pnag.runs.run import load_run, train_run
from pnag.search.decoding import decode, producible
from pnag.search.policies import UniformPolicy
from pnag.search.problem import Problem
from predictors.base import BoundedAbove
from predictors.cost import LongestCost, madds_cost
from predictors.latency.lookup import calibrated_where_possible
from profiler.devices.base import network_workload
from profiler.devices.cuda import device as cuda
from profiler.errors import InfeasibleBudgetError
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table
from tests.pnag.landscapes import SaturatingAccuracy, block_cost, synthetic_cost
from tests.pnag.profiled import SILENT, SMALL
from tests.profiler.devices.cuda.simulated_cuda import launch_ms, simulated, work_ms
from tests.profiler.fast import FAST

pytestmark = pytest.mark.slow

SPACE = MobileNetV3Space()
WORK = synthetic_cost(SPACE)
LAUNCH = block_cost(5.0, np.full((20, 3, 3), 1.8))  # 23 to 41 ms
BATCH_SIZE = 12  # where the simulated GPU is as long at work as its host at launching
PROBLEM = Problem(SPACE, LongestCost((LAUNCH, WORK), {0.95: 0.03}), SaturatingAccuracy())


def test_the_reachable_range_is_that_of_the_longer_end():
    low, high = PROBLEM.reachable_ms
    sampled = PROBLEM.cost(SPACE.sample(20_000, np.random.default_rng(0)))
    ends = PROBLEM.constraints.reachable
    assert max(ends[:, 0]) <= low <= sampled.min()
    assert high == ends[:, 1].max() >= sampled.max()


def test_none_of_2000_budgets_is_exceeded():
    low, high = PROBLEM.reachable_ms
    rng = np.random.default_rng(1)
    budgets = np.r_[low, high, rng.uniform(low, high, 1998)]
    tokens = PROBLEM.sample_within(budgets, rng)
    cost_ms = PROBLEM.cost(tokens)
    assert (cost_ms <= budgets * (1 + 1e-11)).all()
    bound_by_launches = LAUNCH(tokens) > WORK(tokens)
    assert 0.01 < bound_by_launches.mean() < 0.99


def test_nearly_all_that_fits_can_be_made_and_nothing_else():
    tokens = SPACE.sample(2000, np.random.default_rng(2))
    cost_ms = PROBLEM.cost(tokens)
    for budget in np.quantile(cost_ms, [0.1, 0.5, 0.9]):
        bounds = np.full((len(tokens), 1), budget)
        made = producible(PROBLEM.constraints, tokens, bounds)
        assert not made[cost_ms > budget].any()
        assert made[cost_ms <= budget].mean() > 0.97


def test_limits_stand_beside_both_ends():
    problem = replace(PROBLEM, further={"work": WORK})
    constraints = problem.constraints_with(("work",))
    assert constraints.n_bounds == 3
    bounds = np.tile([25.0, 25.0, 22.0], (100, 1))
    tokens = decode(constraints, bounds, UniformPolicy(3), np.random.default_rng(0))
    assert (PROBLEM.cost(tokens) <= 25).all() and (WORK(tokens) <= 22).all()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """An eager GPU of half its networks bound by launches: profiled, calibrated, trained on."""
    folder = tmp_path_factory.mktemp("queued")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PNAG_TEST_LOCKS", str(folder))
        patch.setattr(
            cuda,
            "CudaDevice",
            lambda index, mode, **settings: simulated(**asdict(mode), **settings),
        )
        request = ProfileRequest(
            "cuda", SPACE, folder / "table.json", FAST, n_networks=20,
            batch_size=BATCH_SIZE, device_options={"launch": "eager"},
            complete=calibrated_where_possible,
        )  # fmt: skip
        profile_device(request, SILENT)
    train_run(table_inputs(folder / "table.json"), SMALL, folder / "run")
    return folder


def true_ms(arch):
    workload = network_workload(SPACE, SPACE.parse(arch), batch_size=BATCH_SIZE)
    return max(launch_ms(workload), work_ms(workload))


def test_a_profiled_gpu_is_trained_on_and_generates_by_the_longer_end(run_folder, capsys):
    table = load_table(run_folder / "table.json")
    assert table.calibration is not None and table.calibration.launch is not None
    # the simulated host takes 0.05 ms for every op
    assert table.calibration.launch.kernels_ms["block"] == pytest.approx(0.05, rel=0.05)
    run = load_run(run_folder / "run")
    assert isinstance(run.problem.cost, LongestCost)
    low, high = run.reachable_ms
    for made in run.generate(np.linspace(low, high, 12).tolist()):
        assert made.feasible and made.latency_ms <= made.budget_ms
        assert made.latency_ms == pytest.approx(true_ms(made.arch), rel=0.02)
    (arch,) = {made.arch for made in run.generate([high])}
    options = ["--latency-table", str(run_folder / "table.json"), "--arch", arch, "--json"]
    assert pnag(["predict", *options]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    cost = run.problem.cost(SPACE.parse(arch)[None])[0]
    assert result["latency_ms"] == pytest.approx(cost, rel=1e-12)


def generated(problem, run, budgets_ms, **options):
    return refuse_unmet(generate_each(problem, run.learners, budgets_ms, **options))


def test_generating_holds_a_confidence_and_limits_too(run_folder):
    run = load_run(run_folder / "run")
    low, high = run.reachable_ms
    cost, bounds = run.problem.cost, {"madds": 4e8}
    assert isinstance(cost, BoundedAbove)
    margin = cost.margin(0.9)
    assert 0 < margin.share < cost.relative_interval(0.9) and margin.fixed == 0
    budgets = np.linspace(low + 0.4 * (high - low), high, 5).tolist()
    for made in generated(run.problem, run, budgets, confidence=0.9, bounds=bounds):
        assert margin.added(made.latency_ms) <= made.budget_ms * (1 + 1e-12)
        assert madds_cost(SPACE)(made.tokens[None])[0] <= 4e8
    with pytest.raises(InfeasibleBudgetError, match="madds are reachable"):
        generated(run.problem, run, [high], bounds={"madds": 1.0})


def test_a_generous_budget_is_used_where_work_outgrows_all_launches(run_folder):
    """No end alone bounds a budget: the dearest architecture is that of the longer one."""
    run = load_run(run_folder / "run")
    few_launches = block_cost(1.0, np.full((20, 3, 3), 0.1))  # 2 to 3 ms
    problem = Problem(SPACE, LongestCost((few_launches, WORK), {0.95: 0.03}), SaturatingAccuracy())
    high = problem.reachable_ms[1]
    (made,) = generated(problem, run, [high], n_samples=64)
    assert few_launches(SPACE.encode([SPACE.parse_architecture(made.arch)]))[0] < 3.1
    assert 0.5 * high < made.latency_ms <= high
