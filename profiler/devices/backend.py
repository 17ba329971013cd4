"""The record that makes a backend known, found by an entry point of the group `pnag.devices`.

A module with a record imports nothing heavy: vendors' SDKs wait until a device is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.errors import InvalidInputError
from profiler.printable import shown

if TYPE_CHECKING:
    from profiler.devices.base import Device, DeviceInfo, ModelDevice

MAX_THREADS, MAX_BATCH_SIZE = 4096, 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What every device is opened with.

    Raises:
        InvalidInputError: a count below one, or beyond any device.
    """

    threads: int = 1
    batch_size: int = 1
    precision: str = "float32"  # int8 | float16 | ..., where the runtime has it

    def __post_init__(self) -> None:
        if not (1 <= self.threads <= MAX_THREADS and 1 <= self.batch_size <= MAX_BATCH_SIZE):
            raise InvalidInputError(
                f"threads and batch size must be at least 1, and at most {MAX_THREADS} and "
                f"{MAX_BATCH_SIZE}, not {shown(self.threads)} and {shown(self.batch_size)}"
            )


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Of a backend that has no options of its own."""


def flag(name: str, meaning: str, *, recorded: bool = False) -> Mapping[str, Any]:
    """Metadata of a field of an options class that is an option of the command line too.

    Args:
        recorded: a table's device holds it (see `Backend.recorded`).
    """
    return {"flag": name, "help": meaning, "recorded": recorded}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would make numbers unsteady, and what to do about it."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device as `pnag devices` shows it."""

    spec: str
    model: str
    runtime: str
    measurable: bool
    reason: str = ""  # why not
    findings: tuple[Finding, ...] = ()


def nothing_to_discover() -> Sequence[DeviceStatus]:
    return ()


def nothing_recorded(info: DeviceInfo) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """All that is known of a backend before one of its devices is open.

    Attributes:
        name: the part of a spec before the colon, and the `platform` of its devices.
        forms: how its specs are written, for people.
        suffix: regular expression of what may follow the name in a spec; nothing by default.
        open: the device of a spec, under settings and an instance of `options`. Raises
            InvalidInputError and DeviceUnavailableError.
        options: a frozen dataclass with a default for every field. A field with the metadata of
            `flag` is an option of `pnag profile`.
        recorded: the recorded options of a table's device, by field.
        discover: its devices, for `pnag devices`; answers without the SDK too.
        protocols: names of its measuring protocols, full and quick.
        single_runs: a sample of one run is the time of that run, so that tails can be measured.
        shares_host: it works on this computer, where devices take their turns.
        model_formats: ends of the names of model files that it runs; its device is then a
            ModelDevice.
        open_models: how it opens for them, where that differs.
        queued: the host launches work ahead of the device, so that the longer of two sums bounds
            a network.
    """

    name: str
    forms: tuple[str, ...]
    suffix: str = ""
    open: Callable[[str, Settings, Any], Device]
    options: type[Any] = NoOptions
    recorded: Callable[[DeviceInfo], Mapping[str, Any]] = nothing_recorded
    discover: Callable[[], Sequence[DeviceStatus]] = nothing_to_discover
    protocols: tuple[str, str] = ("full", "quick")
    single_runs: bool = False
    shares_host: bool = True
    model_formats: tuple[str, ...] = ()
    open_models: Callable[[str, Settings, Any], ModelDevice] | None = None
    queued: bool = False
