"""A user's .tflite file on the phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.devices.android.device import AndroidDevice
from profiler.devices.android.workload import shape_flags
from profiler.devices.base import ModelWorkload, Workload
from profiler.devices.seeded import seeded_tflite
from profiler.errors import MeasurementError
from profiler.models.file import (
    ModelFile,
    ModelFormat,
    RunnableModel,
    read_model_file,
    runnable,
)
from profiler.models.inputs import ModelInput
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.adbd import Adbd

MakeDevice = Callable[..., AndroidDevice]
OP = MobileNetV3Space(resolution_px=128).block_op(16, 3, 3)
WORKLOAD = Workload(OP.key, (OP,))


def model_workload(tmp_path: Path, threads: int = 1, **settings: Any) -> ModelWorkload:
    path = tmp_path / "net.tflite"
    path.write_bytes(seeded_tflite(WORKLOAD, "float32"))
    chosen = {"shapes": {}, "arrays": {}} | settings
    return ModelWorkload(runnable(read_model_file(path), **chosen), threads, 0)


def test_a_users_file_runs_as_it_is(adbd: Adbd, make_device: MakeDevice, tmp_path: Path) -> None:
    """XNNPACK need not run all of it; the start and the ops are the program's own words."""
    with make_device(adbd, threads=2) as device:
        before = len(adbd.received)
        workload = model_workload(tmp_path, threads=2)
        prepared = device.prepare_model(workload)
        assert prepared.sample_ms(3) > 0
        prepared.close()
        (command,) = [c for c in adbd.received[before:] if "--graph" in c]
        start, (op,) = device.cold_start(workload), device.op_shares(workload)
    assert "--num_threads=2" in command
    assert "require_full_delegation" not in command
    assert start.load_ms > 0
    assert start.first_run_ms > 0
    assert (op.kind, op.share) == ("TfLiteXNNPackDelegate", 1)


def test_values_of_a_users_own_are_refused(
    adbd: Adbd, make_device: MakeDevice, tmp_path: Path
) -> None:
    (one,) = model_workload(tmp_path).model.file.inputs
    given = {one.name: np.zeros([int(axis) for axis in one.shape], np.float32)}
    with make_device(adbd) as device, pytest.raises(MeasurementError, match="leave out --input"):
        device.prepare_model(model_workload(tmp_path, arrays=given))


def test_shapes_of_free_axes_are_flags_of_the_program() -> None:
    inputs = (
        ModelInput("image", "float32", ("", 8, 8, 3)), ModelInput("size", "int32", (2,))
    )  # fmt: skip
    file = ModelFile(Path("net.tflite"), ModelFormat.TFLITE, "", 0, inputs)
    values = {"image": np.zeros((4, 8, 8, 3), np.float32), "size": np.zeros(2, np.int32)}
    assert shape_flags(RunnableModel(file, values, "")) == {
        "input_layer": "image,size", "input_layer_shape": "4,8,8,3:2",
    }  # fmt: skip
