"""Latency tables whose law is known: what the predictors should find out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from predictors.latency.features import WORK_TERMS, work
from profiler.devices.base import DeviceInfo
from profiler.graph.op import Op
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Entry, LatencyTable, NetworkEntry, SpaceRef, Verdict

# ms per amount of work of `WORK_TERMS`, in the order of magnitude of a CPU core
COSTS = dict(
    zip(
        WORK_TERMS,
        (5e-3, 4e-8, 2e-8, 4e-8, 2e-8, 1e-7, 8e-8, 2e-7, 1e-7, 1e-7, 1e-7, 3e-8),
        strict=True,
    )
)


def law_ms(op: Op, *, channel_block: int = 16, threads: int = 1) -> float:
    """All work but the overhead is divided among the threads."""
    amounts = dict(zip(WORK_TERMS, work(op, channel_block), strict=True))
    divided: float = sum(COSTS[t] * amount for t, amount in amounts.items() if t != "overhead")
    return COSTS["overhead"] + divided / threads


def whole_ms(op: Op) -> float:
    """What an op costs inside a network, where the test does not say otherwise."""
    return 0.9 * law_ms(op)


def make_table(
    space: MobileNetV3Space | None = None,
    *,
    n_networks: int = 0,
    seed: int = 0,
    alone_ms: Callable[[Op], float] = law_ms,
    inside_ms: Callable[[Op], float] = whole_ms,
    intercept_ms: float = 0.3,
    noise: float = 0.0,
    threads: int = 1,
    batch_size: int = 1,
    launch_ms: Callable[[Sequence[Op]], float] = lambda ops: 0.0,
    platform: str = "cpu",
) -> LatencyTable:
    """Networks are max(intercept + Σ inside(op), launch(ops)), times lognormal noise."""
    space = space or MobileNetV3Space()
    rng = np.random.default_rng(seed)
    networks = []
    for tokens in space.sample(n_networks, rng):
        arch = space.decode(tokens)
        ops = space.ops(arch, batch_size=batch_size)
        total = max(intercept_ms + sum(map(inside_ms, ops)), launch_ms(ops))
        latency_ms = total * float(np.exp(rng.normal(0, noise)))
        networks.append(NetworkEntry(arch=str(arch), latency_ms=latency_ms, verdict=Verdict.STABLE))
    return LatencyTable(
        space=SpaceRef(
            name=space.name, width_mult=space.width_mult, resolution_px=space.resolution_px
        ),
        device=DeviceInfo(
            platform,
            platform,
            f"Synthetic {platform.upper()}",
            "law",
            "1",
            threads,
            "float32",
            batch_size,
        ),
        protocol={"preset": "full"},
        ops={
            key: Entry(latency_ms=alone_ms(op), verdict=Verdict.STABLE)
            for key, op in space.distinct_ops(batch_size=batch_size).items()
        },
        networks=tuple(networks),
        created="2026-01-01T00:00:00+00:00",
        tool="pnag test",
    )


def measured(table: LatencyTable) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [n, 45] and latencies [n] of a table's networks."""
    space = table.search_space
    tokens = np.stack([space.parse(network.arch) for network in table.networks])
    return tokens, np.array([network.latency_ms for network in table.networks])
