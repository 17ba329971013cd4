"""The public names of the packages: documented, lazy, and all that docs and examples import."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys

import pytest

import pnag
import predictors
import profiler
from pnag.cli.commands import COMMANDS
from tests.docs_commands import PAGES, ROOT, blocks

FACES = [profiler, predictors, pnag]
HEAVY = ["torch", "sklearn", "scipy", "onnx", "onnxruntime", "matplotlib", "pandas", "ray", "numpy"]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_name_is_what_its_module_calls_so(face):
    stub = ast.parse((ROOT / face.__name__ / "__init__.pyi").read_text())
    for line in stub.body:
        (name,) = [alias.name for alias in line.names]
        assert getattr(face, name) is getattr(importlib.import_module(line.module), name)
    assert dir(face) == face.__all__ == sorted(line.names[0].name for line in stub.body)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_no_name_is_a_modules(face):
    """Importing the module would put it in the place of the name."""
    modules = {module.name for module in pkgutil.iter_modules(face.__path__)}
    assert modules & set(face.__all__) == set()


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'pnag' has no attribute 'load_rum'"):
        pnag.__getattr__("load_rum")


EVERY_COMMAND = "from pnag.cli.commands import *; [command(name) for name in COMMANDS]"
HELP = "from pnag.cli.app import run; run(['--help'])"


@pytest.mark.parametrize(
    ("loading", "unwanted"),
    [
        ("import profiler, predictors, pnag", HEAVY),
        (EVERY_COMMAND, HEAVY),
        (HELP, {module for module, _ in COMMANDS.values()}),
    ],
    ids=["the packages", "all commands", "pnag --help"],
)
def test_what_comes_first_loads_nothing_that_it_does_not_need(loading, unwanted):
    code = f"import sys; {loading}; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_page_lists_all_names():
    page = (ROOT / "docs/api.md").read_text()
    tables = "".join(re.findall(r"^\|.*\|$", page, re.M))
    listed = re.findall(r"`(\w+)`", tables)
    assert sorted(listed) == sorted(name for face in FACES for name in face.__all__)


def scripts():
    """(where, Python source) of all that a reader may copy."""
    for page in PAGES:
        for _, script in blocks(page, {"python"}):
            yield page.name, script
    for path in (ROOT / "examples").glob("*.py"):
        yield path.name, path.read_text()
    for path in (ROOT / "examples").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                yield path.name, "".join(cell["source"])


def test_docs_and_examples_import_from_the_faces_only():
    names = {face.__name__ for face in FACES}
    public = names | {f"{name}.testing" for name in names}
    seen = set()
    for where, script in scripts():
        for node in ast.walk(ast.parse(script)):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] in names
            ):
                assert node.module in public, f"{where} imports {node.module}"
                seen.add(node.module)
    assert seen == public
