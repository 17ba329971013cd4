"""Every command in the documentation: run where a CPU is enough, else parsed; every example run."""

import argparse
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import nbclient
import nbformat
import pytest
from starlette.testclient import TestClient

from pnag.cli.app import run
from pnag.learning.settings import TrainSettings
from pnag.runs.run import load_run
from pnag.serve.app import create_app
from predictors.latency.networks import LatencyPredictor
from profiler.devices.registry import backends, open_device
from profiler.extras import EXTRAS
from profiler.spaces.export import export_network, random_network
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table
from profiler.testing import DeviceConformance
from tests.docs_commands import (
    PAGES,
    ROOT,
    all_commands,
    blocks,
    expanded,
    option_names,
    parsed,
    pnag_commands,
    resolve,
    shell_lines,
)
from tests.pnag.profiled import SMALL
from tests.pnag.supernet.supernet_data import write_jpeg_npz
from tests.profiler.fast import BRIEF, FAST

pytestmark = pytest.mark.slow

# --- What stands in for the reader's device, files and patience; all else is run as written ---

DEVICES = {"cpu": "fake:1", "tflite": "fake:2"}
# the fake device needs 9.5 to 36.3 ms where the documentation's CPU needs 3.2 to 13.7
BUDGETS = {"5ms": "14ms", "8ms": "20ms", "9ms": "22ms", "12ms": "30ms", "0.011s": "0.03s"}
ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
PLACEHOLDERS = {
    "BEFORE": "runs/cpu",
    "T": "tables/mine.json", "TABLE": "tables/again.json", "A": "tables/cpu.json",
    "B": "tables/cpu.json", "R": "runs/cpu", "ARCH": ARCH, "DIR": "exported", "FILE": "table.yaml",
}  # fmt: skip
PHRASES = {
    "--arch A": f"--arch {ARCH}",
    "FILE --out T": "FILE --out tables/imported.json",
    "proxyless-yaml FILE": "proxyless-yaml proxyless.yaml",
    "runs/NAME": "runs/cpu",
    "nets/mbv3-8ms.onnx": "nets/mbv3-20ms.onnx",
}
FEWER = {
    "profile": "--networks 20",
    "train": "--evaluations 300 --budgets 3",
    "demo": "--device fake:1",
    "supernet train": "--epochs 1 --batch-size 4 --random-subnets 0 --validate-epochs 0",
    "supernet evaluate": "--count 2 --recalibration-images 4 --test-images 4",
}
# Only parsed here.
HARDWARE = ("adb", "cuda", "torch")  # devices that this machine may lack
ELSEWHERE = {
    "serve": "runs until interrupted: tests/pnag/test_serve.py",
    "ofa_mbv3_d234_e346_k357_w1.2": "a download: tests/pnag/supernet/test_elastic.py",
    "ofa_proxyless_d234_e346_k357_w1.3": "a download: tests/profiler/spaces/test_ofa_families.py",
    "ofa_resnet50_d0-1-2_e0.2-0.25-0.35": "a download: tests/pnag/supernet/test_published.py",
    "cifar10_jpeg_30k.npz": "hours",
    "mbv3-cifar.checks.json": "minutes: tests/test_tables.py",
    "compared.json": "of model files: tests/pnag/report/test_model_page.py",
    "kernels.json": "minutes: tests/profiler/measuring/test_kernels.py",
}
# Pages that make all that they use; others find tables/cpu.json and runs/cpu.
FROM_NOTHING = {"README.md", "tutorial.md"}
REPEATS = {"index.md": "README.md"}  # its commands are all in the other page


@pytest.fixture(scope="module", autouse=True)
def small():
    """Fewer samples and training steps: the numbers are not what is tested here."""
    patch = pytest.MonkeyPatch()
    patch.setattr("profiler.measuring.protocol.FULL", FAST)
    patch.setattr("profiler.measuring.protocol.QUICK", BRIEF)
    defaults = {**SMALL.to_json(), "n_evaluations": 300, "n_budgets": 3}
    names = TrainSettings.__dataclass_fields__
    patch.setattr(TrainSettings.__init__, "__defaults__", tuple(defaults[name] for name in names))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What a reader has who went through the tutorial, and files that the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (
            "profile --device fake:1 --networks 20 --out tables/cpu.json --quiet",
            "train --latency-table tables/cpu.json --out runs/cpu --quiet",
            "table export tables/cpu.json --format ofa-yaml --out table.yaml",
        ):
            assert run(line.split()) == 0
        space = MobileNetV3Space()
        (tokens,) = space.encode([space.extremes()[0]])
        network = random_network(space, tokens, seed=0)
        onnx, tflite = export_network(
            network, tokens, space, ("onnx", "tflite"), folder, stem="net"
        )
        for name in ("a.onnx", "b.onnx"):
            shutil.copy(onnx, name)
        shutil.copy(tflite, "a.tflite")
        shutil.copy(onnx, "some_network.onnx")
        shutil.copy("tables/cpu.json", "tables/mine.json")
        shutil.copy("tables/cpu.json", "tables/phone.json")
        shutil.copy(ROOT / "tables/sd821.json", "tables/sd821.json")
        Path("proxyless.yaml").write_text(
            "Conv-input:224x224x3-output:112x112x32: {count: 9, mean: 4.1, var: 0.2}\n"
        )
        rows = [f"{a},{b},{50 + 3 * a + b},{1 + a + b / 2}" for a in range(5) for b in range(5)]
        Path("bench.csv").write_text("\n".join(["width,depth,top1_pct,latency_ms", *rows]) + "\n")
        measured = load_table(Path("tables/mine.json")).networks[:6]
        rows = [f'"{network.arch}",{1.5 * network.latency_ms}' for network in measured]
        Path("mine.csv").write_text("\n".join(["arch,latency_ms", *rows]) + "\n")
        write_jpeg_npz(Path("cifar10.npz"), n_train=12, n_test=4)
    return folder


def stand_ins(text):
    """A command of the documentation with the substitutions above."""
    for written, used in PHRASES.items():
        text = re.sub(rf"{re.escape(written)}(?!\S)", used, text)
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text)]
    if words[0] == "profile" and "--model" in words:
        return [*words, "--quick", "--quiet"]  # no simulated device runs a file
    for at, word in enumerate(words[:-1]):
        if word in ("--device", "--verify-on", "--refine-on"):
            words[at + 1] = DEVICES.get(words[at + 1], words[at + 1])
        if word == "--budget":
            parts = [part.rpartition("=") for part in words[at + 1].split(",")]
            words[at + 1] = ",".join(a + is_ + BUDGETS.get(b, b) for a, is_, b in parts)
    for name, options in FEWER.items():
        if words[: len(name.split())] == name.split():
            words += options.split()
    return words


def only_parsed(arguments):
    device = arguments[arguments.index("--device") + 1] if "--device" in arguments else ""
    line = " ".join(arguments)
    return device.partition(":")[0] in HARDWARE or any(word in line for word in ELSEWHERE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page):
    for command in pnag_commands(page):
        for arguments in expanded(command):
            resolved, own = resolve(arguments)
            if command in written_out(page):
                parsed(resolved, command.text, list(own))
        unknown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", command.text)) - option_names(resolved)
        assert unknown - {"--no-python", "--nproc-per-node"} == set(), command


def written_out(page):
    """Complete command lines of a page's blocks."""
    return [c for c in pnag_commands(page) if not c.inline and "..." not in c.text]


# its commands take a minute each; README has one of them, tests/profiler/cli the others
MEASURES = {"own_model.md"}
RUN_PAGES = [page for page in PAGES if page.name not in {*REPEATS, *MEASURES} and written_out(page)]


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_commands_run_as_written(page, workspace, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "reader"
    shutil.copytree(workspace, folder)
    monkeypatch.chdir(folder)
    if page.name in FROM_NOTHING:
        shutil.rmtree("tables")
        shutil.rmtree("runs")
        there = {package for extra in installed_extras(page) for package in EXTRAS[extra]}
        monkeypatch.setattr(
            "profiler.extras.find_spec", lambda name: find_spec(name) if name in there else None
        )
    for title, script in blocks(page, {"python"}):
        if title:
            Path(title).write_text(script)
    for command in written_out(page):
        for written in expanded(command):
            if only_parsed(written):
                continue
            arguments = stand_ins(shlex.join(written))
            if "tabular:digits.csv" in arguments:
                subprocess.run([sys.executable, "digits.py"], check=True)
            if "digit_accuracies.csv" in arguments:
                exec(one_step(Path("digit_accuracies.py").read_text()), {})  # noqa: S102
            code = run(arguments)
            expected = 3 if "1ms" in arguments else 0  # a budget that nothing can meet
            assert code == expected, (arguments, capsys.readouterr().err)


def installed_extras(page):
    """Those that the page installs."""
    named = re.findall(r"pip install .*'\.\[([\w,-]+)\]'", page.read_text(encoding="utf-8"))
    return {extra for names in named for extra in names.split(",")}


def one_step(script):
    """The page's networks trained by one step each."""
    assert "EPOCHS, BATCH = 8, 64" in script
    return script.replace("EPOCHS, BATCH = 8, 64", "EPOCHS, BATCH = 1, 2000")


@pytest.mark.parametrize(("page", "other"), REPEATS.items())
def test_repeated_commands_are_the_same(page, other):
    pages = {page.name: page for page in PAGES}
    texts = {command.text for command in written_out(pages[other])}
    assert {command.text for command in written_out(pages[page])} <= texts


def benchmark_file(name):
    path = ROOT.joinpath("benchmarks", *name.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def benchmark_source(name):
    """A benchmark and those that it imports: options may be declared in either."""
    source = benchmark_file(name).read_text()
    imported = re.findall(r"from benchmarks\.([\w.]+) import", source)
    return source + "".join(benchmark_file(other).read_text() for other in imported)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_commands_name_what_exists(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in shell_lines(page):
        for extras in re.findall(r"(?:pnag|\.)\[([\w,-]+)\]", line):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), line
        benchmark = re.search(r"python (?:-m benchmarks\.([\w.]+)|benchmarks/(\w+)\.py)(.*)", line)
        if benchmark:
            source = benchmark_source(benchmark[1] or benchmark[2])
            for option in re.findall(r"--[a-z][\w-]*", benchmark[3]):
                assert f'"{option}"' in source, line


def texts():
    """Whatever may name a file of ours."""
    folders = ("profiler", "predictors", "pnag", "benchmarks", "tests", "examples")
    return [*PAGES, *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


def test_files_of_ours_that_are_named_exist():
    named = re.compile(
        r"\b(?:profiler|predictors|pnag|benchmarks|tests|examples)/[\w/]+\.(?:py|ipynb|yml)\b"
    )
    for path in texts():
        for name in named.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"


CURL = argparse.ArgumentParser()
CURL.add_argument("-X", dest="method", default="GET")
CURL.add_argument("-I", dest="method", action="store_const", const="HEAD")
CURL.add_argument("-H", dest="header", default="")
CURL.add_argument("-d", dest="body")
CURL.add_argument("url")


def test_the_service_answers_the_page(workspace):
    """Each curl line in its order, as curl would send it, and every path of the table."""
    lines = [line for line in shell_lines(ROOT / "docs/files.md") if line.startswith("curl ")]
    answers = {}
    with TestClient(create_app(load_run(workspace / "runs/cpu"))) as client:
        for line in lines:
            asked = CURL.parse_args(shlex.split(line)[1:])
            body = asked.body and asked.body.replace("[8, 12]", "[20, 30]")
            name, _, value = asked.header.partition(": ")
            path = asked.url.removeprefix("http://127.0.0.1:8000")
            answers[path] = client.request(
                asked.method, path, content=body, headers={name: value} if name else {}
            )
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        ("/generate", "/health", "/metrics", "/"), 200
    )
    rows = answers["/generate"].json()["results"]
    assert [(row["budget_ms"], row["feasible"]) for row in rows] == [(20, True), (30, True)]
    low_ms, high_ms = answers["/health"].json()["reachable_ms"]
    assert all(low_ms <= row["latency_ms"] <= high_ms for row in rows)
    counted = 'pnag_requests_total{path="/generate",status="200"} 1'
    assert counted in answers["/metrics"].text.splitlines()
    assert answers["/"].headers["content-type"].startswith("text/html")


def test_a_python_space_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ((_, script),) = [
        b for b in blocks(ROOT / "docs/own_space.md", {"python"}) if b[0] == "perceptrons.py"
    ]
    Path("perceptrons.py").write_text(script)
    runpy.run_path("perceptrons.py")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        budget_ms, widths, latency_ms = re.findall(r"(\S+) ms: (\S+), (\S+) ms", line)[0]
        layers = [64, *map(int, widths.split("-")), 10]
        madds = sum(a * b for a, b in pairwise(layers))
        assert float(latency_ms) == pytest.approx(madds / 2e6, abs=1e-4)
        assert madds / 2e6 <= float(budget_ms)


def test_a_python_space_passes_its_conformance_suites(tmp_path):
    for title, script in blocks(ROOT / "docs/own_space.md", {"python"}):
        (tmp_path / title).write_text(script)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_perceptrons.py"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # none of ours is needed
    )  # fmt: skip
    assert re.search(r"^\d+ passed", done.stdout, re.M), done.stdout


@pytest.fixture(scope="class")
def torch_device(tmp_path_factory):
    """The page's device, in a package of its own that names it by an entry point."""
    folder = tmp_path_factory.mktemp("package")
    page = ROOT / "docs/own_device.md"
    for title, script in blocks(page, {"python"}):
        (folder / title).write_text(script)
    ((_, toml),) = blocks(page, {"toml"})
    points = tomllib.loads(toml)["project"]["entry-points"]
    lines = [f"[{group}]\n{name} = {target}"
             for group, named in points.items() for name, target in named.items()]  # fmt: skip
    metadata = folder / "torch_device-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torch-device\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        backends.cache_clear()
        with open_device("torch") as device:
            yield device
    backends.cache_clear()


class TestDeviceOfThePage(DeviceConformance):
    @pytest.fixture(autouse=True)
    def of_the_page(self, torch_device):
        self._device = torch_device

    def open(self):
        assert type(self._device).__module__ == "torch_device"
        return nullcontext(self._device)


def test_the_python_page_runs_as_written(workspace, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "reader"
    shutil.copytree(workspace, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))  # other tests measure beside this one
    names: dict[str, Any] = {}
    for _, script in blocks(ROOT / "docs/api.md", {"python"}):
        exec(script, names)  # noqa: S102 - the page's own lines, which share their names
    made, predictor = names["made"], LatencyPredictor(names["table"])
    arch = names["space"].parse_architecture(made.arch)
    promised_ms = predictor.predict(names["space"].ops(arch)).latency_ms
    assert made.latency_ms == pytest.approx(promised_ms, rel=1e-12)
    assert made.latency_ms <= names["budget_ms"]
    assert names["entry"].latency_ms == pytest.approx(promised_ms, rel=0.02)
    low_ms, high_ms = names["latency_ms"].min(), names["latency_ms"].max()
    assert names["low_ms"] < low_ms < high_ms < names["high_ms"]
    assert names["model"].latency_ms > 0
    assert sum(op.share for op in names["model"].ops) == pytest.approx(1)
    assert capsys.readouterr().out.count("\n") == 7


def test_pymoo_finds_a_frontier_with_the_measured_cost(workspace, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pymoo_search.py", str(workspace / "tables/cpu.json")])
    runpy.run_path(str(ROOT / "examples/pymoo_search.py"))
    rows = re.findall(r"^(\S+) ms  (\S+)%", capsys.readouterr().out, re.MULTILINE)
    points = [(float(cost_ms), float(top1)) for cost_ms, top1 in rows]
    assert points == sorted(points) and len(points) > 20
    cost = load_run(workspace / "runs/cpu").reachable_ms
    assert cost[0] <= points[0][0] and points[-1][0] <= cost[1]


def test_the_notebook_goes_from_a_device_to_a_network(tmp_path):
    notebook = nbformat.read(ROOT / "examples/device_to_network.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('DEVICE = "cpu"', 'DEVICE = "fake:1"').replace(
            "TrainSettings()", "TrainSettings(**SMALL)"
        )
    names = ("n_evaluations", "n_budgets", "rounds", "evaluator_steps", "generator_steps")
    small = {name: SMALL.to_json()[name] for name in names}
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"SMALL = {small}"))
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs if output.get("name") == "stdout"
    )  # fmt: skip
    ((promised, exported),) = re.findall(r"predicted (\S+) ms, the exported file (\S+) ms", printed)
    assert float(exported) == pytest.approx(float(promised), abs=2e-3)
    measured = float(re.findall(r"measured (\S+) ms", printed)[0])
    assert measured == pytest.approx(float(promised), rel=0.02)
    assert (tmp_path / "device_to_network/network.tflite").stat().st_size > 1e6


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("latency-table-1", "tables/cpu.json"),
        ("run-1", "runs/cpu/config.json"),
        ("frontier-1", "runs/cpu/frontier.json"),
    ],
)
def test_files_conform_to_their_schemas(schema, file, workspace):
    validate(schema, json.loads((workspace / file).read_text()))


def test_the_shipped_accuracies_conform_to_their_schema():
    path = ROOT / "tables/mbv3-cifar.accuracy.json"
    validate("accuracy-table-1", json.loads(path.read_text()))


def test_results_conform_to_their_schema(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    line = "generate --run runs/cpu --budget 20 --verify-on fake:1 --export onnx --out nets"
    assert run([*line.split(), "--json", "--quiet"]) == 0
    validate("generate-1", json.loads(capsys.readouterr().out))


def validate(schema, document):
    definition = json.loads((ROOT / f"docs/schemas/{schema}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(definition)
    jsonschema.Draft202012Validator(definition).validate(document)


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(*named, id=named[0]) for named in all_commands()]
)
def test_help_ends_with_an_example_that_parses(name, command):
    help_text = command.get_help(parsed(command, name, [], resilient=True))
    example = help_text[help_text.rindex("Example:\n") :].splitlines()[1].strip()
    resolved, own = resolve(shlex.split(example)[1:])
    assert resolved is command
    parsed(command, name, own)


def test_completion_is_offered():
    program = "from pnag.cli.app import main; main()"
    command = shlex.join([sys.executable, "-c", program, "--show-completion"])
    done = subprocess.run(  # the shell is the one that asks, and it stays while it is answered
        ["/bin/bash", "-c", f"{command}; exit $?"], check=True, capture_output=True, text=True
    )
    assert "_pnag_completion" in done.stdout or "complete" in done.stdout
