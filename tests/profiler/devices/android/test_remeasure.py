"""A generated network is measured on the phone that the table is of: `generate --verify-on adb`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.devices.android.device import AndroidDevice
from profiler.errors import InvalidInputError
from profiler.measuring.follow_up import measure_networks
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import LatencyTable, SpaceRef
from profiler.terminal import Terminal
from tests.adbd import Adbd
from tests.profiler.devices.android.conftest import FAST
from tests.profiler.devices.android.test_sweep import PROTOCOL

SPACE = MobileNetV3Space(resolution_px=128)
SILENT = Terminal(quiet=True)


def test_a_phone_measures_networks_after_its_table(
    adbd: Adbd, make_device: Callable[..., AndroidDevice], binary: Path
) -> None:
    with make_device(adbd, threads=2) as device:
        info = device.info
    table = LatencyTable(
        space=SpaceRef(name="mbv3", width_mult=1.0, resolution_px=128), device=info, protocol={},
        ops={}, created="2026-01-01T00:00:00+00:00", tool="test",
    )  # fmt: skip
    smallest, largest = map(str, SPACE.extremes())
    with pytest.raises(InvalidInputError, match="--benchmark-binary"):
        measure_networks(table, [smallest], SILENT)
    first, second = measure_networks(
        table,
        [smallest, largest],
        SILENT,
        protocol=PROTOCOL,
        device_options={"benchmark_binary": binary, "timing": FAST},
    )
    assert (first.arch, second.arch) == (smallest, largest)
    assert 0 < first.latency_ms < second.latency_ms
    runs = [line for line in adbd.received if "--num_runs=" in line]
    assert runs and all("--num_threads=2" in line for line in runs)
