"""What a phone is and how it is now, read through its shell; None where it does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.devices.android.link import AdbLink
from profiler.measuring.protocol import PHONE_LIMITS
from profiler.numerals import whole_number

THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
CPU_FOLDER = "/sys/devices/system/cpu"

_DIGITS = "[0-9]{1,9}"  # more are no number of a phone's

_IDENTITY = f"""
getprop
echo "[pnag.boot_id]: [$(cat /proc/sys/kernel/random/boot_id)]"
echo "[pnag.kernel]: [$(uname -r)]"
for tool in setsid taskset sha256sum; do
  command -v $tool >/dev/null && echo "[pnag.tool.$tool]: [1]"
done
for cpu in {CPU_FOLDER}/cpu[0-9]*; do
  echo "[pnag.max_khz.${{cpu##*/cpu}}]: [$(cat "$cpu/cpufreq/cpuinfo_max_freq" 2>/dev/null)]"
done
"""
_NOW = f"""
echo "pnag.boot_id=$(cat /proc/sys/kernel/random/boot_id)"
dumpsys battery
dumpsys thermalservice 2>/dev/null | grep -m1 'Thermal Status'
dumpsys power | grep -m1 'mWakefulness='
echo "pnag.low_power=$(settings get global low_power)"
echo "pnag.load=$(cat /proc/loadavg)"
echo "pnag.clock_khz=$(cat {CPU_FOLDER}/cpu"$1"/cpufreq/scaling_cur_freq 2>/dev/null)"
"""


@dataclass(frozen=True, slots=True)
class PhoneIdentity:
    """What stays until the next boot."""

    model: str
    platform: str | None
    android_release: str | None
    kernel: str | None
    boot_id: str
    abis: tuple[str, ...]
    max_clocks_khz: tuple[int | None, ...]  # by core
    tools: frozenset[str]
    serialno: str | None = None  # its own, by whatever link; None where others have the same

    @property
    def max_clock_mhz(self) -> float | None:
        """Of the fastest core; None where nothing tells it."""
        return max((khz for khz in self.max_clocks_khz if khz), default=0) / 1e3 or None

    def big_cores(self, threads: int) -> tuple[int, ...] | None:
        """The fastest cores by their maximum clock: whole clusters, enough for `threads`.

        >>> phone = PhoneIdentity("", "", "", "", "", (), (1593, 1593, 2150, 2150), frozenset())
        >>> phone.big_cores(1), phone.big_cores(3)
        ((2, 3), (0, 1, 2, 3))
        """
        clocks = {core: khz for core, khz in enumerate(self.max_clocks_khz) if khz}
        chosen: list[int] = []
        for clock in sorted(set(clocks.values()), reverse=True):
            if len(chosen) < threads:
                chosen += [core for core, khz in clocks.items() if khz == clock]
        return tuple(sorted(chosen)) or None


@dataclass(frozen=True, slots=True)
class PhoneState:
    """What drifts."""

    boot_id: str | None
    battery_pct: int | None
    battery_c: float | None
    thermal_status: int | None  # Android 10 and later; 0 is none
    awake: bool | None
    battery_saver: bool | None
    load_1min: float | None
    clock_mhz: float | None

    @property
    def thermal_name(self) -> str:
        status = self.thermal_status or 0
        return THERMAL_NAMES[status] if status < len(THERMAL_NAMES) else str(status)

    def blockers(self, *, hot_too: bool = True) -> list[str]:
        """Why its numbers would be unsteady now; without `hot_too` it may be hot."""
        found, limits = [], PHONE_LIMITS
        if self.thermal_status and hot_too:
            found.append(f"thermal status {self.thermal_status} ({self.thermal_name}); let it cool")
        if hot_too and self.battery_c is not None and self.battery_c > limits.max_battery_c:
            found.append(f"battery at {self.battery_c:g} °C, above {limits.max_battery_c:g} °C")
        if self.battery_pct is not None and self.battery_pct < limits.min_battery_pct:
            least = limits.min_battery_pct
            found.append(f"battery at {self.battery_pct} %, below {least} %; charge it")
        if self.battery_saver:
            found.append("battery saver is on; switch it off")
        if self.awake is False:
            found.append("the screen is off; wake it and keep it on")
        return found


def read_identity(link: AdbLink) -> PhoneIdentity:
    values = dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]$", link.script(_IDENTITY).text, re.M))
    clocks = {
        int(core[1]): whole_number(khz)
        for name, khz in values.items()
        if (core := re.fullmatch(r"pnag\.max_khz\.([0-9]{1,4})", name))
    }
    serialno = values.get("ro.serialno", "")
    abis = values.get("ro.product.cpu.abilist") or values.get("ro.product.cpu.abi", "")
    return PhoneIdentity(
        model=values.get("ro.product.model") or "Android device",
        platform=values.get("ro.soc.model") or values.get("ro.board.platform"),
        android_release=values.get("ro.build.version.release"),
        kernel=values.get("pnag.kernel"),
        boot_id=values.get("pnag.boot_id", ""),
        abis=tuple(abi for abi in abis.split(",") if abi),
        max_clocks_khz=tuple(clocks.get(core) for core in range(max(clocks, default=-1) + 1)),
        tools=frozenset(t for n in values if (t := n.removeprefix("pnag.tool.")) != n),
        serialno=None if serialno.startswith("EMULATOR") else serialno or None,
    )


def read_state(link: AdbLink, cores: Sequence[int] | None) -> PhoneState:
    """`cores`: those that the work runs on; the clock is that of the first."""
    text = link.script(_NOW, str(cores[0] if cores else 0)).text

    def find(pattern: str) -> str | None:
        match = re.search(pattern, text, re.M)
        return match[1] if match else None

    level, tenths = find(rf"^\s*level: ({_DIGITS})$"), find(rf"^\s*temperature: (-?{_DIGITS})$")
    thermal, wakefulness = find(rf"Thermal Status: ({_DIGITS})\b"), find(r"mWakefulness=(\w+)")
    saver = find(r"^pnag\.low_power=([01])$")
    load, clock = (
        find(rf"^pnag\.load=({_DIGITS}(?:\.{_DIGITS})?) "),
        find(rf"^pnag\.clock_khz=({_DIGITS})$"),
    )
    return PhoneState(
        boot_id=find(r"^pnag\.boot_id=(\S+)$"),
        battery_pct=int(level) if level else None,
        battery_c=int(tenths) / 10 if tenths else None,
        thermal_status=int(thermal) if thermal else None,
        awake=wakefulness == "Awake" if wakefulness else None,
        battery_saver=saver == "1" if saver else None,
        load_1min=float(load) if load else None,
        clock_mhz=int(clock) / 1e3 if clock else None,
    )
