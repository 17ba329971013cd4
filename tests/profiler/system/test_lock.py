import subprocess
import sys

import pytest

from profiler.errors import DeviceUnavailableError
from profiler.system.lock import device_lock, lock_directory

HOLD = """
import sys
from pathlib import Path
from profiler.system.lock import device_lock
with device_lock(sys.argv[1], Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, "adb:A/B", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_refused_and_told_who_holds_it(holder, tmp_path):
    refused = pytest.raises(
        DeviceUnavailableError, match=rf"pid {holder.pid}\) is measuring on adb:A"
    )
    with refused, device_lock("adb:A/B", tmp_path):
        pass
    assert DeviceUnavailableError.exit_code == 4


def test_another_device_is_free(holder, tmp_path):
    with device_lock("adb:C", tmp_path):
        pass


def test_a_killed_holder_leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()
    with device_lock("adb:A/B", tmp_path):
        pass


def test_the_directory_is_per_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert lock_directory() == tmp_path / "pnag"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "of-another-user"))
    assert lock_directory().name.startswith("pnag-")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert lock_directory().name.startswith("pnag-")


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(DeviceUnavailableError, match=r"cannot lock .*file/locks.*directory")
    with refused, device_lock("cpu", tmp_path / "file" / "locks"):
        pass
