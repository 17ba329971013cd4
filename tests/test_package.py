"""The distribution: sdist and wheel hold everything, and work away from the sources.

The wheel is built from the sdist and installed without its dependencies, which are those of
the environment that runs the tests.
"""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from profiler.extras import EXTRAS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("profiler", "predictors", "pnag")


def sources():
    """Every file of the three packages that is under version control."""
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = set(listed.stdout.split()) - {"pnag/docs"}  # a link to the pages
    return found | {f"pnag/docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def installed(distribution, tmp_path_factory):
    """The wheel in a folder of its own; calls run `python` there, far from the sources."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = distribution.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", folder, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere, env=os.environ | {"PYTHONPATH": str(folder)},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    bound: Any = call
    bound.folder = folder
    return bound


def test_sdist_and_wheel_hold_every_source(distribution):
    (wheel,), (sdist,) = distribution.glob("*.whl"), distribution.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert sources() - in_wheel == set()
    assert sources() | {"LICENSE", "README.md", "pyproject.toml"} <= in_sdist
    assert {f"{package}/py.typed" for package in PACKAGES} <= in_wheel
    assert {name.split("/")[0] for name in in_wheel if "dist-info" not in name} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_come_from_the_wheel(installed, package):
    where = installed("-c", f"import {package}; print({package}.__path__[0])")
    assert Path(where.strip()) == installed.folder / package


# Command lines in a Python that has what pnag itself installs, and none of its extras.
CORE = """
import shlex
import sys

class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, *where):
        absent = name.partition(".")[0] in {absent}
        return None if absent else self._finder.find_spec(name, *where)

sys.meta_path[:] = map(Without, sys.meta_path)
if __name__ == "__main__":
    from pnag.cli.app import run
    sys.exit(next(filter(None, map(run, map(shlex.split, sys.argv[1:]))), 0))
"""


@pytest.fixture(scope="module")
def core(installed):
    """Documents of `pnag` commands without the extras, by a script that its processes run too."""
    absent = {package for packages in EXTRAS.values() for package in packages} | {"sympy", "plotly"}
    script = installed.folder / "core.py"
    script.write_text(CORE.replace("{absent}", repr(absent)))
    return lambda *lines: map(json.loads, installed(script, *lines).splitlines())


def test_extras_install_what_their_commands_ask_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]

    def packages(text):
        requirement = Requirement(text)
        inner = [each for extra in requirement.extras for each in optional[extra]]
        return set().union(*map(packages, inner)) if inner else {requirement.name}

    always = set().union(*map(packages, project["dependencies"]))
    for extra, asked in EXTRAS.items():
        installs = set().union(*map(packages, optional[extra]))
        assert set(asked) <= {{"pillow": "PIL"}.get(name, name) for name in installs}, extra
        assert not set(asked) & always


def test_measuring_and_predicting_need_no_extra(installed, core):
    command = str(installed.folder / "bin/pnag")
    assert installed(command, "--version") == "pnag 0.1.0\n"
    page = (ROOT / "docs/android.md").read_text()
    assert installed(command, "help", "android") == page.rstrip() + "\n"
    arch = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
    exported = installed(command, "space", "export", "--arch", arch, "--out", "nets", "--json")
    (model,) = json.loads(exported)["files"]
    profiled, shown, validated, predicted = core(
        "profile --device fake:1 --quick --networks 6 --out t.json --json --quiet",
        "table show t.json --json",
        "table validate t.json --json",
        f"predict --latency-table t.json --arch {arch} --model {model} --json",
    )
    (table,) = profiled["tables"]
    assert (table["ops"], table["networks"], table["failures"]) == (96, 6, 0)
    assert (len(shown["ops"]), validated["valid"]) == (96, True)
    by_arch, by_model = predicted["results"]
    assert by_arch["latency_ms"] == pytest.approx(by_model["latency_ms"], rel=1e-12)


def test_the_embedded_accuracy_model_is_shipped(installed):
    code = (
        "from predictors.accuracy.fitted import embedded_accuracy as model\n"
        "from profiler.spaces.mobilenetv3 import MobileNetV3Space as Space\n"
        "import numpy as np\n"
        "print(float(model(Space()).top1(Space().encode(Space().extremes())).max()))"
    )
    assert float(installed("-c", code)) == pytest.approx(0.7741, abs=1e-4)
