"""From raw blocks to the numbers of the table, each with its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from profiler.flags import Flag
from profiler.measuring.canary import Canary
from profiler.measuring.journal import Journal
from profiler.measuring.load import sustained_levels
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.records import Block, counted
from profiler.measuring.stats import (
    Floats,
    change_point,
    in_stretches,
    is_coarse,
    modes_of,
    relative_difference_pct,
    spread_around,
    tag_outliers,
)
from profiler.measuring.stopping import Decision
from profiler.measuring.tails import tail_levels
from profiler.tables.levels import Level, Load, Statistic
from profiler.tables.table import Entry, NoiseFloor, Verdict

SEED = 0
UNSOUND = (Flag.MULTIMODAL, Flag.NONSTATIONARY, Flag.SCATTERED, Flag.COARSE)


@dataclass
class Levels:
    """How fast the machine was while a configuration was measured, by its canary.

    latency = quantile(samples) · C_ref / quantile(canary samples of the same span of time).

    The same quantile of the canary is taken, over all its samples between the first and
    the last block of the configuration in one sweep: a ratio per block would add the
    scatter of single canary samples to every block.
    """

    journal: Journal
    protocol: MeasuringProtocol
    _samples: dict[tuple[int, str], tuple[Floats, Floats]] = field(default_factory=dict)

    def fix_references(self, epoch: str) -> None:
        """Once an epoch's first sweep is over, take its canaries as the reference, of several
        launches their mean: each is a session as good as another."""
        fixed, sweeps = self.journal.references_ms(epoch), self.journal.sweeps(epoch)
        for canary in (canary for canary in Canary if canary not in fixed):
            read = (self._level_ms(sweep, canary) for sweep in sweeps)
            levels_ms = [level_ms for level_ms in read if level_ms is not None]
            if levels_ms:
                mean_ms = float(np.exp(np.mean(np.log(levels_ms))))
                self.journal.set_reference_ms(epoch, canary, mean_ms)

    def factor(self, blocks: Sequence[Block]) -> float:
        """C_ref / C over the blocks of one sweep, of the whole sweep where they span too few canary
        samples; 1 where no canary was used."""
        first, last = blocks[0], blocks[-1]
        reference = self.journal.references_ms(first.epoch).get(first.canary)
        level = self._level_ms(first.sweep, first.canary, first.started_s, last.started_s)
        if level is None:
            level = self._level_ms(first.sweep, first.canary)
        return 1.0 if level is None or reference is None else reference / level

    def _level_ms(
        self, sweep: int, canary: str, start_s: float = 0.0, end_s: float = float("inf")
    ) -> float | None:
        if not canary:
            return None
        if (sweep, canary) not in self._samples:
            self._samples[sweep, canary] = self.journal.canary_series(sweep, canary)
        times_s, samples_ms = self._samples[sweep, canary]
        within = samples_ms[(times_s >= start_s) & (times_s <= end_s)]
        enough = len(within) >= self.protocol.canaries.min_samples
        return self.protocol.estimator(within) if enough else None


def summarise(
    blocks: Sequence[Block],
    levels: Levels,
    protocol: MeasuringProtocol,
    *,
    decision: Decision,
    bridge: float = 1.0,
    load: Load | None = None,
) -> Entry:
    """The entry of one configuration from all its blocks, in order of time.

    `latency_ms` and its interval are normalised by the canary (and by `bridge`, for results
    of an earlier epoch); minimum, percentiles, mean, deviation and `levels` are of the samples
    as they were read.

    Args:
        load: of the last sweep, where it was a sustained one.
    """
    kept = counted(blocks)
    series = series_of(kept)
    factors = {at: levels.factor(of_one) for at, of_one in series.items()}
    sweeps = [
        in_stretches(np.array([block.samples_ms for block in of_one])) * factors[at]
        for at, of_one in series.items()
    ]
    normal = bridge * np.concatenate(
        [factors[block.sweep, block.name] * np.array(block.samples_ms) for block in kept]
    )
    low, high = protocol.stopping.interval(sweeps, protocol.estimator, 0.95, seed=SEED)
    raw = raw_ms(kept)
    flags = _flags(kept, normal, protocol)
    if any(block.throttled for block in blocks):
        flags.append(Flag.THROTTLED)
    p10, median, p90 = np.quantile(raw, [0.1, 0.5, 0.9])
    return Entry(
        latency_ms=protocol.estimator(normal),
        ci95_ms=(low * bridge, high * bridge),
        min_ms=float(raw.min()),
        p10_ms=float(p10),
        median_ms=float(median),
        p90_ms=float(p90),
        mean_ms=float(raw.mean()),
        std_ms=float(raw.std(ddof=1)) if len(raw) > 1 else 0.0,
        n_samples=len(raw),
        verdict=_verdict(flags, decision, throttled=kept[0].throttled),
        flags=tuple(flags),
        levels=_beside(blocks, series, protocol, load),
    )


def _beside(
    blocks: Sequence[Block], series: Mapping[tuple[int, str], Sequence[Block]],
    protocol: MeasuringProtocol, load: Load | None,
) -> dict[Statistic, Level]:  # fmt: skip
    """What the protocol asks for beside the latency: tails of what counts, or all of a load."""
    if protocol.tail is not None:
        return tail_levels(list(series.values()), protocol.stopping.resamples)
    if protocol.sustained is not None and load is not None:
        of_load = series_of([block for block in blocks if block.sweep == blocks[-1].sweep])
        return sustained_levels(list(of_load.values()), load, protocol, protocol.sustained)
    return {}


def series_of(blocks: Sequence[Block]) -> dict[tuple[int, str], list[Block]]:
    """Blocks of each sweep, and of each copy where a configuration is loaded several times."""
    series: dict[tuple[int, str], list[Block]] = {}
    for block in blocks:
        series.setdefault((block.sweep, block.name), []).append(block)
    return series


def raw_ms(blocks: Sequence[Block]) -> Floats:
    """Samples in ms as they were read."""
    return np.concatenate([block.samples_ms for block in blocks])


def _flags(blocks: Sequence[Block], normal: Floats, protocol: MeasuringProtocol) -> list[str]:
    """What a reader of this number should know."""
    counts = Counter(flag for block in blocks for flag in block.flags)
    flags = sorted(flag for flag, n in counts.items() if n > protocol.flagged_share * len(blocks))
    outliers = tag_outliers(normal, protocol.outliers.iqr_multiple)
    if outliers.mean() > protocol.outliers.contended_share:
        flags.append(Flag.CONTENDED)
    # a few samples far off would take one of the two parts for themselves
    modes = modes_of(normal[~outliers], **asdict(protocol.modes))
    if modes:
        flags.append(Flag.MULTIMODAL.about(f"{','.join(f'{ms:.4g}' for ms in modes)}ms"))
    floor, quantile = protocol.floor, protocol.estimator.quantile
    if spread_around(normal, quantile, below=floor.below, above=floor.above) > floor.max_width:
        flags.append(Flag.SCATTERED)
    if any(
        is_coarse(raw_ms(of_one), **asdict(protocol.resolution))
        for of_one in series_of(blocks).values()
    ):
        flags.append(Flag.COARSE)
    per_block = np.median(np.reshape(normal, (len(blocks), -1)), axis=1)
    per_block = per_block / _own_levels(blocks, per_block)
    step = change_point(per_block, p_value=protocol.stationarity.p_value)
    if step is not None:
        before, after = protocol.estimator(per_block[:step]), protocol.estimator(per_block[step:])
        if abs(after / before - 1) > protocol.stationarity.min_step:
            flags.append(Flag.NONSTATIONARY)
    return flags


def _own_levels(blocks: Sequence[Block], per_block: Floats) -> Floats:
    """[n_blocks] medians of each block's series: launches may differ, each is to be steady."""
    series: dict[tuple[int, str], list[int]] = {}
    for at, block in enumerate(blocks):
        series.setdefault((block.sweep, block.name), []).append(at)
    levels = np.empty_like(per_block)
    for rows in series.values():
        levels[rows] = np.median(per_block[rows])
    return levels


def _verdict(flags: Sequence[str], decision: Decision, *, throttled: bool) -> Verdict:
    """One word for how far a number can be trusted. Flags that the estimator is shown to
    withstand (`preempted`, `steal`, `disturbed`, `canary_split`) do not change it."""
    if throttled:
        return Verdict.THROTTLED
    if Flag.CONTENDED.among(flags):
        return Verdict.CONTENDED
    if decision is Decision.CAPPED:
        return Verdict.UNCONVERGED
    if any(flag.among(flags) for flag in UNSOUND):
        return Verdict.NOISY
    return Verdict.STABLE


def noise_floor(
    firsts: Sequence[float], seconds: Sequence[float], protocol: MeasuringProtocol
) -> NoiseFloor | None:
    """A/A spread of configurations that were measured twice; None without any."""
    if not firsts:
        return None
    difference = relative_difference_pct(np.array(firsts), np.array(seconds))
    p95 = float(np.quantile(difference, 0.95))
    return NoiseFloor(
        n_repeats=len(firsts),
        median_pct=float(np.median(difference)),
        p95_pct=p95,
        publishable=p95 <= protocol.repeats.publishable_p95_pct,
    )
