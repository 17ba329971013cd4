"""What a sweep measures, under keys that stay the same across processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from profiler.devices.base import DeviceInfo, ModelWorkload, Workload
from profiler.measuring.protocol import MeasuringProtocol


class Role(StrEnum):
    OP = "op"
    NETWORK = "network"
    REPEAT = "repeat"  # a hidden second measurement of an op or network


@dataclass(frozen=True, slots=True)
class Task:
    """One configuration to measure; `key` identifies its result across processes."""

    workload: Workload | ModelWorkload
    role: Role
    key: str


def make_task(
    workload: Workload | ModelWorkload, role: Role, info: DeviceInfo, protocol: MeasuringProtocol
) -> Task:
    """Key = hash of model, backend, flags, device and protocol.

    The boot and the runtime's version are left out: they make an epoch, not another key.
    """
    device = asdict(info)
    for name in ("spec", "runtime_version", "boot_id", "affinity", "os_release"):
        del device[name]
    parts = [*workload.identity, role, device, protocol.digest]
    text = json.dumps(parts, sort_keys=True)
    return Task(workload, role, hashlib.sha256(text.encode()).hexdigest()[:24])
