"""Keys of tasks in journals: what was measured is found again by them, version after version."""

import hashlib
from types import SimpleNamespace
from typing import Any

from profiler.devices.base import DeviceInfo, Workload
from profiler.measuring.task import Role, make_task
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space

INFO = DeviceInfo("cpu", "cpu", "a processor", "ONNX Runtime", "1.0", 1, "float32", 1)
PROTOCOL: Any = SimpleNamespace(digest="rules")


def key(workload, role=Role.OP):
    return make_task(workload, role, INFO, PROTOCOL).key


def digest(keys):
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()[:24]


def test_keys_of_the_ops_of_mbv3():
    for space, batch_size, expected in [
        (MobileNetV3Space(), 1, "ee79f602fc96347ff621762b"),
        (MobileNetV3Space(width_mult=1.2, resolution_px=160), 4, "79904975abedab16346e7030"),
        (open_space("mbv3-cifar"), 1, "9afc3c3e7d5be4575b721b0c"),
    ]:
        ops = space.distinct_ops(batch_size=batch_size)
        assert digest(key(Workload(name, (op,))) for name, op in ops.items()) == expected


def test_the_key_of_a_network_of_mbv3():
    space = MobileNetV3Space()
    arch = space.extremes()[1]
    workload = Workload(str(arch), tuple(space.ops(arch)))
    assert key(workload, Role.NETWORK) == "59a9582d1512f99ecac48b86"
