"""One visit to a phone: a folder of its own, and settings that are put back.

The folder's name carries this computer's name, so that what a killed visit left (files, jobs,
changed settings) is found and cleaned by the next one.
"""

from __future__ import annotations

import re
import secrets
import socket

from profiler.devices.android.errors import LinkError
from profiler.devices.android.job import KILL
from profiler.devices.android.link import AdbLink
from profiler.devices.android.syntax import TEMPORARY
from profiler.errors import DeviceUnavailableError

STAY_AWAKE = "stay_on_while_plugged_in"  # of the global settings; 7: on any power supply
_SAVED = "stay_awake.saved"

# $1 folder, $2 value: the old value is written down before it is changed
_KEEP_AWAKE = f"""
[ -e "$1/{_SAVED}" ] || settings get global {STAY_AWAKE} >"$1/{_SAVED}" || exit 1
settings put global {STAY_AWAKE} "$2" && input keyevent KEYCODE_WAKEUP
"""
# $@ folders: stop what runs there, put settings back, remove
_CLEAN = f"""
for folder in "$@"; do
  set -- "$folder"/run-*
  {KILL}  if [ -s "$folder/{_SAVED}" ]; then
    old=$(cat "$folder/{_SAVED}")
    case $old in
      null) settings delete global {STAY_AWAKE} >/dev/null ;;
      *) settings put global {STAY_AWAKE} "$old" ;;
    esac || exit 1
  fi
  rm -rf "$folder" || exit 1
done
"""


class PhoneSession:
    """Makes the folder at once; `close` leaves the phone as it was found."""

    def __init__(self, link: AdbLink) -> None:
        self._link = link
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
