"""What a report holds: every number against an independent reading of the run's files."""

import hashlib
import json
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import cast

import numpy as np
import pytest

from benchmarks.measures import best_within
from pnag.cli.app import run as pnag
from pnag.plots import histogram_plot
from pnag.report.contents import Sources, gather
from pnag.report.figures import budget_labels, draw_figures
from pnag.report.published import PublishedNetwork
from pnag.report.run_page import page_data, render_run
from pnag.report.samples import MAX_BLOCKS, read_traces
from pnag.runs.inputs import tabular_inputs
from pnag.runs.run import train_run
from pnag.search.budget import spread_budgets_ms
from predictors.latency.lookup import cost_from_table, network_cost, table_latency
from predictors.latency.transferred import TransferTarget, described_device, transferred_table
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Launches, TransferSample, load_table
from tests.pnag.landscapes import grid_space, write_tabular
from tests.pnag.profiled import SILENT, SMALL

pytestmark = pytest.mark.slow

SPACE = MobileNetV3Space()
HOSTILE = '</script><script>alert("1")</script><!-- & {{data}} $x$'
SMALLEST = str(SPACE.extremes()[0])


@pytest.fixture(scope="module")
def folder(profiled_folder):
    return profiled_folder


@pytest.fixture(scope="module")
def beside(folder, tmp_path_factory):
    """Measured and published networks beside the run."""
    table = load_table(folder / "latency_table.json")
    low, high = json.loads((folder / "config.json").read_text())["reachable_ms"]
    place = tmp_path_factory.mktemp("files")
    row = {"arch": SMALLEST, "budget_ms": (low + high) / 2, "measured_ms": 1.01 * low}
    row |= {"measured_ci95_ms": [low, 1.02 * low], "verdict": "stable"}
    device = {"platform": "fake", "model": "fake 1", "runtime": "fake", "threads": 1}
    device |= {"batch_size": 1, "precision": "float32"}
    measured = place / "measured.json"
    measured.write_text(json.dumps({"rows": [row], "device": device}))
    networks = place / "networks.csv"
    networks.write_text(
        "name,latency_ms,top1_pct,device\n"
        f"here,20,75.5,{table.device.model}\n"
        '"' + HOSTILE.replace('"', '""') + '",90,76,phone\n'
        "unknown latency,,77,phone\n"
    )
    accuracies = place / "accuracies.csv"
    accuracies.write_text(f'arch,top1\n"{SMALLEST}",0.7\n')
    return Sources([measured], [networks, accuracies])


@pytest.fixture(scope="module")
def contents(folder, beside):
    return gather(folder, beside, SILENT)


@pytest.fixture(scope="module")
def data(contents):
    return page_data(contents)


def test_every_choice_is_within_its_budget_and_budgets_end_where_the_frontier_does(contents):
    made = [choice.made for choice in contents.choices]
    budgets = [one.budget_ms for one in made]
    assert 50 <= len(made) <= 61  # 60 budgets less those beyond, and that of the measured network
    assert budgets == sorted(set(budgets))
    assert budgets[0] == contents.run.reachable_ms[0]
    best = contents.generated.points[-1]
    assert budgets[-1] == pytest.approx(best.latency_ms, rel=1e-11)
    assert best.top1 == max(one.top1 for one in made)
    assert budgets[-1] < contents.run.reachable_ms[1]
    assert all(one.latency_ms <= one.budget_ms and one.feasible for one in made)
    best = best_within(
        np.array([one.latency_ms for one in made]), np.array([one.top1 for one in made]),
        np.array([point.latency_ms for point in contents.generated]),
    )  # fmt: skip
    assert [point.top1 for point in contents.generated] == best.tolist()


def test_the_cost_of_the_ops_adds_up_to_the_prediction(contents, data):
    table = contents.table
    for choice in data["choices"]:
        keys = [data["ops"][index]["key"] for index in choice["ops"]]
        arch = SPACE.parse_architecture(choice["arch"])
        assert keys == [op.key for op in SPACE.ops(arch)]
        parts = sum(data["ops"][index]["added_ms"] for index in choice["ops"])
        assert parts + data["intercept_ms"] == pytest.approx(choice["latency_ms"], rel=1e-4)
        assert choice["madds"] == SPACE.madds(arch)
        assert (choice["n_stem_ops"], choice["room"]) == (2, [4] * 5)
        assert tuple(choice["depths"]) == arch.depths
    by_key = {op["key"]: op["latency_ms"] for op in data["ops"]}
    assert by_key == pytest.approx({k: e.latency_ms for k, e in table.ops.items()}, rel=1e-5)


def test_a_measured_network_stands_at_its_own_budget(contents, data):
    low, high = contents.run.reachable_ms
    (choice,) = [choice for choice in data["choices"] if choice["measured"] is not None][-1:]
    assert choice["arch"] == SMALLEST
    assert choice["budget_ms"] == pytest.approx((low + high) / 2, rel=1e-5)
    assert choice["measured"]["latency_ms"] == pytest.approx(1.01 * low, rel=1e-5)
    checks = contents.checks
    assert [check.fitted for check in checks] == [False] + [True] * 20
    assert checks[0].measured_ms / checks[0].predicted_ms == pytest.approx(1.01, rel=1e-6)


def test_networks_of_the_table_are_predicted_by_what_has_not_seen_them(contents):
    table = contents.table
    for check in [check for check in contents.checks if check.fitted][:3]:
        others = tuple(n for n in table.networks if n.arch != check.arch)
        cost = cost_from_table(table.model_copy(update={"networks": others, "calibration": None}))
        alone_ms = float(cost(contents.run.problem.space.parse(check.arch)[None])[0])
        # not to the bit: the prior of the intercept follows the mean of the networks at hand
        assert check.predicted_ms == pytest.approx(alone_ms, rel=1e-4)
    errors = [abs(c.measured_ms - c.predicted_ms) / c.measured_ms for c in contents.checks[1:]]
    assert 100 * np.mean(errors) == pytest.approx(table.calibration.residual_mape_pct)


def test_plotly_is_as_it_was_published():
    """The basic bundle of plotly.js 4.1.1 (npm: plotly.js-basic-dist-min), with its licence."""
    folder = files("pnag.report").joinpath("plotly")
    digest = hashlib.sha256(folder.joinpath("plotly-basic.min.js").read_bytes()).hexdigest()
    assert digest == "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert folder.joinpath("LICENSE").read_text().startswith("MIT License")


def test_baselines_have_as_many_evaluations_and_are_beaten_nowhere_by_themselves(contents):
    assert set(contents.baselines) == {"random search", "evolution"}
    problem = contents.run.problem
    archive = problem.space.sample(SMALL.n_evaluations, np.random.default_rng(0))
    costs, top1 = problem.cost(archive), problem.accuracy.top1(archive)
    frontier = contents.baselines["random search"]
    latencies = np.array([point.latency_ms for point in frontier])
    assert [p.top1 for p in frontier] == pytest.approx(best_within(costs, top1, latencies))
    sampled = {round(value, 9) for value in contents.sampled[0]}
    assert sampled == {round(v, 9) for v in contents.run.learners[0].archive.cost_ms}


def test_latencies_of_other_devices_are_kept_apart(contents):
    smallest_ms = contents.run.reachable_ms[0]
    assert contents.published == (
        PublishedNetwork("here", 20.0, 0.755, "fake 1"),
        PublishedNetwork(SMALLEST, cast(float, pytest.approx(smallest_ms)), 0.7, "predicted here"),
    )
    assert contents.elsewhere == {"phone": (PublishedNetwork(HOSTILE, 90.0, 0.76, "phone"),)}


def test_without_a_device_a_file_of_latencies_is_of_another_one(folder, tmp_path):
    path = tmp_path / "sd821.csv"
    path.write_text("architecture,latency_ms,top1_pct,top5_pct\nPNAG-80,79.9,78.3,94.0\n")
    contents = gather(folder, Sources(published=[path]), SILENT, n_budgets=3)
    assert contents.published == ()
    assert [network.name for network in contents.elsewhere["sd821"]] == ["PNAG-80"]


def test_latencies_that_were_transferred_never_pass_for_measured(contents):
    table = contents.table
    samples = [
        TransferSample(arch=network.arch, latency_ms=network.latency_ms, source="lab")
        for network in table.networks
    ]
    made = transferred_table([table], samples, TransferTarget(described_device("Phone", table)))
    assert made.transfer is not None
    data = page_data(replace(contents, table=made))
    facts = dict(data["facts"])
    assert facts["Latencies"] == f"transferred, not measured: {made.transfer.mape_pct:.2g} % off"
    rows = [row for title, group in data["provenance"] if title == "Latency table" for row in group]
    assert "measured" not in dict(rows)
    (first, *_) = [text for name, text in rows if name == "transfer"]
    assert first.startswith(f"not measured: transferred from {table.device.model}")
    assert "Latencies" not in dict(page_data(contents)["facts"])


def test_traces_are_the_samples_of_the_journal(contents):
    table = contents.table
    database = sqlite3.connect(contents.run.folder.parent / "table.journal.sqlite")
    assert contents.traces.keys() == table.ops.keys() | {n.arch for n in table.networks}
    repeated = [name for name, traces in contents.traces.items() if len(traces) == 2]
    assert len(repeated) == table.noise_floor.n_repeats
    name = next(key for key in table.ops if key not in repeated)
    rows = database.execute("SELECT samples_ms FROM block WHERE name = ? ORDER BY id", (name,))
    expected = [sample for (text,) in rows for sample in json.loads(text)]
    (trace,) = contents.traces[name]
    assert [sample for block in trace.blocks for sample in block.samples_ms] == expected
    times = [block.time_s for block in trace.blocks]
    assert times == sorted(times)


def test_what_is_embedded_is_bounded(contents, monkeypatch):
    monkeypatch.setattr("pnag.report.samples.MAX_BLOCKS", 4)
    path = contents.run.folder.parent / "table.journal.sqlite"
    for traces in read_traces(path, contents.table.device).values():
        for trace in traces:
            assert len(trace.blocks) == 4 < trace.n_blocks <= MAX_BLOCKS


class _Page(HTMLParser):
    """Scripts with their text, and every address that the page refers to."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.addresses, self.ids = [], [], []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data


def test_the_page_is_one_file_and_its_data_stays_data(contents, data):
    text = render_run(contents)
    page = _Page(text)
    assert page.addresses == ["data:,", "#main"]
    assert len(page.ids) == len(set(page.ids))
    plotly, embedded, script = page.scripts
    assert plotly.lstrip().startswith("/**\n* plotly.js (basic - minified)")
    document = json.loads(embedded)
    assert document["elsewhere"]["phone"][0]["name"] == HOSTILE
    assert document["choices"] == json.loads(json.dumps(data["choices"]))
    assert script.lstrip().startswith('"use strict"') and "{{" not in script
    assert len(text.encode()) < 2e6


def test_what_a_network_waits_for_launches_is_part_of_its_cost(contents):
    table = contents.table
    launch = Launches(
        fixed_ms=contents.run.reachable_ms[1],
        kernels_ms={"block": 1.0, "excitation": 0.5, "hard_swish": 0.1},
    )
    calibration = contents.calibration.model_copy(update={"launch": launch})
    slow = replace(contents, table=table.model_copy(update={"calibration": calibration}))
    data = page_data(slow)
    for choice in data["choices"]:
        parts = sum(data["ops"][index]["added_ms"] for index in choice["ops"])
        queued_ms = network_cost(table_latency(table), calibration)(
            SPACE.ops(SPACE.parse_architecture(choice["arch"]))
        )
        assert parts + data["intercept_ms"] < queued_ms
        found_ms = parts + data["intercept_ms"] + choice["waiting_ms"]
        assert found_ms == pytest.approx(queued_ms, rel=1e-4)


def test_nothing_waits_where_the_calibration_has_no_launches(data):
    assert {choice["waiting_ms"] for choice in data["choices"]} == {0}


@pytest.mark.parametrize("range_ms", [(10.0, 50.0), (10.0, 10.03), (1.0, 1.0)])
def test_every_budget_has_a_name_of_its_own(range_ms):
    budgets_ms = spread_budgets_ms(*range_ms)
    labels = budget_labels(budgets_ms)
    assert len(set(labels)) == len(set(budgets_ms))
    assert all(label.startswith("≤ ") and label.endswith(" ms") for label in labels)
    assert budget_labels([10.0, 20.0]) == ["≤ 10 ms", "≤ 20 ms"]


def test_every_figure_is_drawn_as_svg_and_png(contents, tmp_path):
    written = draw_figures(contents, tmp_path)
    names = ["frontier", "budgets", "errors", "noise", "published-1"]
    assert written == [tmp_path / f"{n}.{suffix}" for n in names for suffix in ("svg", "png")]
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
        else:
            assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    texts = (tmp_path / "frontier.svg").read_text()
    for name in ("generated", "random search", "evolution", "measured", "published"):
        assert f"<!-- {name} -->" in texts


def test_the_same_data_gives_the_same_file(tmp_path):
    paths = [tmp_path / f"{name}.svg" for name in "ab"]
    for path in paths:
        histogram_plot([path], {"squares": np.arange(3.0) ** 2}, [2.0])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_tabular_run_has_choices_and_no_table(tmp_path, capsys):
    space = grid_space(n_positions=3, n_choices=3)
    bench = write_tabular(tmp_path / "bench.csv", space)
    folder, page = tmp_path / "run", tmp_path / "report.html"
    settings = replace(SMALL, n_evaluations=200, n_budgets=3)  # more than the 27 rows
    run = train_run(tabular_inputs(bench), settings, folder)
    assert pnag(["report", "--run", str(folder), "--out", str(page), "--quiet"]) == 0
    document = json.loads(_Page(page.read_text()).scripts[1])
    assert document["title"] == "bench.csv"
    assert (document["ops"], document["checks"], document["traces"]) == ([], [], {})
    n_evaluated = len(run.learners[0].archive)
    assert n_evaluated <= 27
    assert f"evaluated {n_evaluated} architectures each" in document["frontier_note"]
    for choice in document["choices"]:
        assert choice["arch"] == ",".join(choice["values"])
        assert choice["latency_ms"] <= choice["budget_ms"]
    with pytest.raises(InvalidInputError, match="no latency table"):
        gather(folder, Sources(measured=[page]), SILENT)
    capsys.readouterr()


def test_where_no_budget_orders_the_architectures_no_tau_is_reported(tmp_path):
    (tmp_path / "two.csv").write_text("a,top1,latency_ms\n1,0,1\n2,0,2\n")
    folder, page = tmp_path / "run", tmp_path / "report.html"
    settings = replace(SMALL, n_evaluations=20, n_budgets=1, reward="mnasnet")
    train_run(tabular_inputs(tmp_path / "two.csv"), settings, folder)
    assert pnag(["report", "--run", str(folder), "--out", str(page), "--quiet"]) == 0
    facts = json.loads(_Page(page.read_text()).scripts[1])["facts"]
    assert [name for name, _ in facts] == ["Reachable latency"]


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--measured", '{"rows": []}', "holds nothing measured"),
        ("--measured", '{"results": [{"arch": "x"}]}', "holds nothing measured"),
        ("--measured", "{", "is not JSON (truncated?)"),
        ("--measured", "{}", "no output of pnag generate --verify-on"),
        ("--measured", "[1]", "no output of pnag generate --verify-on"),
        (
            "--measured",
            '{"rows": [{"arch": "x", "measured_ms": 1}], "device": {"platform": "cpu"}}',
            "measured with platform cpu, the run's table with fake",
        ),
        ("--published", "latency_ms,top1_pct\n1,70\n", "needs the columns name"),
        ("--published", "name,latency_ms,top1_pct,top1\na,1,70,0.7\n", "needs the columns name"),
        ("--published", "name,latency_ms,top1\na,1,70\n", "line 2: top1 70 is outside its range"),
        (
            "--published",
            "name,latency_ms,top1\na,-1,0.7\n",
            "line 2: latency_ms -1 must be positive",
        ),
        ("--published", "name,latency_ms,top1\na,fast,0.7\n", "'fast' is not a number"),
        ("--journal", "not a database, certainly not one of ours", "is not a journal"),
    ],
)
def test_a_wrong_file_is_one_line_and_writes_nothing(
    folder, option, text, message, tmp_path, capsys
):
    path, page = tmp_path / "file.csv", tmp_path / "report.html"
    path.write_text(text)
    arguments = ["report", "--run", str(folder), "--out", str(page), option, str(path)]
    assert pnag(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pnag: ") and message in error
    assert not page.exists()


def test_a_journal_of_another_device_is_refused(folder, tmp_path, capsys):
    from profiler.devices.simulated.fake import FakeDevice
    from profiler.measuring.journal import Journal

    path = tmp_path / "other.journal.sqlite"
    with Journal(path) as journal:
        journal.begin_sweep(replace(FakeDevice().info, boot_id="another boot"), {}, "2026-01-01")
    page = str(tmp_path / "report.html")
    assert pnag(["report", "--run", str(folder), "--out", page, "--journal", str(path)]) == 2
    assert "is not the journal of the run's table" in capsys.readouterr().err


def test_the_page_lies_in_its_run_unless_told_otherwise(folder, capsys):
    assert pnag(["report", "--run", str(folder), "--json"]) == 0
    page = folder / "report.html"
    assert json.loads(capsys.readouterr().out)["files"] == [str(page)]
    assert "<title>" in page.read_text()
    page.unlink()
