"""A sustained load on a phone: it is not let to cool, and what it tells of itself is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.android.device import AndroidDevice
from profiler.devices.registry import backends
from profiler.errors import DeviceUnavailableError
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import PHONE, SUSTAINED
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.levels import Statistic
from profiler.tables.table import LatencyTable
from profiler.terminal import SILENT
from tests.adbd import Adbd
from tests.profiler.devices.android.conftest import FAST

pytestmark = pytest.mark.slow

SPACE = MobileNetV3Space(resolution_px=128)
CHOSEN = Chosen((SPACE.head_ops()[1].key,), ())
RULE = replace(SUSTAINED, minutes=0.05, window_s=0.5, first_s=1.0)
PROTOCOL = replace(PHONE, sustained=RULE, repeats=replace(PHONE.repeats, share=0.0, min_count=0))


def loaded(device: AndroidDevice) -> LatencyTable:
    request = ProfileRequest("adb", SPACE, Path("t.json"), PROTOCOL, chosen=CHOSEN)
    with Journal(None) as journal:
        return Campaign(request, device, journal, SILENT).run()


def test_a_hot_phone_is_measured_on_and_says_how_hot(
    adbd: Adbd, make_device: Callable[..., AndroidDevice]
) -> None:
    adbd.phone.set_thermal(2)
    adbd.phone.set_battery(temperature_c=43.1)
    options = PROTOCOL.options_for(backends()["adb"])
    assert options == {"rests": False}
    with make_device(adbd, **options) as device:
        table = loaded(device)
    load = table.load
    assert load is not None
    assert load.times_s[0] == 0
    assert load.times_s[-1] < 60 * RULE.minutes
    assert set(load.temperatures_c) == {43.1}
    assert set(load.clocks_mhz) == {2150.4}  # of the first big core
    (entry,) = table.ops.values()
    assert "throttled" in entry.flags
    assert entry.levels.keys() == {Statistic.FIRST_MINUTE, Statistic.SUSTAINED}
    assert entry.levels[Statistic.SUSTAINED].latency_ms > 0


def test_under_another_protocol_it_is_let_to_cool(
    adbd: Adbd, make_device: Callable[..., AndroidDevice]
) -> None:
    adbd.phone.set_thermal(2)
    assert PHONE.options_for(backends()["adb"]) == {"rests": True}
    impatient = replace(FAST, max_cool_down_s=0.1, cool_down_s=0.05)
    with (
        pytest.raises(DeviceUnavailableError, match="does not come to rest: thermal status 2"),
        make_device(adbd, timing=impatient) as device,
    ):
        loaded(device)
