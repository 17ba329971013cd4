"""One visit to a phone at a time, by whatever link; its scripts, cut off and tried again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.devices.android.device import AndroidDevice, discover
from profiler.devices.android.link import AdbLink
from profiler.devices.android.session import _KEEP_AWAKE, _RESTORE, STAY_AWAKE, PhoneSession
from profiler.errors import DeviceUnavailableError
from tests.adbd import Adbd
from tests.phone import COMMANDS, Phone

# one `settings get` in this test's life ends badly: the shell that asked is gone before the answer,
# or there is none, or another try of the same script is done by then
CUT_OFF = "kill -KILL $PPID; exit"
NO_ANSWER = "exit 0"
OVERTAKEN = 'cd "$FOLDER" && sh -c "$SCRIPT" pnag "$FOLDER" 7'


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    phone = Phone(tmp_path / "phone")
    (phone.temporary / "visit").mkdir()
    return phone


def run_script(phone: Phone, text: str, *arguments: str) -> int:
    folder = str(phone.temporary / "visit")
    return subprocess.run(
        [phone.shell, "-c", f'folder="$1"; {text}', "pnag", folder, *arguments],
        env=phone.environment() | {"FOLDER": folder, "SCRIPT": _KEEP_AWAKE},
        check=False,
    ).returncode


@pytest.mark.parametrize("fault", [CUT_OFF, NO_ANSWER, OVERTAKEN])
@pytest.mark.parametrize("before", [None, "3"])
def test_what_was_is_kept_whole_or_asked_for_again(
    phone: Phone, fault: str, before: str | None
) -> None:
    if before is not None:
        phone.setting(STAY_AWAKE, before)
    once = f'if [ "$1" = get ] && mkdir "$PHONE/state/faulty" 2>/dev/null; then {fault}; fi'
    (phone.root / "bin/settings").write_text(f"#!/bin/sh\n{once}\n{COMMANDS['settings']}\n")
    first = run_script(phone, _KEEP_AWAKE, "7")
    assert (first == 0) == (fault == OVERTAKEN)
    assert phone.setting(STAY_AWAKE) == ("7" if fault == OVERTAKEN else before)
    assert run_script(phone, _KEEP_AWAKE, "7") == 0
    assert phone.setting(STAY_AWAKE) == "7"
    assert run_script(phone, _RESTORE) == 0
    assert phone.setting(STAY_AWAKE) == before


def test_the_lease_is_never_there_in_part(adbd: Adbd, link: AdbLink) -> None:
    """The keeper, which may read it at any moment, would end by an empty one."""
    session = PhoneSession(link)
    (folder,) = adbd.phone.temporary.iterdir()
    session.fix_performance(600)
    first = (folder / "lease").stat().st_ino
    session.fix_performance(600)  # as it is tried again after a drop
    assert (folder / "lease").stat().st_ino != first
    session.close()


@pytest.mark.parametrize(
    ("serialno", "same_boot", "is_one"),
    [
        ("FA6AB0301534", True, True),
        ("0123456789ABCDEF", False, False),  # as all tablets of some makes have
        ("EMULATOR35X1X12X0", True, False),  # as all emulators have; these, from one snapshot
        ("", True, False),
    ],
)
def test_a_phone_attached_by_usb_and_tcp_is_one(
    make_phone: Callable[[], Adbd], make_device: Callable[..., AndroidDevice],
    serialno: str, same_boot: bool, is_one: bool,
) -> None:  # fmt: skip
    """The second visit would clean away what the first has at work there."""
    usb, tcp = make_phone(), make_phone()
    for adbd in (usb, tcp):
        adbd.phone.set_properties(ro__serialno=serialno)
    if same_boot:
        boot_id = "proc/sys/kernel/random/boot_id"
        (tcp.phone.root / boot_id).write_text((usb.phone.root / boot_id).read_text())
    with make_device(usb):
        if is_one:
            with pytest.raises(DeviceUnavailableError, match="is at work on phone FA6AB0301534"):
                make_device(tcp)
        else:
            make_device(tcp).close()
        measurable = {status.spec: status.measurable for status in discover()}
    assert measurable == {f"adb:{usb.serial}": False, f"adb:{tcp.serial}": not is_one}
    make_device(tcp).close()
