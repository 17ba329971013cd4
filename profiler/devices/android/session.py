"""One visit to a phone: a folder of its own, and settings that are put back.

The folder's name carries this computer's name, so that what a killed visit left (files, jobs,
changed settings) is found and cleaned by the next one. What is changed is written there before.

Fixed performance mode would heat a phone that nobody comes back to. So a keeper on the phone puts
everything back when it has not heard from the visit for a while; a reboot ends the mode by itself.
Android says neither how the mode is now nor how it was: at the end it is switched off.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from profiler.devices.android.errors import LinkError
from profiler.devices.android.facts import PhoneIdentity
from profiler.devices.android.job import KILL
from profiler.devices.android.link import AdbLink
from profiler.devices.android.syntax import TEMPORARY
from profiler.errors import DeviceUnavailableError
from profiler.system.lock import device_lock

STAY_AWAKE = "stay_on_while_plugged_in"  # of the global settings; 7: on any power supply
SET_FIXED = "cmd power set-fixed-performance-mode-enabled"  # Android 11 and later
_SAVED, _FIXED = "stay_awake.saved", "fixed_performance.changed"

# $1 folder, $2 value: the old value is written down, whole, before it is changed; a try whose link
# dropped may still be at it, and have changed it while this one asked
_KEEP_AWAKE = f"""
saved=$1/{_SAVED}
if [ ! -s "$saved" ]; then
  settings get global {STAY_AWAKE} >"$saved.$$" && [ -s "$saved.$$" ] || exit 1
  [ -s "$saved" ] || mv "$saved.$$" "$saved" || exit 1
fi
settings put global {STAY_AWAKE} "$2" && input keyevent KEYCODE_WAKEUP
"""
# $folder: what was changed is as before
_RESTORE = f"""
  if [ -s "$folder/{_SAVED}" ]; then
    old=$(cat "$folder/{_SAVED}")
    case $old in
      null) settings delete global {STAY_AWAKE} >/dev/null ;;
      *) settings put global {STAY_AWAKE} "$old" ;;
    esac || exit 1
  fi
  if [ -e "$folder/{_FIXED}" ]; then
    {SET_FIXED} false >&2 || exit 1
  fi
"""
# $@ folders: stop what runs there, put settings back, remove
_CLEAN = f"""
for folder in "$@"; do
  set -- "$folder"/run-* "$folder/keeper"
  {KILL}{_RESTORE}  rm -rf "$folder" || exit 1
done
"""
_UPTIME = "read -r up rest </proc/uptime; up=${up%%.*}"  # no clock that somebody sets
# $1 folder, $2 seconds without a sign of life, $3 seconds between looks; in folder/keeper
_KEEPER = f"""
folder=$1
echo $$ >pid
while [ -e "$folder/lease" ]; do
  sleep "$3"
  {_UPTIME}
  last=$(cat "$folder/lease") && [ $((up - last)) -gt "$2" ] || continue
  (
    set -- "$folder"/run-*
    {KILL}{_RESTORE}
  ) && cd / && rm -rf "$folder"
done
"""
# $1 folder, $2 keeper, then its arguments: written down, watched, and only then switched on
_FIX = f"""
trap '' HUP
folder=$1 keeper=$2; shift 2
: >"$folder/{_FIXED}"
{_UPTIME}
echo "$up" >"$folder/lease.part" && mv "$folder/lease.part" "$folder/lease" || exit 1
if mkdir "$folder/keeper" 2>/dev/null; then
  (cd "$folder/keeper" && exec setsid sh -c "$keeper" keeper "$folder" "$@") \\
    </dev/null >/dev/null 2>&1 &
fi
for i in 1 2 3 4 5 6 7 8 9 10; do
  [ -s "$folder/keeper/pid" ] && break
  sleep 0.2
done
[ -s "$folder/keeper/pid" ] || exit 1
{SET_FIXED} true >&2 || {{ rm "$folder/{_FIXED}"; exit 1; }}
"""
# $1 folder; nothing is written where the keeper has been
_RENEW = f"""
{_UPTIME}
echo "$up" >"$1/lease.part" && mv "$1/lease.part" "$1/lease"
"""


@contextmanager
def phone_lock(serial: str, phone: PhoneIdentity) -> Iterator[None]:
    """Hold a phone for the block, also where it is attached under another serial (USB, TCP).

    Raises:
        DeviceUnavailableError: another process has it.
    """
    names = [f"phone {serial}"]
    if phone.serialno and phone.boot_id:  # some makes give all their phones one number
        names.append(f"phone {phone.serialno} of boot {phone.boot_id[:8]}")
    with ExitStack() as held:
        for name in names:
            held.enter_context(device_lock(name))
        yield


class PhoneSession:
    """Makes the folder at once; `close` leaves the phone as it was found."""

    def __init__(self, link: AdbLink) -> None:
        self._link, self._fixed = link, False
        host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"
        self._prefix = f"pnag-{host}-"
        self.folder = f"{TEMPORARY}/{self._prefix}{secrets.token_hex(6)}"
        self._remove_stale()
        result = link.shell(["mkdir", "-p", self.folder])
        if result.exit_code != 0:
            raise DeviceUnavailableError(
                f"{link.serial} does not let the shell write to {TEMPORARY} ({result.message})"
            )

    def keep_awake(self) -> None:
        """Screen on while powered: with the screen off all threads may share one small core."""
        result = self._link.script(_KEEP_AWAKE, self.folder, "7")
        if result.exit_code != 0:
            raise DeviceUnavailableError(
                f"{self._link.serial} does not let its settings be changed ({result.message}); "
                "on some brands switch on 'USB debugging (Security settings)'"
            )

    def fix_performance(self, lease_s: float) -> None:
        """Clocks that the phone can hold, until the end or `lease_s` without `renew`.

        Raises:
            DeviceUnavailableError: the phone does not have the mode.
        """
        look_s = min(10.0, lease_s / 4)
        result = self._link.script(_FIX, self.folder, _KEEPER, f"{lease_s:g}", f"{look_s:g}")
        if result.exit_code != 0:
            raise DeviceUnavailableError(
                f"{self._link.serial} has no fixed performance mode ({result.message}); leave out "
                "--fixed-performance"
            )
        self._fixed = True

    def renew(self) -> None:
        """Tell the keeper that this visit goes on.

        Raises:
            DeviceUnavailableError: it has ended the visit.
        """
        if self._fixed and self._link.script(_RENEW, self.folder).exit_code != 0:
            raise DeviceUnavailableError(
                f"{self._link.serial} was not heard of for so long that it left fixed performance "
                "mode; go on with --resume"
            )

    def close(self) -> None:
        """Stop jobs, restore settings, remove files.

        Raises:
            DeviceUnavailableError: the phone is gone; the next session cleans it.
        """
        try:
            self._clean([self.folder])
        except LinkError as error:
            raise DeviceUnavailableError(
                f"{self._link.serial} could not be cleaned ({error}); the next session does it"
            ) from None

    def _remove_stale(self) -> None:
        names = self._link.shell(["ls", TEMPORARY]).text.split()
        stale = [
            f"{TEMPORARY}/{n}" for n in names if re.fullmatch(self._prefix + "[0-9a-f]{12}", n)
        ]
        if stale:
            self._clean(stale)

    def _clean(self, folders: list[str]) -> None:
        result = self._link.script(_CLEAN, *folders, timeout_s=60)
        if result.exit_code != 0:
            raise DeviceUnavailableError(
                f"{self._link.serial} could not be cleaned ({result.message})"
            )
