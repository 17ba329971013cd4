"""What the first use of each network costs, beside its warm latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from profiler.devices.base import Device, ModelDevice, ModelWorkload, Workload
from profiler.devices.registry import backend_of, backends
from profiler.devices.seeded import seeded_onnx, seeded_tflite
from profiler.errors import InvalidInputError
from profiler.graph.to_tflite import Precision
from profiler.models.cold_start import ColdStart
from profiler.models.file import read_model_file, runnable


def check_starts(spec: str, *, fleet: bool = False) -> None:
    """Refuse a device on which no network is started from a file of its own.

    Raises:
        InvalidInputError: such a device.
    """
    able = [one.name for one in backends().values() if one.model_formats and not one.open_models]
    if fleet or backend_of(spec).name not in able:
        where = "a fleet" if fleet else f"device {spec}"
        raise InvalidInputError(f"{where} tells no cold starts; --cold-start is for {able}")


def network_start(device: Device, workload: Workload) -> ColdStart:
    """The network as a model file, with the weights of its latency, started in fresh processes.

    Args:
        device: of a spec that `check_starts` accepts.

    Raises:
        MeasurementError: it does not start.
        DeviceUnavailableError: the device is gone.
    """
    info = device.info
    suffix = backend_of(info.spec).model_formats[0]
    exported: dict[str, Callable[[], bytes]] = {
        ".onnx": lambda: seeded_onnx(workload),
        ".tflite": lambda: seeded_tflite(workload, cast(Precision, info.precision)),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"network{suffix}"
        path.write_bytes(exported[suffix]())
        model = runnable(read_model_file(path), shapes={}, arrays={})
        return cast(ModelDevice, device).cold_start(ModelWorkload(model, info.threads, 0))
