"""The image is built of what it says, from a named base, and does not run as root."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.containers import container_runtime

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions():
    """[(name, rest)] of the Dockerfile, comments left out and continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def given(name):
    return [rest for each, rest in instructions() if each == name]


def copied():
    """What COPY takes from the folder of the build."""
    sources = [shlex.split(rest)[:-1] for rest in given("COPY") if not rest.startswith("--from=")]
    return [source for line in sources for source in line]


def test_every_instruction_is_one():
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}
    names = [name for name, _ in instructions()]
    assert set(names) == known and names[0] == "FROM"


def test_the_base_is_one_release_of_a_python_that_is_tested():
    (image,) = {rest.split()[0] for rest in given("FROM")}
    (minor,) = re.findall(r"^python:(\d+\.\d+)\.\d+-slim-[a-z]+$", image)
    assert f"Programming Language :: Python :: {minor}" in PROJECT["project"]["classifiers"]


def test_it_runs_pnag_as_a_user_with_few_rights():
    (user,) = given("USER")
    assert user.isdigit() and int(user) > 0  # a number, which orchestrators can check
    names = [name for name, _ in instructions()]
    assert {"FROM", "COPY", "RUN"}.isdisjoint(names[names.index("USER") :])
    assert given("ENTRYPOINT") == ['["pnag"]']


def test_what_it_copies_is_there_and_all_that_a_wheel_is_made_of():
    assert all((ROOT / source).exists() for source in copied())
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {pattern.rstrip("*") for pattern in packages} | {PROJECT["project"]["readme"]}
    links = [path for name in needed for path in (ROOT / name).rglob("*") if path.is_symlink()]
    needed |= {link.resolve().relative_to(ROOT).parts[0] for link in links}
    assert needed | {"pyproject.toml", "LICENSE"} <= set(copied())


def test_nothing_else_is_sent_to_the_builder():
    text = re.sub(r"^#.*\n", "", (ROOT / ".dockerignore").read_text(), flags=re.M)
    first, *others = text.splitlines()
    assert first == "*" and others.pop() == "**/__pycache__"
    assert others == [f"!{source}" for source in copied()]


def test_pip_leaves_no_cache_and_takes_what_the_constraints_and_extras_name():
    (install,) = [rest for rest in given("RUN") if "pip install" in rest]
    assert "--no-cache-dir" in install and "-c constraints.txt" in install
    (extras,) = given("ARG")
    names = extras.removeprefix("EXTRAS=").split(",")
    assert set(names) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.container
@pytest.mark.slow
def test_the_image_measures_as_a_user_with_few_rights(tmp_path):
    def container(*arguments):
        done = subprocess.run(
            [container_runtime(), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout

    container("build", "--tag", "pnag-test", str(ROOT))
    tmp_path.chmod(0o777)
    run = ["run", "--rm", "--volume", f"{tmp_path}:/work"]
    assert container(*run, "--entrypoint", "id", "pnag-test", "-u") == "1000\n"
    line = "profile --device fake:1 --quick --networks 6 --out table.json"
    container(*run, "pnag-test", *line.split())
    said = container(*run, "pnag-test", "table", "validate", "table.json")
    assert said.endswith("valid, 96 ops of mbv3\n")
