"""Phones side by side, each in a process of its own: an interrupt ends them all, and cleanly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.measuring.campaign import ProfileRequest
from profiler.measuring.several_devices import profile_devices
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.terminal import Terminal
from tests.adbd import Adbd
from tests.profiler.devices.android.conftest import FAST

pytestmark = pytest.mark.slow


class Read:
    """stderr of this process and of those that it began, so far."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self.text = capfd, ""

    def until(self, words: str, times: int) -> None:
        for _ in range(600):
            self.more()
            if self.text.count(words) >= times:
                return
            time.sleep(0.05)

    def more(self) -> str:
        self.text += self._capfd.readouterr().err
        return self.text


def test_an_interrupt_of_the_command_alone_reaches_every_phone(
    make_phone: Callable[[], Adbd], binary: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As SIGTERM comes, or `kill -INT`: a terminal's Ctrl-C goes to all processes. Both phones wait
    to cool meanwhile."""
    phones, stderr = [make_phone(), make_phone()], Read(capfd)
    timing = replace(FAST, cool_down_s=0.2, max_cool_down_s=30)
    for adbd in phones:
        adbd.phone.set_thermal(3)
    requests = [
        ProfileRequest(
            f"adb:{adbd.serial}", MobileNetV3Space(), tmp_path / f"{index}.json", n_networks=0,
            device_options={"benchmark_binary": binary, "timing": timing},
        )
        for index, adbd in enumerate(phones)
    ]  # fmt: skip
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        stderr.until("unsteady now", 2)
        signal.pthread_kill(main, signal.SIGINT)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        profile_devices(requests, Terminal())
    waiting.join()
    assert stderr.more().count("kept: 0 blocks of 0 configurations") == 2, stderr.text
    assert "Traceback" not in stderr.text
