"""Raw samples of a journal, a bounded amount of them, for traces and histograms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiler.devices.base import DeviceInfo, epoch_of
from profiler.errors import InvalidInputError
from profiler.measuring.journal import Journal
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
    traces: dict[str, list[Trace]] = defaultdict(list)
    with _opened(path, device, "the run's table") as journal:
        references = {epoch: journal.references_ms(epoch) for epoch in journal.epochs()}
        for key, outcome in journal.outcomes().items():
            blocks = journal.blocks(key)
            if blocks:
                traces[outcome.name].append(_trace(blocks, references))
    return dict(traces)


def read_copies(path: Path, device: DeviceInfo, copies: Sequence[str]) -> list[Trace]:
    """Traces of the copies of one model, by their keys, of this boot and runtime.

    Raises:
        InvalidInputError: as for `read_traces`.
    """
    epoch = epoch_of(device)
    with _opened(path, device, "these results") as journal:
        references = {epoch: journal.references_ms(epoch)}
        found = [journal.blocks(key, epoch=epoch) for key in copies]
        return [_trace(blocks, references) for blocks in found if blocks]


@contextmanager
def _opened(path: Path, device: DeviceInfo, whose: str) -> Iterator[Journal]:
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist")
    with Journal(path, read_only=True) as journal:
        if epoch_of(device) not in journal.epochs():
            raise InvalidInputError(f"{path} is not the journal of {whose}")
        yield journal


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


def embedded_trace(trace: Trace) -> dict[str, Any]:
    """As a page's scripts read it: of a block its time, canary, whether it counts, samples."""
    return {
        "n_blocks": trace.n_blocks,
        "blocks": [
            [block.time_s, block.canary_ratio, int(block.throttled), *block.samples_ms]
            for block in trace.blocks
        ],
    }
