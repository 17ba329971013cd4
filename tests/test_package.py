"""The distribution: sdist and wheel hold everything, and work away from the sources.

The wheel is built from the sdist and installed without its dependencies, which are those of
the environment that runs the tests.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

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


def test_the_installed_command_measures_and_predicts(installed):
    command = str(installed.folder / "bin/pnag")
    assert installed(command, "--version") == "pnag 0.1.0\n"
    page = (ROOT / "docs/android.md").read_text()
    assert installed(command, "help", "android") == page.rstrip() + "\n"
    options = ["--quick", "--networks", "6", "--json", "--quiet"]
    (table,) = json.loads(installed(command, "profile", "--device", "fake:1", *options))["tables"]
    assert (table["ops"], table["networks"], table["failures"]) == (96, 6, 0)
    arch = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
    exported = installed(command, "space", "export", "--arch", arch, "--out", "nets", "--json")
    (model,) = json.loads(exported)["files"]
    named = ["--arch", arch, "--model", model]
    predicted = installed(command, "predict", "--latency-table", table["path"], *named, "--json")
    by_arch, by_model = json.loads(predicted)["results"]
    assert by_arch["latency_ms"] == pytest.approx(by_model["latency_ms"], rel=1e-12)


def test_the_embedded_accuracy_model_is_shipped(installed):
    code = (
        "from predictors.accuracy.fitted import embedded_accuracy as model\n"
        "from profiler.spaces.mobilenetv3 import MobileNetV3Space as Space\n"
        "import numpy as np\n"
        "print(float(model(Space()).top1(Space().encode(Space().extremes())).max()))"
    )
    assert float(installed("-c", code)) == pytest.approx(0.7741, abs=1e-4)
