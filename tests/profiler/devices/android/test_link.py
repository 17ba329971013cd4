"""The link against a real adb server: quoting, exit statuses, and everything that can drop."""

from __future__ import annotations

import copy
import shlex
import socket
import string
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler.devices.android.errors import LinkError
from profiler.devices.android.link import AdbLink
from profiler.devices.android.syntax import AdbTarget, check_path, parse_spec, quote
from profiler.errors import InvalidInputError
from tests.adb_server import AdbServer
from tests.adbd import Adbd, Fault

TOUCHY = st.text(
    st.one_of(st.sampled_from(" \t\n\r'\"`$;&|<>(){}[]*?!#~\\%=,-"), st.characters(codec="utf-8")),
    max_size=20,
).filter(lambda text: "\0" not in text)


def failure(operation: Callable[[], object]) -> LinkError:
    with pytest.raises(LinkError) as caught:
        operation()
    return caught.value


# --- what may reach the phone ---------------------------------------------------------------


def test_specs() -> None:
    near = parse_spec("adb:FA6AB0301534")
    assert (near.serial, near.host, near.local_server) == ("FA6AB0301534", "127.0.0.1", True)
    far = parse_spec("adb://lab-3.example:5038/192.168.1.7:5555")
    assert far == AdbTarget("192.168.1.7:5555", "lab-3.example", 5038, local_server=False)
    assert parse_spec("adb").serial is None
    assert parse_spec("adb://10.0.0.7:5037").serial is None
    assert parse_spec("adb:adb-FA6AB-x1Y2._adb-tls-connect._tcp").serial is not None
    assert parse_spec("adb:[fe80::1]:5555").serial == "[fe80::1]:5555"


@pytest.mark.parametrize("port", ["abc", "0", "99999"])
def test_a_port_that_is_none(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    with pytest.raises(InvalidInputError, match="is not HOST:PORT"):
        parse_spec(f"adb://10.0.0.7:{port}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    with pytest.raises(InvalidInputError, match=r"ANDROID_ADB_SERVER_PORT .* is not a port"):
        parse_spec("adb")


@pytest.mark.parametrize(
    "spec",
    [
        "adb:", "adb:a b", "adb:a;reboot", "adb:$(reboot)", "adb:`id`", "adb:a'b", 'adb:a"b',
        "adb:a\nb", "adb:a\n", "adb:..", "adb:../x", "adb:-s", "adb:a:b:c", "adb:x:kill", "adb:a/b",
        "adb://", "adb://host", "adb://host:x/serial", "adb://host:5037/a;b", "adb://-h:5037/s",
        "adb://host:5037/", "adbx", "usb:1",
    ],
)  # fmt: skip
def test_malformed_specs(spec: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_spec(spec)


@given(serial=TOUCHY)
def test_no_serial_needs_quotes(serial: str) -> None:
    try:
        accepted = parse_spec(f"adb:{serial}").serial
    except InvalidInputError:
        return
    assert accepted == serial
    assert shlex.quote(serial) == serial or "[" in serial  # IPv6 in brackets
    assert set(serial) <= set(string.ascii_letters + string.digits + "._-:[]")


@given(path=TOUCHY)
def test_only_plain_paths_below_the_temporary_folder(path: str) -> None:
    full = f"/data/local/tmp/{path}"
    try:
        check_path(full)
    except InvalidInputError:
        return
    assert shlex.quote(full) == full
    assert ".." not in path.split("/") and path.strip("/") == path


@pytest.mark.parametrize(
    "path", ["/sdcard/x", "/data/local/tmp", "/data/local/tmp/../x", "/data/local/tmp/a,b", "a"]
)
def test_other_paths_are_refused(path: str, link: AdbLink) -> None:
    with pytest.raises(InvalidInputError):
        link.push(b"", path)


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(words=st.lists(TOUCHY, max_size=5))
def test_words_arrive_as_they_are(link: AdbLink, adbd: Adbd, words: list[str]) -> None:
    """The phone's shell sees each argument whole, whatever it holds, and executes none."""
    result = link.shell(["printf", "%s\\0", *words])
    expected = "".join(f"{word}\0" for word in words or [""])
    assert result.stdout == expected.encode()
    service, _, command = adbd.received[-1].partition(":")
    assert service == "shell,v2,raw"
    assert shlex.split(command) == ["printf", "%s\\0", *words]
    assert not (set("$`;&|<>\n") & set("".join(_unquoted(command))))


def _unquoted(command: str) -> list[str]:
    """Characters outside quotes."""
    outside, quote_open = [], ""
    for character in command:
        if quote_open:
            quote_open = "" if character == quote_open else quote_open
        elif character in "'\"":
            quote_open = character
        else:
            outside.append(character)
    return outside


def test_script_arguments_are_data(link: AdbLink, adbd: Adbd) -> None:
    word = "$(touch owned); ' \" `id`\n.."
    assert link.script('printf %s "$1"', word).stdout == word.encode()
    assert not (adbd.phone.root / "owned").exists()


def test_no_words_and_nul_are_refused() -> None:
    for words in ([], ["a\0b"]):
        with pytest.raises(InvalidInputError):
            quote(words)


# --- what comes back ----------------------------------------------------------------------


def test_exit_status_and_bytes_per_stream(link: AdbLink) -> None:
    result = link.script(r"printf 'a\r\nb\377'; printf 'err\n' >&2; exit 41")
    assert (result.exit_code, result.stdout, result.stderr) == (41, b"a\r\nb\xff", b"err\n")
    assert result.message == "err"


def test_large_output_is_whole(link: AdbLink) -> None:
    result = link.shell(["seq", "1", "200000"])
    assert result.stdout.split() == [b"%d" % n for n in range(1, 200001)]


def test_push_appears_whole_with_its_mode(link: AdbLink, adbd: Adbd) -> None:
    data = bytes(range(256)) * 4000
    link.push(data, "/data/local/tmp/file-1", mode=0o755)
    target = adbd.phone.temporary / "file-1"
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in adbd.phone.temporary.iterdir()] == ["file-1"]
    target.unlink()


# --- faults that pass ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop", "drop_after", "truncate"])
def test_a_lost_answer_is_asked_for_again(link: AdbLink, adbd: Adbd, kind: str) -> None:
    adbd.faults = [Fault(kind, "seq", times=2)]
    assert link.shell(["seq", "3"]).stdout == b"1\n2\n3\n"
    assert sum("seq" in service for service in adbd.received) == 3


def test_a_hanging_command_is_asked_for_again(link: AdbLink, adbd: Adbd) -> None:
    adbd.faults = [Fault("hang", "seq")]
    assert link.shell(["seq", "2"], timeout_s=1).stdout == b"1\n2\n"


@pytest.mark.parametrize("after_bytes", [0, 100_000])
def test_a_drop_while_pushing(link: AdbLink, adbd: Adbd, after_bytes: int) -> None:
    adbd.faults = [Fault("drop_push", after_bytes=after_bytes, times=2)]
    data = b"model" * 60_000
    link.push(data, "/data/local/tmp/model")
    path = adbd.phone.temporary / "model"
    assert path.read_bytes() == data
    path.unlink()


def test_the_fourth_failure_is_reported(link: AdbLink, adbd: Adbd) -> None:
    adbd.faults = [Fault("drop", "seq", times=99)]
    error = failure(lambda: link.shell(["seq", "3"]))
    assert (error.reason, error.transient, error.exit_code) == ("dropped", True, 4)
    assert sum("seq" in service for service in adbd.received) == 4


def test_a_server_restart_is_survived(
    tmp_path: Path, make_phone: Callable[[], Adbd], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    server = AdbServer(tmp_path / "home")
    try:
        adbd = make_phone()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        spec = f"adb://127.0.0.1:{server.port}/{adbd.serial}"
        link = AdbLink(parse_spec(spec), reconnect_s=20, backoff_s=0.1)
        assert link.shell(["echo", "1"]).stdout == b"1\n"
        server.stop()
        again = threading.Timer(0.5, server.start)
        again.start()
        assert link.shell(["echo", "2"]).stdout == b"2\n"
        again.join()
    finally:
        server.stop()


def test_errors_cross_processes() -> None:
    error = copy.copy(LinkError("gone", reason="offline", transient=True))  # by __reduce__
    assert (str(error), error.reason, error.transient) == ("gone", "offline", True)


# --- faults that stay ----------------------------------------------------------------------


def test_no_space_left(link: AdbLink, adbd: Adbd) -> None:
    adbd.faults = [Fault("disk_full", after_bytes=50_000)]
    error = failure(lambda: link.push(b"x" * 200_000, "/data/local/tmp/model"))
    assert (error.reason, error.transient) == ("out_of_space", False)
    assert "free some" in str(error)
    (adbd.phone.temporary / "model.part").unlink()


def test_unauthorized_says_what_to_do(adbd: Adbd, server: AdbServer) -> None:
    adbd.state = "unauthorized"
    adbd.drop()
    error = failure(lambda: AdbLink(parse_spec(f"adb:{adbd.serial}"), reconnect_s=2))
    assert (error.reason, error.transient) == ("unauthorized", False)
    assert "accept the USB debugging prompt" in str(error)


def test_absent_phone_names_those_attached(adbd: Adbd) -> None:
    error = failure(lambda: AdbLink(parse_spec("adb:FA6AB0301534"), reconnect_s=0, backoff_s=0))
    assert error.reason == "not_found"
    assert adbd.serial in str(error)


def test_several_phones_are_listed(make_phone: Callable[[], Adbd]) -> None:
    first, second = make_phone(), make_phone()
    error = failure(lambda: AdbLink(parse_spec("adb")))
    assert error.reason == "several_devices"
    assert f"adb:{first.serial} (device)" in str(error)
    assert f"adb:{second.serial} (device)" in str(error)


def test_the_only_phone_needs_no_serial(adbd: Adbd) -> None:
    assert AdbLink(parse_spec("adb")).serial == adbd.serial


def test_no_phone_at_all(server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    error = failure(lambda: AdbLink(parse_spec("adb")))
    assert error.reason == "no_device"


def test_a_far_server_that_is_not_there_is_not_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    error = failure(lambda: AdbLink(parse_spec(f"adb://127.0.0.1:{port}/X"), backoff_s=0))
    assert error.reason == "server_unreachable"
    assert f"start one there: adb -a -P {port} nodaemon server" in str(error)


def test_something_else_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(20):
                try:
                    peer, _ = other.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(64)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = other.getsockname()[1]
        spec = parse_spec(f"adb://127.0.0.1:{port}/X")
        error = failure(lambda: AdbLink(spec, reconnect_s=0, backoff_s=0))
        assert error.reason == "dropped"
        other.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", ["absent", "no program"])
def test_an_adb_that_cannot_be_started(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "adb"
    if kind == "no program":
        program.write_text("of a folder that was unpacked without its modes")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(program))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(unused.getsockname()[1]))
        error = failure(lambda: AdbLink(parse_spec("adb")))
    assert (error.reason, error.transient, error.exit_code) == ("server_unreachable", False, 4)
    why = "No such file or directory" if kind == "absent" else "Permission denied"
    assert f"no adb server runs, and {program} cannot be started ({why})" in str(error)
    assert "ADBUTILS_ADB_PATH" in str(error)


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(unused.getsockname()[1]))
        monkeypatch.setattr(subprocess, "run", hang)
        error = failure(lambda: AdbLink(parse_spec("adb:X"), reconnect_s=0, backoff_s=0))
    assert error.reason == "server_unreachable"
