"""Raw samples of a journal, a bounded amount of them, for traces and histograms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.measuring.journal import Journal, epoch_of
from profiler.measuring.records import Block

MAX_BLOCKS = 120  # of one configuration, spread over all of its blocks


@dataclass(frozen=True)
class SampledBlock:
    """One block: when, what the canary took (relative to its reference), and the samples."""

    time_s: float
    canary_ratio: float | None
    throttled: bool
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Trace:
    """Blocks of one configuration in order; `n_blocks` were measured, some may be left out."""

    blocks: tuple[SampledBlock, ...]
    n_blocks: int


def read_traces(path: Path, device: DeviceInfo) -> dict[str, list[Trace]]:
    """Traces by op key or architecture; two where it was measured twice, unannounced.

    Raises:
        InvalidInputError: not a journal, or one of another device, boot or runtime.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist")
    traces: dict[str, list[Trace]] = defaultdict(list)
    with Journal(path, read_only=True) as journal:
        references = {epoch: journal.references_ms(epoch) for epoch in journal.epochs()}
        if epoch_of(device) not in references:
            raise InvalidInputError(f"{path} is not the journal of the run's table")
        for key, outcome in journal.outcomes().items():
            blocks = journal.blocks(key)
            if blocks:
                traces[outcome.name].append(_trace(blocks, references))
    return dict(traces)


def _trace(blocks: list[Block], references: dict[str, dict[str, float]]) -> Trace:
    """Sweeps follow one another on one clock, since each block counts from its own sweep."""
    begins_s: dict[int, float] = {}
    end_s, points = 0.0, []
    for block in blocks:
        begin_s = begins_s.setdefault(block.sweep, end_s)
        end_s = begin_s + block.started_s + block.spent_s
        reference_ms = references.get(block.epoch, {}).get(block.canary)
        ratio = block.canary_ms / reference_ms if block.canary_ms and reference_ms else None
        points.append(
            SampledBlock(begin_s + block.started_s, ratio, block.throttled, block.samples_ms)
        )
    kept = np.linspace(0, len(points) - 1, min(len(points), MAX_BLOCKS)).round().astype(int)
    return Trace(tuple(points[i] for i in kept), len(points))
