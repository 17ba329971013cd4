"""The phone inside a folder: its paths, its system commands and its state, for the test adbd."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import uuid
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
MAX_CLOCKS_KHZ = (1593600, 1593600, 2150400, 2150400)  # Snapdragon 821: two and two Kryo cores
ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
MOVED = (  # paths of the phone that live in the folder
    "/data/local/tmp",
    "/sys/devices/system/cpu",
    "/proc/sys/kernel/random/boot_id",
    "/proc/loadavg",
)

COMMANDS = {
    # power set-fixed-performance-mode-enabled true|false; exit 255 without the Power HAL's AIDL
    "cmd": 'if [ -e "$PHONE/state/no_power_hal" ]; then '
    'echo "Failed to set FIXED_PERFORMANCE mode" >&2; exit 255; fi; '
    'echo "$3" >"$PHONE/settings/$1.fixed_performance"; '
    'echo "$3" >>"$PHONE/state/fixed_performance"',
    "getprop": 'cat "$PHONE/state/getprop"',
    "dumpsys": 'cat "$PHONE/state/dumpsys.$1"',
    "df": 'cat "$PHONE/state/df"',
    "logcat": 'cat "$PHONE/state/logcat"',
    "taskset": 'echo "$1" >>"$PHONE/state/affinity"; shift; exec "$@"',
    "input": 'echo "$@" >>"$PHONE/state/input"; '
    'echo "  mWakefulness=Awake" >"$PHONE/state/dumpsys.power"',
    # get NAMESPACE KEY | put NAMESPACE KEY VALUE | delete NAMESPACE KEY
    "settings": 'f="$PHONE/settings/$2.$3"; case $1 in get) cat "$f" 2>/dev/null || echo null;; '
    'put) echo "$4" >"$f";; delete) rm -f "$f";; esac',
}


class Phone:
    """The state of a phone that is awake, cool and charged, until a test changes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shell = shutil.which("mksh") or "/bin/sh"  # Android's shell is mksh
        self.abi = ABIS[platform.machine()]
        self.noexec = False  # /data mounted noexec
        for name in ("state", "settings", "bin", *(moved.lstrip("/") for moved in MOVED[:2])):
            (root / name).mkdir(parents=True)
        for name, body in COMMANDS.items():
            command = root / "bin" / name
            command.write_text(f"#!/bin/sh\n{body}\n")
            command.chmod(0o755)
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/loadavg").write_text("0.31 0.25 0.20 1/1200 4242\n")
        for cpu, clock_khz in enumerate(MAX_CLOCKS_KHZ):
            folder = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
            folder.mkdir(parents=True)
            (folder / "cpuinfo_max_freq").write_text(f"{clock_khz}\n")
            (folder / "scaling_cur_freq").write_text(f"{clock_khz}\n")
        self.new_boot_id()
        self.set_properties()
        self.set_battery()
        self.set_thermal(0)
        self.set_free_kib(20_000_000)
        self.put("dumpsys.power", "POWER MANAGER (dumpsys power)\n  mWakefulness=Awake\n")
        self.put("logcat", "--------- beginning of main\n")
        self.setting("low_power", "0")

    @property
    def temporary(self) -> Path:
        """What /data/local/tmp is on the host."""
        return self.root / "data/local/tmp"

    def inside(self, text: str) -> str:
        for path in MOVED:
            text = text.replace(path, f"{self.root}{path}")
        return text

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "PHONE": str(self.root),
            "PYTHONPATH": str(REPOSITORY),
            "HOME": "/",
            "OMP_NUM_THREADS": "1",
        }

    def put(self, name: str, text: str) -> None:
        (self.root / "state" / name).write_text(text)

    def get(self, name: str) -> str:
        return (self.root / "state" / name).read_text()

    def setting(self, key: str, value: str | None = None) -> str | None:
        """Read a global setting, or write it."""
        path = self.root / f"settings/global.{key}"
        if value is not None:
            path.write_text(value + "\n")
        return path.read_text().strip() if path.exists() else None

    @property
    def fixed_performance(self) -> bool:
        path = self.root / "settings/power.fixed_performance"
        return path.exists() and path.read_text() == "true\n"

    def boot(self) -> None:
        """Settings stay; modes of the power HAL do not."""
        (self.root / "settings/power.fixed_performance").unlink(missing_ok=True)
        self.new_boot_id()

    def new_boot_id(self) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")

    def set_properties(self, **changes: str) -> None:
        properties = {
            "ro.product.model": "Pixel",
            "ro.board.platform": "msm8996",
            "ro.product.cpu.abilist": self.abi,
            "ro.build.version.release": "10",
            "ro.build.version.sdk": "29",
        } | {name.replace("__", "."): value for name, value in changes.items()}
        self.put("getprop", "".join(f"[{k}]: [{v}]\n" for k, v in properties.items()))

    def set_battery(self, *, level_pct: int = 87, temperature_c: float = 28.4) -> None:
        self.put(
            "dumpsys.battery",
            "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n"
            f"  level: {level_pct}\n  scale: 100\n  voltage: 4215\n"
            f"  temperature: {round(10 * temperature_c)}\n  technology: Li-ion\n",
        )

    def set_thermal(self, status: int) -> None:
        self.put(
            "dumpsys.thermalservice",
            f"IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 1\n"
            f"Thermal Status: {status}\nCached temperatures:\nHAL Ready: true\n",
        )

    def set_free_kib(self, free_kib: int) -> None:
        self.put(
            "df",
            "Filesystem      1K-blocks     Used Available Use% Mounted on\n"
            f"/dev/block/dm-2  25000000  1000000 {free_kib}   5% /data\n",
        )


def executable_of(script: Path) -> bytes:
    """A native program of this machine (x86-64 ELF) that runs a Python script with its arguments.

    It replaces argc by the interpreter and argv[0] by the script, so that the words on the stack
    are the new argument vector, and calls execve.
    """
    if platform.machine() != "x86_64":
        raise RuntimeError("the test phone's program is written for x86-64")
    base, header = 0x400000, 64 + 56
    python, path = os.fsencode(sys.executable) + b"\0", os.fsencode(script) + b"\0"

    def code(python_at: int, path_at: int) -> bytes:
        return (
            b"\x48\x8b\x0c\x24"  # mov rcx, [rsp]: argc
            b"\x48\x8d\x54\xcc\x10"  # lea rdx, [rsp + 8 * rcx + 16]: the environment
            b"\x48\xbf" + python_at.to_bytes(8, "little") +  # mov rdi, python
            b"\x48\x89\x3c\x24"  # mov [rsp], rdi
            b"\x48\xb8" + path_at.to_bytes(8, "little") +  # mov rax, script
            b"\x48\x89\x44\x24\x08"  # mov [rsp + 8], rax
            b"\x48\x89\xe6"  # mov rsi, rsp
            b"\xb8\x3b\x00\x00\x00\x0f\x05"  # execve
            b"\xbf\x7f\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05"  # exit(127)
        )  # fmt: skip

    start = base + header
    strings_at = start + len(code(0, 0))
    text = code(strings_at, strings_at + len(python)) + python + path
    size = header + len(text)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = [(2, 2), (62, 2), (1, 4), (start, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2),
              (1, 2), (64, 2), (0, 2), (0, 2)]  # fmt: skip
    segment = [(1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (size, 8), (size, 8), (4096, 8)]
    packed = b"".join(value.to_bytes(width, "little") for value, width in [*fields, *segment])
    return ident + packed + text
