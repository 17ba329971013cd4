"""The examples for users' own CI do what they say: every step of them runs as written."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from pnag.cli.app import run
from tests.docs_commands import ROOT, blocks
from tests.profiler.fast import FAST

WORKFLOW = yaml.safe_load((ROOT / "examples/ci/latency.yml").read_text())
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("profiler.measuring.protocol.QUICK", FAST)
    return tmp_path


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "reference.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profiler.measuring.protocol.QUICK", FAST)
        assert run(f"profile --device fake:1 --quick --out {path} --quiet".split()) == 0
    return path


def pnag_lines(job):
    """Commands of ours in the order of their steps; what else a step runs is installation."""
    for step in WORKFLOW["jobs"][job]["steps"]:
        lines = step.get("run", "").splitlines()
        for line in lines:
            if line.startswith("pnag "):
                yield line
            else:
                assert step["name"] == "Install", line


def code_of(line):
    return run(["fake:1" if word == "cpu" else word for word in shlex.split(line)[1:]])


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_every_step_of_the_workflow_passes(job, reference):
    Path("tables").mkdir()
    shutil.copy(reference, "tables/reference.json")
    lines = list(pnag_lines(job))
    assert [code_of(line) for line in lines] == [0, 0, 0]


def test_the_workflow_fails_where_the_latency_is_another(reference):
    Path("tables").mkdir()
    shutil.copy(reference, "tables/reference.json")
    table = json.loads(reference.read_text())
    slow = next(iter(table["ops"].values()))
    slow |= {name: 1.1 * slow[name] for name in slow if isinstance(slow[name], float)}
    slow["ci95_ms"] = [1.1 * end for end in slow["ci95_ms"]]
    Path("tables/now.json").write_text(json.dumps(table))
    checks = [line for line in pnag_lines("latency") if line.startswith("pnag table")]
    assert {line.split()[2]: code_of(line) for line in checks} == {"validate": 0, "diff": 1}


def test_the_workflow_covers_every_python_and_keeps_its_table():
    jobs = WORKFLOW["jobs"]
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert jobs["simulated"]["strategy"]["matrix"]["python"] == supported
    *_, profiled, _, kept = jobs["latency"]["steps"]
    assert kept["if"] == "always()" and profiled["run"].endswith(kept["with"]["path"])
    for step in (step for job in jobs.values() for step in job["steps"]):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))
        assert ("uses" in step) != ("run" in step)


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_takes_sound_tables_and_refuses_others(hook, reference):
    entry = hook["entry"].split()[1:]
    shutil.copy(reference, "a.json")
    shutil.copy(ROOT / "tables/sd821.json", "transferred.json")
    assert run([*entry, "a.json", "b.json"]) == 2  # there is no such file
    shutil.copy(reference, "b.json")
    sound = hook["id"] == "pnag-validate"
    assert run([*entry, "a.json", "b.json"]) == (0 if sound else 1)  # digit for digit a copy
    assert run([*entry, "a.json"]) == 0
    assert run([*entry, "transferred.json"]) == (1 if sound else 0)


def test_hooks_are_those_of_the_page_and_are_given_latency_tables():
    ((_, page),) = blocks(ROOT / "docs/ci.md", {"yaml"})
    (repository,) = yaml.safe_load(page)["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == list(HOOKS)
    for hook in HOOKS.values():
        assert hook["language"] == "python" and hook["types"] == ["json"]
        assert re.search(hook["files"], "tables/cpu.json")
        given = [path.name for path in (ROOT / "tables").glob("*.json")
                 if not re.search(hook["exclude"], f"tables/{path.name}")]  # fmt: skip
        assert sorted(given) == ["note10.json", "sd821.json"]
        assert not re.search(hook["files"], "src/package.json")
