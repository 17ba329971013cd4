"""Nothing that a file holds is run: what could do so is called nowhere, or in the one place named.

Python is read as a syntax tree, so that neither a new name for a module nor a comment deceives.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    *(p for name in ("profiler", "predictors", "pnag", "benchmarks", "examples")
      for p in sorted((ROOT / name).rglob("*.py"))),
    ROOT / "setup.py",
]  # fmt: skip
PAGES = [*(ROOT / "pnag/report/page").iterdir(), ROOT / "pnag/serve/page.html"]

# modules whose readers run what they read, or that build markup out of strings
MODULES = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal",
    "shelve", "code", "codeop", "runpy", "pty", "telnetlib", "xmlrpc", "jinja2", "mako",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "os.system",
    "os.popen", "os.startfile", "subprocess.getoutput", "subprocess.getstatusoutput",
    "tempfile.mktemp", "shutil.unpack_archive", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "yaml.full_load_all", "yaml.unsafe_load_all", "torch.hub.load",
    "torch.jit.load", "torch.package.PackageImporter", "numpy.lib.format.read_array",
    "pandas.read_pickle",
}  # fmt: skip
METHODS = {"extractall", "exec_module", "source_to_code", "spawnShell", "create_subprocess_shell"}
ALLOWED = {
    # a user's own space, once the user named the file (profiler.spaces.own)
    ("profiler/spaces/own.py", "exec_module"),
    ("profiler/spaces/own.py", "source_to_code"),
    # a search of ofa's own, out of the installed package
    ("benchmarks/generation_cost.py", "exec_module"),
    # a SafeLoader that refuses more (profiler.system.user_files)
    ("profiler/system/user_files.py", "yaml.load"),
}
MARKUP = re.compile(r"(?<!\?P)</?[a-z][a-z0-9]*(?: [a-z-]+=|/?>)")
SCRIPTS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|createContextualFragment"
    r"|\beval\(|new Function|DOMParser|javascript:|setTimeout\(\s*[\"'`]| on[a-z]+\s*=\s*[\"']"
)


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """(line, what) of each dangerous import and call in Python text."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # as this text calls what it imports
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                whole = f"{module}.{alias.name}" if module else alias.name
                names[alias.asname or alias.name.partition(".")[0]] = (
                    whole if alias.asname or module else whole.partition(".")[0]
                )
                if whole.partition(".")[0] in MODULES:
                    yield node.lineno, whole
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _of_call(node, names))


def _of_call(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    written = ast.unparse(call.func)
    first, _, rest = written.partition(".")
    name = f"{names.get(first, first)}.{rest}" if rest else names.get(first, first)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    last = name.rpartition(".")[2]
    if name in CALLS or name == "yaml.load":
        yield name
    elif last in METHODS:
        yield last
    if given.get("shell", "False") != "False":
        yield "shell"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle as safe", "pickle"),
        ("from pickle import loads", "pickle.loads"),
        ("def f():\n    import marshal", "marshal"),
        ("from os import system as say\nsay('x')", "os.system"),
        ("import os as o\no.system('x')", "os.system"),
        ("eval('1')", "eval"),
        ("import yaml\nyaml.load(x, Loader=yaml.SafeLoader)", "yaml.load"),
        ("from yaml import load\nload(x)", "yaml.load"),
        ("import subprocess\nsubprocess.run(x, shell=True)", "shell"),
        ("run(x, shell=wanted)", "shell"),
        ("import torch\ntorch.load(x)", "torch.load"),
        ("import torch\ntorch.load(x, weights_only=False)", "torch.load"),
        ("import numpy as np\nnp.load(x, allow_pickle=True)", "allow_pickle"),
        ("import tempfile as t\nt.mktemp()", "tempfile.mktemp"),
        ("tarfile.open(x).extractall()", "extractall"),
        ("spec.loader.exec_module(module)", "exec_module"),
    ],
)
def test_every_danger_is_seen(text, found):
    assert [what for _, what in dangers(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "import pickletools, torch\ntorch.load(x, weights_only=True)",
        "import numpy as np\nnp.load(x, allow_pickle=False)",
        "model.eval()\nimport ast\nast.literal_eval(x)\nimport re\nre.compile(x)",
        "import subprocess\nsubprocess.run([x], shell=False)  # never eval(x)",
    ],
)
def test_what_is_harmless_is_left_alone(text):
    assert not list(dangers(text))


def test_nothing_that_a_file_holds_is_run():
    found = {
        (path.relative_to(ROOT).as_posix(), what): line
        for path in SOURCES
        for line, what in dangers(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 200
    assert found.keys() == ALLOWED, {at: found[at] for at in found.keys() - ALLOWED}


def test_no_markup_is_built_of_strings():
    """Pages are files; of Python they get JSON, which their scripts show as text."""
    for path in (p for p in SOURCES if p.is_relative_to(ROOT / "pnag")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and id(node) not in documentation:
                assert not MARKUP.search(str(node.value)), (path, node.lineno)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_read_no_text_as_markup(path):
    assert not SCRIPTS.findall(path.read_text(encoding="utf-8"))
