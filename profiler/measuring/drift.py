"""What each launch of the runtime read of networks, against what became of all launches."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.records import Block
from profiler.tables.sessions import MIN_NETWORKS, SessionLevel


def session_levels(
    journal: Journal,
    latencies_ms: Mapping[str, float],
    protocol: MeasuringProtocol,
    epochs: Collection[str],
) -> tuple[SessionLevel, ...]:
    """Of every launch of `epochs` that measured three of the networks or more.

    Args:
        latencies_ms: by key of its task, what the table says of a network.
    """
    read: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for key, latency_ms in latencies_ms.items():
        for launch, blocks in _by_launch(journal.blocks(key)).items():
            if launch[1] in epochs and len(blocks) >= protocol.stopping.check_every:
                samples_ms = np.concatenate([block.samples_ms for block in blocks])
                read.setdefault(launch, []).append((protocol.estimator(samples_ms), latency_ms))
    return tuple(
        SessionLevel.of(journal.started(sweep), epoch, *zip(*pairs, strict=True))
        for (sweep, epoch), pairs in sorted(read.items())
        if len(pairs) >= MIN_NETWORKS
    )


def _by_launch(blocks: list[Block]) -> dict[tuple[int, str], list[Block]]:
    """Those that were not throttled, by launch and its epoch."""
    launches: dict[tuple[int, str], list[Block]] = {}
    for block in blocks:
        if not block.throttled:
            launches.setdefault((block.sweep, block.epoch), []).append(block)
    return launches
