"""Devices without hardware: one in closed form, one that answers from a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.devices.backend import Backend, NoOptions, Settings
from profiler.numerals import WHOLE

if TYPE_CHECKING:
    from profiler.devices.base import Device
    from profiler.spaces.networks import NetworkSpace


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`space`: what is going to be measured, where the table must be of it."""

    space: NetworkSpace | None = None


def open_fake(spec: str, settings: Settings, _: NoOptions) -> Device:
    from profiler.devices.simulated.fake import FakeDevice

    return FakeDevice(int(spec.partition(":")[2] or 0), **asdict(settings))


def open_replay(spec: str, settings: Settings, options: ReplayOptions) -> Device:
    from profiler.devices.simulated.replay import ReplayDevice

    path = Path(spec.partition(":")[2])
    return ReplayDevice(path, space=options.space, **asdict(settings))


FAKE = Backend(
    name="fake",
    forms=("fake[:SEED]",),
    suffix=f"(:{WHOLE})?",
    open=open_fake,
    single_runs=True,
)
REPLAY = Backend(
    name="replay",
    forms=("replay:TABLE",),
    suffix=":.+",
    open=open_replay,
    options=ReplayOptions,
)
