"""The scripts of a visit, cut off and tried again as a link that drops does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from profiler.devices.android.link import AdbLink
from profiler.devices.android.session import _KEEP_AWAKE, _RESTORE, STAY_AWAKE, PhoneSession
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
