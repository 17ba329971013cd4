"""The user's benchmark program: right machine, runs at all, which of the two official tools it is,
and which flags it really knows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from profiler.devices.android.benchmark_lines import known_flags
from profiler.devices.android.benchmark_tool import BenchmarkTool, recognised
from profiler.devices.android.link import AdbLink
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.system.user_files import read_bytes

_MACHINES = {  # ELF e_machine (and class) -> Android ABI
    (183, 2): "arm64-v8a",
    (40, 1): "armeabi-v7a",
    (62, 2): "x86_64",
    (3, 1): "x86",
    (243, 2): "riscv64",
}


@dataclass(frozen=True, slots=True)
class BenchmarkBinary:
    """A program for one ABI, as read from the user's disk."""

    path: Path
    content: bytes
    abi: str


def load_binary(path: Path | None) -> BenchmarkBinary:
    """Read and identify the file given as `--benchmark-binary`.

    Raises:
        InvalidInputError: none given, unreadable, not a program, or not for Android's machines.
    """
    if path is None:
        raise InvalidInputError(
            "measuring on Android needs --benchmark-binary PATH: TFLite's benchmark_model for the "
            "phone (pnag help android says how to get one)"
        )
    content = read_bytes(path)
    return BenchmarkBinary(path, content, elf_abi(content, path))


def elf_abi(content: bytes, path: Path) -> str:
    """Android's name of the machine that an ELF file is for (elf.h: EI_CLASS, e_type, e_machine).

    Raises:
        InvalidInputError: not an ELF executable of a machine that Android runs on.
    """
    if len(content) < 20 or content[:4] != b"\x7fELF" or content[5] != 1:
        raise InvalidInputError(
            f"{path} is not a program for Android (no little-endian ELF header)"
        )
    elf_type, machine = struct.unpack_from("<HH", content, 16)
    abi = _MACHINES.get((machine, content[4]))
    if elf_type not in (2, 3) or abi is None:
        raise InvalidInputError(f"{path} is not an executable for Android (machine {machine})")
    return abi


def foreign(binary: BenchmarkBinary, abis: tuple[str, ...]) -> list[InvalidInputError]:
    """Why a phone with `abis` does not run this program; empty where it does."""
    if not abis or binary.abi in abis:
        return []
    listed = ", ".join(abis)
    return [InvalidInputError(f"{binary.path} is built for {binary.abi}; this phone runs {listed}")]


def probe(link: AdbLink, path: str) -> tuple[BenchmarkTool, frozenset[str]]:
    """Execute the pushed program once (`--help`): which tool it is, and the flags it knows.

    Raises:
        DeviceUnavailableError: it does not execute here, or is too old or too different.
    """
    result = link.shell([path, "--help"], timeout_s=60)
    text = (result.stdout + b"\n" + result.stderr).decode(errors="replace")
    if result.exit_code in (126, 127) or "CANNOT LINK" in text or "cannot execute" in text:
        raise DeviceUnavailableError(
            f"{link.serial} cannot execute {path} ({result.message}); is {path.rpartition('/')[0]} "
            "mounted noexec, or is a library missing? Link benchmark_model statically"
        )
    flags = known_flags(text)
    if not flags:
        raise DeviceUnavailableError(
            f"{path} listed no flags when asked for --help ({result.message}); is it TFLite's or "
            "LiteRT's benchmark_model, whole, and for this phone?"
        )
    tool = recognised(flags)
    missing = sorted(tool.needs - flags)
    if missing:
        raise DeviceUnavailableError(
            f"this {tool.runtime} does not know --{missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; build a newer one (pnag help android)"
        )
    return tool, flags & (tool.needs | tool.knows)
