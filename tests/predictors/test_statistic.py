"""c(α) of another statistic than the latency: chosen once, then like any other, and never mixed."""

import json
import re

import numpy as np
import pytest

from pnag.cli.app import run
from pnag.runs.inputs import LATENCY_FILE, inputs_of_run, table_inputs
from pnag.verify import table_to_verify
from predictors.latency.lookup import calibrated, cost_from_table
from predictors.latency.networks import LatencyPredictor
from predictors.latency.transferred import TransferTarget, transferred_table
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.checks import compare_tables
from profiler.tables.levels import Level, Statistic
from profiler.tables.statistic import by_statistic
from profiler.tables.table import LatencyTable, Verdict, load_table
from tests.predictors.synthetic import make_table

SPACE = MobileNetV3Space()
TOKENS = SPACE.sample(5, np.random.default_rng(3))
TAIL = 1.3  # p90 over the latency


def with_tails(table: LatencyTable) -> LatencyTable:
    def added(entry):
        ms = TAIL * entry.latency_ms
        level = Level(ms, (0.98 * ms, 1.02 * ms))
        return entry.model_copy(update={"levels": {Statistic.P90: level}})

    ops = {key: added(entry) for key, entry in table.ops.items()}
    networks = tuple(added(network) for network in table.networks)
    return table.model_copy(update={"ops": ops, "networks": networks})


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tails") / "table.json"
    calibrated(with_tails(make_table(n_networks=30, noise=0.01))).save(path)
    return path


@pytest.fixture(scope="module")
def table(table_file):
    return load_table(table_file)


def test_the_cost_is_fitted_to_the_statistic_of_ops_and_networks(table, table_file):
    read = by_statistic(table, Statistic.P90, table_file)
    assert (read.calibration, read.noise_floor) == (None, None)
    latency, tail = cost_from_table(table), cost_from_table(read)
    assert tail(TOKENS) == pytest.approx(TAIL * latency(TOKENS), rel=2e-3)
    assert tail.relative_interval(0.95) == pytest.approx(latency.relative_interval(0.95), rel=0.1)


def test_predict_says_which(table, table_file, capsys):
    archs = [option for row in TOKENS for option in ("--arch", SPACE.format(row))]
    line = ["predict", "--latency-table", str(table_file), *archs, "--json", "--statistic", "p90"]
    assert run(line) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["statistic"] == "p90"
    found = [one["latency_ms"] for one in document["results"]]
    assert found == pytest.approx(TAIL * cost_from_table(table)(TOKENS), rel=2e-3)


@pytest.mark.parametrize(
    ("statistic", "said"),
    [
        ("sustained", "has no sustained, e.g. of .*--protocol sustained"),
        ("p95", "unknown statistic 'p95'; known: latency, p50, p90"),
    ],
)
def test_what_a_table_does_not_hold_is_refused(table_file, statistic, said, capsys):
    line = ["predict", "--latency-table", str(table_file), "--arch", SPACE.format(TOKENS[0])]
    assert run([*line, "--statistic", statistic]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert re.search(said, message)


def test_a_run_holds_the_table_as_it_was_read(table, table_file, tmp_path):
    inputs = table_inputs(table_file, statistic="p90")
    cost_ms = inputs.problem.cost(TOKENS)
    assert cost_ms == pytest.approx(TAIL * cost_from_table(table)(TOKENS), rel=2e-3)
    inputs.save(tmp_path)
    kept = load_table(tmp_path / LATENCY_FILE)
    assert kept.statistic is Statistic.P90
    names = [file.name for file in inputs.files]
    assert inputs_of_run(tmp_path, names).problem.cost(TOKENS) == pytest.approx(cost_ms)
    with pytest.raises(InvalidInputError, match="p90; --verify-on and --refine-on measure"):
        table_to_verify(tmp_path, None)


def test_without_it_the_file_is_kept_to_the_byte(table_file):
    for statistic in (None, "latency"):
        (latency_file, _) = table_inputs(table_file, statistic=statistic).files
        assert latency_file.data == table_file.read_bytes()


def test_tables_of_two_statistics_are_never_mixed(table, table_file):
    read = by_statistic(table, Statistic.P90, table_file)
    target = TransferTarget(table.device, SPACE)
    for mixing in (
        lambda: LatencyPredictor(table, read),
        lambda: transferred_table([table, read], [], target),
        lambda: compare_tables(table, read),
    ):
        with pytest.raises(InvalidInputError, match="one table is of latency, another of p90"):
            mixing()


def test_throttling_is_what_a_sustained_load_is_asked_for(table, table_file):
    (key, entry), *_ = table.ops.items()
    hot = entry.model_copy(update={"verdict": Verdict.THROTTLED})
    read = by_statistic(
        table.model_copy(update={"ops": {**table.ops, key: hot}}), Statistic.P90, table_file
    )
    assert read.ops[key].verdict is Verdict.NOISY
