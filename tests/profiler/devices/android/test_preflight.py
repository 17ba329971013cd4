"""What `pnag devices` and the first look at a phone say, in every state of adb and of the phone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import adbutils
import pytest

from profiler.devices.android import link as adb_link
from profiler.devices.android.attached import discover
from profiler.devices.android.device import AndroidDevice
from profiler.devices.android.errors import LinkError
from profiler.devices.android.syntax import AdbTarget
from profiler.devices.discovery import discover_all
from profiler.devices.registry import backends
from profiler.errors import DeviceUnavailableError, InvalidInputError
from tests.adb_server import AdbServer
from tests.adbd import Adbd

MakeDevice = Callable[..., AndroidDevice]


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        yield port


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[str, str]]:
    """Spec and reason of the one row that adb has in `pnag devices`."""
    only = {"adb": backends()["adb"]}
    monkeypatch.setattr("profiler.devices.discovery.backends", lambda: only)

    def read() -> tuple[str, str]:
        (status,) = discover_all()
        assert not status.measurable
        return status.spec, status.reason

    return read


@pytest.fixture
def no_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither on the PATH, nor in the package adbutils."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("adbutils._utils._get_bin_dir", lambda: str(tmp_path))


def test_no_adb(row: Callable[[], tuple[str, str]], no_adb: None, no_server: int) -> None:
    assert row() == (
        "adb",
        "no adb server runs and adb is not installed; install Android's platform-tools "
        "(Debian: apt-get install adb)",
    )


def test_no_server(row: Callable[[], tuple[str, str]], no_server: int) -> None:
    assert row() == (
        "adb",
        f"no adb server at 127.0.0.1:{no_server} (Connection refused); start one: "
        f"adb -P {no_server} start-server",
    )


def test_the_adb_that_adbutils_brings_is_found(
    row: Callable[[], tuple[str, str]],
    no_server: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the PATH has none; the command can be copied, and starting a server uses it too."""
    monkeypatch.setenv("PATH", str(tmp_path))
    bundled = Path(adbutils.__file__).parent / "binaries/adb"
    assert adb_link.adb_program() == str(bundled)
    assert row()[1].endswith(f"start one: {bundled} -P {no_server} start-server")
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> None:
        started.append(command)

    monkeypatch.setattr(subprocess, "run", start)
    with pytest.raises(LinkError, match="start-server"):
        adb_link.AdbLink(AdbTarget("X", "127.0.0.1", no_server, local_server=True))
    assert started == [[str(bundled), "-P", str(no_server), "start-server"]]


def test_a_server_without_a_phone(
    row: Callable[[], tuple[str, str]], server: AdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    spec, reason = row()
    assert spec == "adb"
    assert reason.startswith("no Android device is attached; plug it in")


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("unauthorized", "X has not allowed this computer; unlock it and accept the USB"),
        ("offline", "X is offline (offline); plug it in again"),
        ("authorizing", "X is offline (authorizing); plug it in again"),
        # as adb writes it: with a reason, and where to read more
        ("no permissions", "this user may not open X; install the udev rules"),
        ("no permissions (missing udev rules? user is in the plugdev group); see [http://x]",
         "this user may not open X; install the udev rules"),
        ("no permissions; see [http://x]", "this user may not open X; install the udev rules"),
        ("recovery", "X is in recovery mode; boot Android: adb -s X reboot"),
    ],
)  # fmt: skip
def test_a_phone_that_cannot_be_used(
    row: Callable[[], tuple[str, str]], shown: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a server that lists it so: `host:devices` answers with its length and its lines."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        lines = f"X\t{shown}\n".encode()
        answering = _answering(listener, b"OKAY%04x" % len(lines) + lines)
        spec, reason = row()
        answering.join(5)
    assert spec == "adb:X"
    assert reason.startswith(said)


def _answering(listener: socket.socket, answer: bytes) -> threading.Thread:
    """A server that accepts a look, and answers the connection after it."""

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                if peer.recv(64):
                    peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_all_that_is_missing_is_said_at_once(
    adbd: Adbd, make_device: MakeDevice, tmp_path: Path
) -> None:
    text = tmp_path / "benchmark_model.apk"
    text.write_bytes(b"PK\x03\x04" + bytes(60))
    adbd.phone.set_free_kib(300 * 1024)
    adbd.phone.set_battery(level_pct=9)
    adbd.phone.put("dumpsys.power", "  mWakefulness=Asleep\n")
    with pytest.raises(InvalidInputError) as caught:
        make_device(adbd, benchmark_binary=text)
    message = str(caught.value)
    assert message.startswith(f"4 things are missing: (1) {text} is not a program for Android")
    for said in (
        f"(2) {adbd.serial} has less than 1 GiB free in /data/local/tmp (300 MiB); free some",
        "(3) battery at 9 %, below",
        "(4) the screen is off; wake it",
    ):
        assert said in message
    (status,) = discover()
    assert not status.measurable and "less than 1 GiB free" in status.reason
    battery, screen = (finding.problem for finding in status.findings)
    assert battery.startswith("battery at 9 %") and screen == "the screen is off"


def test_without_a_program_nobody_waits_for_the_phone(
    server: AdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that is away is waited for two minutes, by default."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    with pytest.raises(InvalidInputError) as caught:
        AndroidDevice("adb:FA6AB0301534")
    assert str(caught.value).startswith(
        "2 things are missing: (1) measuring on Android needs --benchmark-binary PATH"
    )
    assert "(2) FA6AB0301534 is not attached (attached: none)" in str(caught.value)


def test_commands_that_a_phone_lacks_are_named_together(
    adbd: Adbd, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [shutil.which(name) for name in ("cat", "echo", "uname", "grep", "cut")]
    bare = adbd.phone.root / "bare"
    bare.mkdir()
    for tool in filter(None, tools):
        (bare / Path(tool).name).symlink_to(tool)
    environment = adbd.phone.environment() | {"PATH": f"{adbd.phone.root}/bin:{bare}"}
    monkeypatch.setattr(adbd.phone, "environment", lambda: environment)
    with pytest.raises(DeviceUnavailableError, match="has no command setsid and none sha256sum"):
        make_device(adbd)
