"""Fixed performance mode: recorded, and put back whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from profiler.devices.android.device import AndroidDevice
from profiler.devices.android.link import AdbLink
from profiler.devices.android.session import PhoneSession
from profiler.devices.base import Workload
from profiler.devices.registry import recorded_options
from profiler.errors import DeviceUnavailableError, PnagError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.adb_server import AdbServer
from tests.adbd import Adbd, Fault
from tests.phone import REPOSITORY
from tests.profiler.devices.android.conftest import FAST

MakeDevice = Callable[..., AndroidDevice]
OP = MobileNetV3Space(resolution_px=128).block_op(16, 3, 3)
WORKLOAD = Workload(OP.key, (OP,))
# 200 for the long run: PNAG_TEST_FAULTS=200 pytest -k no_fault
N_FAULTS = int(os.environ.get("PNAG_TEST_FAULTS", "5"))


def test_it_is_held_recorded_and_ended(adbd: Adbd, make_device: MakeDevice) -> None:
    with make_device(adbd, fixed_performance=True) as device:
        assert adbd.phone.fixed_performance
        assert ("performance", "fixed") in device.info.options
        assert recorded_options(device.info, "adb")["fixed_performance"] is True
        prepared = device.prepare(WORKLOAD)
        assert prepared.sample_ms(1) > 0
    assert not adbd.phone.fixed_performance
    with make_device(adbd) as device:
        assert not adbd.phone.fixed_performance
        assert recorded_options(device.info, "adb")["fixed_performance"] is False


def test_it_is_written_down_and_watched_before_it_is_switched_on(adbd: Adbd, link: AdbLink) -> None:
    """At the moment of the change the folder says so, and the keeper lives."""
    (adbd.phone.root / "bin/cmd").write_text(
        '#!/bin/sh\n[ "$3" = false ] && exit\ncd "$PHONE"/data/local/tmp/pnag-* && '
        '{ ls; readlink "/proc/$(cat keeper/pid)/cwd"; } >"$PHONE/state/seen"\n'
    )
    session = PhoneSession(link)
    session.fix_performance(600)
    seen = adbd.phone.get("seen").split()
    session.close()
    assert {"fixed_performance.changed", "lease", "keeper"} <= set(seen)
    assert seen[-1].endswith("/keeper")


def test_a_phone_without_it(adbd: Adbd, make_device: MakeDevice) -> None:
    adbd.phone.put("no_power_hal", "")
    with pytest.raises(DeviceUnavailableError, match="leave out --fixed-performance"):
        make_device(adbd, fixed_performance=True)


KILLED_VISIT = """
import os, signal, sys
from profiler.devices.android.link import AdbLink
from profiler.devices.android.session import PhoneSession
from profiler.devices.android.syntax import parse_spec
session = PhoneSession(AdbLink(parse_spec(sys.argv[1])))
session.keep_awake()
session.fix_performance(float(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_phone_itself_puts_it_back(adbd: Adbd, server: AdbServer) -> None:
    """Without anybody who comes back: settings, files and the keeper are gone after the lease."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_VISIT, f"adb:{adbd.serial}", "1"],
        env=server.environment | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while adbd.phone.fixed_performance or list(adbd.phone.temporary.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert adbd.phone.get("fixed_performance").split() == ["true", "false"]
    assert adbd.phone.setting("stay_on_while_plugged_in") is None


def test_a_visit_that_was_away_too_long_measures_no_more(
    adbd: Adbd, make_device: MakeDevice
) -> None:
    """Its later samples would be of another mode."""
    timing = replace(FAST, lease_s=1)
    with make_device(adbd, fixed_performance=True, timing=timing) as device:
        prepared = device.prepare(WORKLOAD)
        deadline = time.monotonic() + 10
        while adbd.phone.fixed_performance:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(DeviceUnavailableError, match="left fixed performance mode"):
            prepared.sample_ms(1)


def test_no_fault_leaves_a_changed_setting(adbd: Adbd, make_device: MakeDevice) -> None:
    """Drops, lost answers, cut and garbled answers and reboots anywhere in a visit.

    The mode is off when the visit ends, or when the next one begins.
    """
    draw = random.Random(5)
    kinds = ("drop", "drop_after", "truncate", "garbage", "reboot")
    for number in range(N_FAULTS):
        adbd.faults = [Fault(kinds[number % len(kinds)], "shell", skip=draw.randrange(25))]
        try:
            with make_device(adbd, fixed_performance=True) as device:
                prepared = device.prepare(WORKLOAD)
                assert prepared.sample_ms(1) > 0
        except PnagError:
            adbd.faults = []
            with make_device(adbd):
                pass
        assert not adbd.phone.fixed_performance
        assert adbd.phone.setting("stay_on_while_plugged_in") is None
        assert list(adbd.phone.temporary.iterdir()) == []
