"""What each launch of the runtime read of networks, against what became of all launches."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.summary import raw_ms, series_of
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
        blocks = [one for one in journal.blocks(key) if one.epoch in epochs and not one.throttled]
        for (sweep, _), of_one in series_of(blocks).items():
            if len(of_one) >= protocol.stopping.check_every:
                pair = protocol.estimator(raw_ms(of_one)), latency_ms
                read.setdefault((sweep, of_one[0].epoch), []).append(pair)
    return tuple(
        SessionLevel.of(journal.started(sweep), epoch, *zip(*pairs, strict=True))
        for (sweep, epoch), pairs in sorted(read.items())
        if len(pairs) >= MIN_NETWORKS
    )
