"""A place that cannot hold the result is refused before anything is measured for it."""

import os
from pathlib import Path

import pytest

from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import ProfileRequest, profile_device, profile_on
from profiler.measuring.model_files import ModelRequest, measure_models
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.terminal import SILENT
from tests.profiler.fast import FAST
from tests.profiler.models.onnx_files import convolution


@pytest.fixture(params=["folder", "pipe", "device"])
def unwritable(request, tmp_path):
    """Such a place, and what the refusal says of it."""
    folder = tmp_path / "results"
    folder.mkdir()
    out = folder / "t.json"
    if request.param == "folder":
        out.mkdir()
        return out, "it is a directory"
    if request.param == "pipe":
        os.mkfifo(out)
    else:
        out.symlink_to("/dev/null")
    return out, "not a file that can be replaced"


def no_device(*_, **__):
    raise AssertionError("a device was opened")


def refused(unwritable, measure):
    out, why = unwritable
    with pytest.raises(InvalidInputError, match=f"cannot write {out}: .*{why}"):
        measure(out)
    assert [path.name for path in out.parent.iterdir()] == ["t.json"]


def of_space(out: Path) -> ProfileRequest:
    return ProfileRequest("fake", MobileNetV3Space(), out, FAST, n_networks=0)


def test_of_a_table(unwritable, monkeypatch):
    monkeypatch.setattr("profiler.measuring.campaign.open_requested", no_device)
    refused(unwritable, lambda out: profile_device(of_space(out), SILENT))


def test_of_a_table_on_an_open_device(unwritable):
    device = FakeDevice(0)
    refused(unwritable, lambda out: profile_on(device, of_space(out), SILENT))
    assert device.now() == 0


def test_of_model_files(unwritable, monkeypatch, tmp_path):
    monkeypatch.setattr("profiler.measuring.model_files.open_for_models", no_device)
    path = convolution(tmp_path / "net.onnx")
    refused(unwritable, lambda out: measure_models(ModelRequest("cpu", [path], out=out), SILENT))
