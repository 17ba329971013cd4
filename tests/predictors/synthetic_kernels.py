"""A table of kernels whose latencies follow known costs."""

import numpy as np

from predictors.latency.kernel_work import work
from profiler.devices.base import DeviceInfo
from profiler.models.kernel import Kernel
from profiler.system.processor import vector_instructions
from profiler.tables.table import Entry, LatencyTable, NetworkEntry, SpaceRef, Verdict

DEVICE = DeviceInfo("cpu", "cpu", "a processor", "onnxruntime", "1.32", 1, "float32", 1)
COLD, INTERCEPT_MS = 1.3, 0.05  # a kernel in a network takes longer than alone
LENGTHS = (40,)  # of networks, in turn


def convolution(channels, out, side, groups=1):
    weights = ((out, channels // groups, 3, 3), (out,))
    attributes = (("group", groups), ("pads", (1, 1, 1, 1)))
    shapes = ((1, channels, side, side),), weights, ((1, out, side, side),)
    return Kernel("nchwc.Conv", *shapes, attributes)


def relu(channels, side):
    return Kernel("Relu", ((1, channels, side, side),), (), ((1, channels, side, side),))


def true_ms(kernel):
    """2 µs, 0.3 ns a multiply-add of a vector, 1 ns an element."""
    amounts = work(kernel).amounts
    vectors = sum(amounts.get(name, 0.0) for name in ("vectors", "single"))
    return 0.002 + 0.3e-6 * vectors + 1e-6 * amounts["written"]


def drawn(rng, n):
    kernels = []
    for _ in range(n):
        channels, out = 16 * rng.integers(1, 30, size=2)
        side = int(rng.choice([7, 14, 28, 56]))
        kind = rng.integers(3)
        if kind == 0:
            kernels.append(convolution(int(channels), int(channels), side, int(channels)))
        elif kind == 1:
            kernels.append(convolution(int(channels), int(out), side))
        else:
            kernels.append(relu(int(channels), side))
    return kernels


def network_ms(kernels):
    return INTERCEPT_MS + COLD * sum(map(true_ms, kernels))


def synthetic(*, told=True, noise=0.0, n_networks=24, n_alone=60, seed=0):
    """A table of three families; `told`: shares of kernels are known."""
    rng = np.random.default_rng(seed)
    ops, networks, kernels = {}, [], {}

    def entry(latency_ms):
        return {"latency_ms": latency_ms * rng.lognormal(0, noise), "verdict": Verdict.STABLE}

    def ran(parts):
        times = np.array([true_ms(kernel) for kernel in parts])
        shares = times / times.sum() if told else [None] * len(parts)
        return tuple(
            (k.key, s if s is None else float(s)) for k, s in zip(parts, shares, strict=True)
        )

    for at, kernel in enumerate(drawn(rng, n_alone)):
        ops[f"alone {at}"] = Entry(**entry(true_ms(kernel)))
        kernels[f"alone {at}"] = ran([kernel])
    for at in range(n_networks):
        parts = drawn(rng, LENGTHS[at // 3 % len(LENGTHS)])
        name = f"{'abc'[at % 3]} {at}"
        networks.append(NetworkEntry(arch=name, **entry(network_ms(parts))))
        kernels[name] = ran(parts)
    return LatencyTable(
        space=SpaceRef(name="kernels", width_mult=1.0, resolution_px=224), device=DEVICE,
        protocol={"vector_instructions": vector_instructions()},
        ops=ops, networks=tuple(networks), kernels=kernels,
        created="2026-01-01T00:00:00+00:00", tool="test",
    )  # fmt: skip
