"""Test phones behind a real adb server. Every test must leave its phone clean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from profiler.devices.android import link as adb_link
from profiler.devices.android.device import AndroidDevice
from profiler.devices.android.link import AdbLink
from profiler.devices.android.options import AndroidTiming
from profiler.devices.android.syntax import parse_spec
from tests.adb_server import AdbServer
from tests.adbd import Adbd
from tests.phone import executable_of

FAST = AndroidTiming(
    sample_s=0.01, warmup_s=0.01, deadline_s=20, reconnect_s=10, backoff_s=0.05
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_link, "MIN_TIMEOUT_S", 1.0)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    server = AdbServer(tmp_path_factory.mktemp("adb-home"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native program that behaves like benchmark_model."""
    path = tmp_path_factory.mktemp("binary") / "benchmark_model"
    path.write_bytes(executable_of(Path(__file__).with_name("benchmark_model_standin.py")))
    return path


@pytest.fixture(scope="session")
def compiled_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of LiteRT's CompiledModel benchmark."""
    path = tmp_path_factory.mktemp("compiled") / "benchmark_model"
    path.write_bytes(executable_of(Path(__file__).with_name("compiled_model_standin.py")))
    return path


@pytest.fixture
def make_phone(
    server: AdbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Adbd]]:
    """Attach test phones; afterwards no process, file or changed setting may be left on them."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))  # where locks lie
    phones: list[Adbd] = []

    def attach() -> Adbd:
        adbd = Adbd(tmp_path / f"phone{len(phones)}")
        phones.append(adbd)
        server.adb("connect", adbd.serial)
        return adbd

    yield attach
    for adbd in phones:
        leaked = settled(adbd.processes)
        adbd.close()
        server.adb("disconnect", adbd.serial)
        assert leaked == []
        assert list(adbd.phone.temporary.iterdir()) == []
        assert adbd.phone.setting("stay_on_while_plugged_in") is None
        assert not adbd.phone.fixed_performance


def settled(read: Callable[[], list[int]]) -> list[int]:
    """What is left when processes had a moment to end."""
    for _ in range(100):
        if not read():
            return []
        time.sleep(0.05)
    return read()


@pytest.fixture
def adbd(make_phone: Callable[[], Adbd]) -> Adbd:
    return make_phone()


@pytest.fixture
def link(adbd: Adbd) -> AdbLink:
    return AdbLink(
        parse_spec(f"adb:{adbd.serial}"), reconnect_s=FAST.reconnect_s, backoff_s=FAST.backoff_s
    )


@pytest.fixture
def make_device(binary: Path) -> Callable[..., AndroidDevice]:
    def make(adbd: Adbd, **options: object) -> AndroidDevice:
        chosen = {"spec": f"adb:{adbd.serial}", "benchmark_binary": binary, "timing": FAST}
        # arguments of several types by name
        return AndroidDevice(**chosen | options)  # type: ignore[arg-type]

    return make
