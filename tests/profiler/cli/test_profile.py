"""`pnag profile` and `pnag devices` as commands."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from profiler.cli.profile import register
from profiler.devices import discovery as status
from profiler.devices.discovery import DeviceStatus, Finding
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import load_table

app = typer.Typer()
register(app)


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_profile_writes_a_table_and_prints_one_json_document(tmp_path):
    out = tmp_path / "deep" / "fake.json"
    result = invoke(
        "profile", "--device", "fake:3", "--quick", "--networks", 2, "--width-mult", 1.2,
        "--resolution", 128, "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (table,) = document["tables"]
    assert table["path"] == str(out)
    assert (table["ops"], table["networks"], table["failures"]) == (96, 2, 0)
    assert table["verdicts"] == {"stable": 98}
    assert table["publishable"] is True
    loaded = load_table(out, space=MobileNetV3Space("mbv3", 1.2, 128))
    assert loaded.device.spec == "fake:3"
    assert "fake:3: 103 configurations: 50 % after" in result.stderr


def test_several_devices_make_several_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(
        "profile", "--device", "fake:1", "--device", "fake:2", "--quick", "--networks", 0, "-q"
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "tables").glob("*.json")) == [
        "fake-1_mbv3_w1.0_224_quick.json",
        "fake-2_mbv3_w1.0_224_quick.json",
    ]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--device", "fake", "--networks", -1], "--networks must be from 0 to 10000"),
        (["--device", "fake", "--networks", 10**20], "--networks must be from 0 to 10000"),
        (["--device", "fake", "--width-mult", 1.1], "width multiplier 1.1"),
        (["--device", "fake", "--resolution", 64], "resolution 64 px is outside"),
        (["--device", "fake", "--threads", 0], "at least 1"),
        (["--device", "fake", "--space", "resnet"], "unknown space"),
        (["--device", "fake", "--launch", "eager"], "are for cuda devices only"),
        (["--device", "cuda", "--l2", "warm"], "unknown l2 mode 'warm'; known: hot, cold"),
        (["--device", "fake:1", "--device", "fake:2", "--out", "one.json"], "--out names one"),
        (["--device", "fake", "--out", "."], "cannot write .: it is a directory"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("profile", *arguments)
    assert isinstance(result.exception, InvalidInputError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_tables_of_other_settings_have_other_default_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options in ([], ["--threads", 2], ["--threads", 2, "--batch-size", 8]):
        result = invoke("profile", "--device", "fake", "--quick", "--networks", 0, "-q", *options)
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "tables").glob("*.json")) == [
        "fake_mbv3_w1.0_224_quick.json",
        "fake_mbv3_w1.0_224_t2_b8_quick.json",
        "fake_mbv3_w1.0_224_t2_quick.json",
    ]


def test_a_replayed_table_of_another_resolution_is_refused(tmp_path):
    table, out = tmp_path / "t.json", tmp_path / "out.json"
    options = ["--quick", "--networks", 0, "-q"]
    assert invoke("profile", "--device", "fake", "--out", table, *options).exit_code == 0
    result = invoke(
        "profile", "--device", f"replay:{table}", "--resolution", 192, "--out", out, *options
    )
    assert isinstance(result.exception, InvalidInputError)
    assert "mbv3 width 1 at 224 px, not of mbv3 width 1 at 192 px" in str(result.exception)
    assert not out.exists()


def test_devices_names_problems_and_remedies(monkeypatch):
    found = [
        DeviceStatus("cpu", "EPYC", "onnxruntime 1", True, "", (Finding("hog", "stop it"),)),
        DeviceStatus("tflite", "EPYC", "LiteRT 2", True, "", (Finding("hog", "stop it"),)),
        DeviceStatus("adb:A", "", "", False, "unauthorized"),
    ]
    monkeypatch.setattr(status, "discover_all", lambda: found)
    text = invoke("devices").stdout
    assert "cpu        EPYC, onnxruntime 1 - ready" in text
    assert "adb:A      not now: unauthorized" in text
    assert text.count("hog") == 1
    assert "stop it" in text
    document = json.loads(invoke("devices", "--json").stdout)
    assert [device["spec"] for device in document["devices"]] == ["cpu", "tflite", "adb:A"]
    assert document["devices"][0]["findings"] == [{"problem": "hog", "remedy": "stop it"}]


def test_a_backend_without_its_sdk_is_listed_not_raised(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'sdk'", name="sdk")

    monkeypatch.setattr(status.importlib, "import_module", import_module)
    assert status.discover_all() == [
        DeviceStatus(name, "", "", False, "sdk is not installed") for name in status.BACKENDS
    ]


def test_a_backend_that_cannot_be_asked_says_why(monkeypatch):
    class Module:
        @staticmethod
        def discover():
            raise DeviceUnavailableError("no server")

    monkeypatch.setattr(status, "BACKENDS", ("android",))
    monkeypatch.setattr(status.importlib, "import_module", lambda name: Module)
    assert status.discover_all() == [DeviceStatus("android", "", "", False, "no server")]


def test_a_backend_of_another_package_is_listed(monkeypatch):
    ready = DeviceStatus("torch", "this CPU", "torch 2", True)
    module = ModuleType("torch_device")
    module.discover = lambda: [ready]
    monkeypatch.setitem(sys.modules, "torch_device", module)
    point = EntryPoint("torch", "torch_device:TorchDevice", status.PLUGINS)
    monkeypatch.setattr(status, "entry_points", lambda group: [point])
    monkeypatch.setattr(status, "BACKENDS", ())
    assert status.discover_all() == [ready]


def test_what_disturbs_the_host_is_named(monkeypatch):
    monkeypatch.setattr(status, "_busy_processes", lambda: [(42, "hog", 97.0)])
    monkeypatch.setattr(status.monitor, "governor", lambda core=0: "powersave")
    monkeypatch.setattr(status.monitor, "turbo_enabled", lambda: True)
    monkeypatch.setattr(status.monitor, "smt_active", lambda: True)
    status.host_findings.cache_clear()
    problems = [finding.problem for finding in status.host_findings()]
    status.host_findings.cache_clear()
    assert "process 42 (hog) uses 97 % of a core" in problems
    assert "frequency governor is powersave" in problems
    assert any("turbo" in problem for problem in problems)
    assert any("hyperthreading" in problem for problem in problems)


def test_a_single_core_a_load_and_a_system_without_affinity_are_named(monkeypatch):
    monkeypatch.setattr(status, "_busy_processes", lambda: [])
    monkeypatch.setattr(status.monitor, "allowed_cores", lambda: (0,))
    monkeypatch.setattr(status.monitor, "cpu_pressure_pct", lambda: None)  # a kernel without PSI
    monkeypatch.setattr(status.os, "getloadavg", lambda: (7.5, 0.0, 0.0))
    monkeypatch.delattr(status.os, "sched_setaffinity")
    status.host_findings.cache_clear()
    problems = [finding.problem for finding in status.host_findings()]
    status.host_findings.cache_clear()
    assert "one core only: everything else on it preempts" in problems
    assert "load is 7.5 on 1 core" in problems
    assert "threads cannot be pinned on this system" in problems
