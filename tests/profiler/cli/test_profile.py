"""`pnag profile` and `pnag devices` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from profiler.cli.profile import register
from profiler.devices import discovery as status
from profiler.devices.backend import DeviceStatus, Finding
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import DemandError, DeviceUnavailableError, InvalidInputError
from profiler.measuring.campaign import ProfileRequest
from profiler.measuring.several_devices import rounds_of
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.lock import device_lock
from profiler.tables.table import load_table
from tests.profiler.fast import FAST

pytestmark = pytest.mark.slow

app = typer.Typer()
register(app)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr("profiler.measuring.protocol.QUICK", FAST)


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


def test_of_two_commands_for_the_same_tables_one_makes_them_all(tmp_path, monkeypatch):
    """However they meet: of two that began at once, each got some of the devices."""
    monkeypatch.chdir(tmp_path)
    second = tmp_path / "tables" / "fake-2_mbv3_w1.0_224_quick.json"
    with device_lock(f"profile {second}"):  # the other command is still at its first device
        result = invoke("profile", "--device", "fake:1", "--device", "fake:2", "--quick", "-q")
    assert isinstance(result.exception, DeviceUnavailableError)
    assert f"at work on profile {second}" in str(result.exception)
    assert not (tmp_path / "tables").exists()


def test_each_setting_makes_a_table_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ("--threads", 1, "--threads", 2, "--batch-size", 1, "--batch-size", 4)
    device = ("--device", "fake:1", "--quick", "--networks", 0, "--json", "-q")
    result = invoke("profile", *device, *settings, "--threads", 2)
    assert result.exit_code == 0, result.output
    paths = [Path(table["path"]) for table in json.loads(result.stdout)["tables"]]
    assert [path.stem.removeprefix("fake-1_mbv3_w1.0_224_") for path in paths] == [
        "quick", "b4_quick", "t2_quick", "t2_b4_quick",
    ]  # fmt: skip
    devices = [load_table(path).device for path in paths]
    assert [(d.threads, d.batch_size) for d in devices] == [(1, 1), (1, 4), (2, 1), (2, 4)]


def test_settings_of_a_phone_take_turns_and_phones_are_measured_at_once():
    space = MobileNetV3Space()
    requests = [
        ProfileRequest(spec, space, Path(f"{spec}-{threads}"), threads=threads)
        for spec in ("adb:a", "fake", "adb:b")
        for threads in (1, 2)
    ]
    rounds = [[(one.spec, one.threads) for one in at_once] for at_once in rounds_of(requests)]
    assert rounds == [
        [("adb:a", 1), ("adb:b", 1)], [("adb:a", 2), ("adb:b", 2)], [("fake", 1)], [("fake", 2)],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", 1, "--threads", 2, "--out", "t.json"], "--out names one table"),
        (["--batch-size", 1, "--batch-size", 0], "must be at least 1"),
        (["--batch-size", 1, "--batch-size", 2, "--model", "a.onnx"], "at one --batch-size"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message):
    refused = invoke("profile", "--device", "fake", *arguments).exception
    assert isinstance(refused, InvalidInputError) and message in str(refused)


def test_a_table_that_is_not_stable_is_written_and_fails_where_that_is_required(
    tmp_path, monkeypatch
):
    keys = list(MobileNetV3Space().distinct_ops())
    draw = FakeDevice.draw_ms

    def unsteady(self, workload, runs):
        value = draw(self, workload, runs)
        return value * self._rng.choice([1, 2]) if workload.key in keys[:2] else value

    command = [
        "profile",
        "--device",
        "fake",
        "--quick",
        "--networks",
        0,
        "--out",
        tmp_path / "t.json",
    ]
    assert invoke(*command, "--require-stable").exit_code == 0
    monkeypatch.setattr(FakeDevice, "draw_ms", unsteady)
    result = invoke(*command, "--fresh", "--require-stable")
    assert isinstance(result.exception, DemandError)
    assert result.exception.exit_code == 1
    assert "t.json: 2 of 96 are not stable (2 noisy)" in str(result.exception)
    assert "96 ops, 0 networks (94 stable, 2 noisy)" in result.stdout
    assert "pnag devices says what disturbs" in result.stdout
    assert load_table(tmp_path / "t.json").ops[keys[0]].verdict == "noisy"
    assert invoke(*command).exit_code == 0  # nobody requires it


def no_gpu():
    raise DeviceUnavailableError("no NVIDIA GPU can be used: NVML says no")


@pytest.mark.parametrize("order", [("cuda", "fake"), ("fake", "cuda")])
def test_a_device_that_fails_does_not_touch_the_others(tmp_path, monkeypatch, order):
    """Whichever comes first: the other is measured and printed, the failure then told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("profiler.devices.cuda.device.require_driver", no_gpu)
    devices = [option for spec in order for option in ("--device", spec)]
    result = invoke("profile", *devices, "--quick", "--networks", 0, "--json")
    assert isinstance(result.exception, DeviceUnavailableError)
    assert str(result.exception) == "no NVIDIA GPU can be used: NVML says no"
    assert "cuda: no NVIDIA GPU can be used: NVML says no" in result.stderr
    (table,) = json.loads(result.stdout)["tables"]
    assert table["path"] == "tables/fake_mbv3_w1.0_224_quick.json"
    assert len(load_table(tmp_path / table["path"]).ops) == 96


def test_of_several_failures_the_first_is_told_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--device", "fake", "--device", "cuda", "--device", "replay:missing.json"]
    result = invoke("profile", *arguments, "--threads", 2, "--quick", "--networks", 0)
    assert isinstance(result.exception, InvalidInputError)
    assert "device cuda has no threads to set" in str(result.exception)
    assert "replay:missing.json: there is no latency table missing.json" in result.stderr
    titles = [line for line in result.stderr.splitlines() if line.startswith("table ")]
    assert [title.partition(": tables/")[0] for title in titles] == [
        "table 1 of 3", "table 2 of 3", "table 3 of 3",
    ]  # fmt: skip
    assert (tmp_path / "tables/fake_mbv3_w1.0_224_t2_quick.json").exists()


def test_an_error_of_no_known_kind_does_not_touch_the_others_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def broken():
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr("profiler.devices.cuda.device.require_driver", broken)
    devices = ["--device", "cuda", "--device", "fake"]
    result = invoke("profile", *devices, "--quick", "--networks", 0)
    assert isinstance(result.exception, RuntimeError)
    assert (tmp_path / "tables/fake_mbv3_w1.0_224_quick.json").exists()


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
        (["--device", "fake", "--dataset", "cifar10"], "mbv3 has no dataset to choose"),
        (["--device", "fake", "--space", "nasbench201", "--resolution", 32], "has no resolution"),
        (
            ["--device", "fake", "--space", "nasbench201", "--dataset", "svhn"],
            "known: cifar10, cifar100, imagenet16-120",
        ),
        (["--device", "fake", "--space", "kernels", "--dataset", "cifar10"], "or --dataset"),
        (["--device", "fake", "--device", "gpu"], "unknown device 'gpu'"),
        (
            ["--device", "fake", "--launch", "eager"],
            "--launch, --l2, --channels-last and --lock-clocks are for cuda devices only",
        ),
        (
            ["--device", "cuda", "--benchmark-binary", "benchmark_model"],
            "--allow-partial-delegation and --fixed-performance are for adb devices only",
        ),
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
