import fcntl
import os
import subprocess
import sys
import tempfile
import time

import pytest

from profiler.errors import DeviceUnavailableError
from profiler.system import lock
from profiler.system.lock import device_lock, file_lock

HOLD = """
import sys
from profiler.system.lock import device_lock
with device_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["socket", "file"])
def kind(request, monkeypatch, tmp_path):
    """Both kinds, on any machine that has both."""
    if request.param == "file":
        monkeypatch.setattr(lock, "_socket_lock", lambda label: file_lock(label, tmp_path))


@pytest.fixture
def hold():
    """Hold a device in another process."""
    processes = []

    def held(name):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout and process.stdout.readline() == b"held\n"
        return process

    yield held
    for process in processes:
        process.kill()
        process.communicate()


def refused(name, match="is at work"):
    with pytest.raises(DeviceUnavailableError, match=match), device_lock(name):
        pass
    return True


def test_a_lock_is_held_by_one_until_its_end(kind):
    with device_lock("adb:A/B"):
        assert refused("adb:A/B", r"is at work on adb:A/B; wait for it or stop it")
        with device_lock("adb:A-B"):
            pass
    with pytest.raises(RuntimeError), device_lock("adb:A/B"):
        raise RuntimeError
    with device_lock("adb:A/B"):
        pass
    assert DeviceUnavailableError.exit_code == 4


def test_the_second_process_is_told_who_holds_it_and_a_killed_one_leaves_no_lock(hold):
    process = hold("adb:A/B")
    for _ in range(3):  # each who asks is answered
        assert refused("adb:A/B", rf"another process \(pid {process.pid}\) is at work on adb:A/B")
    process.kill()
    process.wait()
    with device_lock("adb:A/B"):
        pass


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR", "HOME", "XDG_CACHE_HOME"])
def test_sessions_of_one_machine_share_its_locks(hold, monkeypatch, tmp_path, variable):
    hold("host cpu")
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what it found before
    assert refused("host cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_holder_of_another_user_is_named_with_its_user(hold, monkeypatch):
    process = hold("host cpu")
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert refused("host cpu", rf"\(pid {process.pid} of user {user}\) is at work")


def test_long_names_are_their_own(kind):
    """Two that end alike, and one longer than a socket's address or a file's name may be."""
    end = "/".join(["a" * 100, "b" * 100, "t.json"])
    with device_lock(f"table /x/{end}"), device_lock(f"table /y/{end}"), device_lock(f"ü {end}"):
        assert refused(f"table /x/{end}")
        assert refused(f"ü {end}")


# --- Files, where sockets have no abstract names ------------------------------------------


def test_nothing_is_overwritten_through_a_planted_file(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    precious.chmod(0o600)
    (tmp_path / "link.lock").symlink_to(precious)
    os.mkfifo(tmp_path / "fifo.lock")
    (tmp_path / "folder.lock").mkdir()
    for planted in ("link", "fifo", "folder"):
        with (
            pytest.raises(OSError, match=r"symbolic|directory|not a regular"),
            file_lock(planted, tmp_path),
        ):
            pass
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("precious", 0o600)


def test_a_lock_can_be_taken_by_other_users_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with file_lock("cpu", tmp_path):
            assert (tmp_path / "cpu.lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_files_go_with_their_locks_and_those_of_killed_processes_with_the_next(tmp_path):
    dead, of_others = tmp_path / "pnag-dead.lock", tmp_path / "notes.lock"
    dead.touch()
    of_others.touch()
    (tmp_path / "pnag-link.lock").symlink_to(of_others)
    with file_lock("pnag-first", tmp_path):
        assert not dead.exists()
        with file_lock("pnag-second", tmp_path):  # takes nothing that is held
            assert (tmp_path / "pnag-first.lock").exists()
        with pytest.raises(BlockingIOError), file_lock("pnag-first", tmp_path):
            pass
        assert (tmp_path / "pnag-first.lock").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"notes.lock", "pnag-link.lock"}


def test_a_file_that_its_holder_removes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Between open and flock the holder may end, and a third process lock a file of that name."""
    path = tmp_path / "pnag-cpu.lock"
    path.touch()
    flock = fcntl.flock
    replaced: list[bool] = []

    def ended_meanwhile(descriptor, operation):
        if not replaced:
            path.unlink()
            path.touch()
            replaced.append(True)
        flock(descriptor, operation)

    monkeypatch.setattr(lock, "_tidy", lambda folder: None)
    monkeypatch.setattr(fcntl, "flock", ended_meanwhile)
    with file_lock("pnag-cpu", tmp_path):
        assert replaced
        with pytest.raises(BlockingIOError), file_lock("pnag-cpu", tmp_path):
            pass
    assert not path.exists()


def test_one_that_tidies_does_not_look_like_a_holder(tmp_path, monkeypatch):
    path = tmp_path / "pnag-cpu.lock"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    monkeypatch.setattr(time, "sleep", lambda seconds: os.close(descriptor))
    with file_lock("pnag-cpu", tmp_path):
        assert path.exists()


def test_a_folder_that_cannot_be_used_is_said_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lock, "_socket_lock", lambda label: file_lock(label, tmp_path / "file"))
    assert refused("cpu", r"cannot lock cpu: .*file/pnag-.*: Not a directory")
