"""Commands whose packages are not installed: one line that installs them, and nothing written."""

import sys

import pytest

from pnag.cli.app import run
from profiler import extras
from profiler.errors import DeviceUnavailableError
from profiler.system.exports import lazy_exports
from tests.docs_commands import all_commands, resolve

ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
COMMANDS = {
    "train --latency-table t.json": ("train", "train needs torch and matplotlib"),
    "demo": ("train", "demo needs torch and matplotlib"),
    "generate --run r --budget 9ms": ("torch", "generate needs torch"),
    "report --run r": ("report", "report --run needs torch and matplotlib"),
    "serve --run r": ("serve", "serve needs torch, fastapi and uvicorn"),
    f"space export --arch {ARCH} --out n": ("torch", "space export needs torch"),
    "supernet train --data d.npz --out s": ("supernet", "supernet train needs torch and PIL"),
    "supernet evaluate --checkpoint c --data d.npz --out o": (
        "supernet", "supernet evaluate needs torch and PIL",
    ),
    f"supernet extract --checkpoint c --arch {ARCH} --export onnx --out o": (
        "supernet", "supernet extract needs torch and PIL",
    ),
    "supernet compress --checkpoint c --out o": ("supernet", "supernet compress needs torch"),
}  # fmt: skip


@pytest.fixture
def core(monkeypatch, tmp_path):
    """Without any extra, in an empty folder."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_a_missing_extra_is_one_line_and_nothing_is_written(line, core, capsys):
    extra, words = COMMANDS[line]
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"pnag: {words}") and err.endswith(f": pip install 'pnag[{extra}]'\n")
    assert list(core.iterdir()) == []


def test_every_module_with_an_extra_is_listed():
    asking = {
        command.callback.__module__
        for _, command in all_commands()
        if hasattr(sys.modules[command.callback.__module__], "require")
    }
    assert asking == {resolve(line.split())[0].callback.__module__ for line in COMMANDS}


def test_help_needs_no_extra(core):
    for name, _ in all_commands():
        assert run([*name.split()[1:], "--help"]) == 0


@pytest.mark.parametrize(("extra", "package"), [("torch", "torch"), ("fleet", "ray")])
def test_a_device_without_its_package_is_unavailable(extra, package, core):
    with pytest.raises(DeviceUnavailableError, match=rf"a GPU needs {package}: .*pnag\[{extra}\]"):
        extras.require(extra, "a GPU", DeviceUnavailableError)


def test_names_to_import_say_what_installs_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trains.py").write_text("import torch\n")
    (tmp_path / "faces.pyi").write_text("from trains import Trained as Trained\n")
    attribute, _, _ = lazy_exports("faces", str(tmp_path / "faces.py"))
    with pytest.raises(ModuleNotFoundError) as raised:
        attribute("Trained")
    assert raised.value.__notes__ == ["pip install 'pnag[train]'"]
