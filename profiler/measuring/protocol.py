"""The measuring protocol: every rule a named object, every default in this one place.

docs/measuring.md says why each value is what it is, with our figures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from math import ceil, sqrt
from typing import Any

from profiler.devices.backend import Backend
from profiler.devices.base import ModelWorkload, Workload
from profiler.errors import InvalidInputError
from profiler.measuring.canary import CanaryRule
from profiler.measuring.sampling import Sampling
from profiler.measuring.stopping import Estimator, StoppingRule, WarmUp
from profiler.measuring.waiting import QuiescenceGate, Throttling


@dataclass(frozen=True, slots=True)
class Residency:
    """Prepared models held at once; what does not fit is swept in groups."""

    max_mb: int
    max_share: float  # of the memory that is free
    bytes_per_weight_byte: int  # the model, the runtime's copy, its packed copy

    def loaded_bytes(self, workload: Workload | ModelWorkload) -> int:
        """Of a prepared workload and its input, which at a large batch is most of it."""
        return self.bytes_per_weight_byte * workload.weight_bytes + workload.input_bytes


@dataclass(frozen=True, slots=True)
class Outliers:
    """Tagged, never deleted; a configuration with many is `contended`."""

    iqr_multiple: float
    contended_share: float


@dataclass(frozen=True, slots=True)
class Modes:
    """Modes are reported if this far apart (relative), this large and this distinct."""

    separation: float
    min_share: float  # of a mode
    min_slow_share: float  # of one that is slower than another: disturbances make small ones
    ashman_d: float
    max_parts: int  # that the samples are cut into, to be joined where they are not distinct


@dataclass(frozen=True, slots=True)
class Floor:
    """A low quantile is a latency only where the samples lie together around it."""

    below: float  # quantiles around the estimator's
    above: float
    max_width: float  # between them, relative


@dataclass(frozen=True, slots=True)
class Resolution:
    """Ties tell the step of a clock; a large one hides how the samples scatter."""

    max_step: float  # relative
    min_distinct: float  # share of the samples; nothing repeats on a fine clock


@dataclass(frozen=True, slots=True)
class Stationarity:
    """A change of level within a configuration's series, by Pettitt's test."""

    p_value: float
    min_step: float  # relative


@dataclass(frozen=True, slots=True)
class HiddenRepeats:
    """Configurations measured twice, unannounced: the A/A noise floor of the table."""

    share: float
    min_count: int
    publishable_p95_pct: float


@dataclass(frozen=True, slots=True)
class Epochs:
    """How results of an earlier boot or runtime are carried over."""

    bridge_configs: int
    max_spread: float  # of the bridge ratios; beyond it the earlier results are not used


@dataclass(frozen=True, slots=True)
class FollowUp:
    """How networks measured in a later session are brought onto the scale of their table."""

    bridge_networks: int  # of the table, measured again; fewer fix a factor only, or nothing
    min_for_slope: int
    min_for_offset: int
    flagged_shift: float  # relative


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Shares of time that other work may take, in percent; more is flagged and warned of."""

    waiting_pct: float
    steal_pct: float
    pressure_pct: float


@dataclass(frozen=True, slots=True)
class PhoneLimits:
    """Beyond these a phone is not quiescent."""

    max_battery_c: float
    min_battery_pct: int


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """More is flagged."""

    clock_tolerance: float  # between two blocks, relative


@dataclass(frozen=True, slots=True)
class ComparisonRule:
    """How two models are compared: copies of each, and the confidence of their ratio's interval.

    The same file twice is told apart once in 1 / (1 - confidence) times.
    """

    copies: int  # of a model file, each loaded by itself
    confidence: float


@dataclass(frozen=True, slots=True)
class Tail:
    """What the tail of a latency rests on: single runs, timed by the wall clock, so many and over
    so long a time as MLPerf Mobile asks of a single stream."""

    min_samples: int
    min_span_s: float  # from a configuration's first block to its last

    def is_enough(self, n_samples: int, span_s: float) -> bool:
        return n_samples >= self.min_samples and span_s >= self.min_span_s

    def blocks_to_come(self, n_blocks: int, n_samples: int, span_s: float) -> int:
        """Until it is enough, at the rate of those so far."""
        times = max(self.min_samples / n_samples, self.min_span_s / span_s if span_s else 1.0)
        return ceil(n_blocks * max(0.0, times - 1))


@dataclass(frozen=True, slots=True)
class Sustained:
    """All configurations in turn for so long, without pauses or canaries; nothing is discarded."""

    minutes: float
    window_s: float  # the level of all configurations together is taken in each
    first_s: float  # the level that others are compared with
    end_share: float  # of the time, at most, in which the level at the end is taken
    min_z: float  # standardised rank statistic of a change
    min_step: float  # relative
    min_windows: int  # on both sides of a change


@dataclass(frozen=True, slots=True)
class MeasuringProtocol:
    """All rules of one sweep."""

    name: str
    default_networks: int
    launches: int  # of the runtime that a sweep is split over, where the device has them
    flagged_share: float  # of its blocks with a flag, above which an entry carries it
    sampling: Sampling
    canaries: CanaryRule
    residency: Residency
    estimator: Estimator
    warm_up: WarmUp
    stopping: StoppingRule
    gate: QuiescenceGate
    throttling: Throttling
    host: HostLimits
    phone: PhoneLimits
    gpu: GpuLimits
    outliers: Outliers
    modes: Modes
    floor: Floor
    resolution: Resolution
    stationarity: Stationarity
    repeats: HiddenRepeats
    epochs: Epochs
    follow_up: FollowUp
    comparison: ComparisonRule
    tail: Tail | None = None
    sustained: Sustained | None = None

    def options_for(self, backend: Backend) -> dict[str, Any]:
        """How a device must be opened for it, beside what the user asks."""
        known = {field.name for field in fields(backend.options)}
        asked = {"wall_clock": self.tail is not None, "rests": self.sustained is None}
        return {name: value for name, value in asked.items() if name in known}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """Hash of everything that shapes a raw sample or the number made of it."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


HOST_LIMITS = HostLimits(waiting_pct=5.0, steal_pct=1.0, pressure_pct=5.0)
PHONE_LIMITS = PhoneLimits(max_battery_c=38.0, min_battery_pct=30)
GPU_LIMITS = GpuLimits(clock_tolerance=0.02)

FULL = MeasuringProtocol(
    name="full",
    default_networks=30,
    launches=3,
    flagged_share=0.10,
    sampling=Sampling(
        op_samples_per_block=3,
        network_samples_per_block=2,
        max_tries=3,
        deadline_s=300.0,
        max_batch_ratio=0.75,
        min_batch_ratio=1.2,
    ),
    canaries=CanaryRule(
        copies=4, warm_runs=3, sample_ms=1.0, window=16, level_quantile=0.25, min_samples=20
    ),
    residency=Residency(max_mb=4096, max_share=0.5, bytes_per_weight_byte=3),
    estimator=Estimator(quantile=0.10),
    warm_up=WarmUp(min_runs=3, min_s=0.5, window=8, windows=3, tolerance=0.02, max_s=30.0),
    stopping=StoppingRule(
        min_blocks=60,
        check_every=10,
        confidence=0.99,
        resamples=2000,
        op_half_width=0.015,
        network_half_width=0.01,
        op_cap_s=60.0,
        network_cap_s=180.0,
    ),
    gate=QuiescenceGate(
        tolerance=0.10,
        split=0.05,
        wait_s=5.0,
        max_wait_s=15.0,
        refuse_above=0.25,
        refuse_after_s=300.0,
    ),
    throttling=Throttling(first_wait_s=0.1, give_up_s=300.0),
    host=HOST_LIMITS,
    phone=PHONE_LIMITS,
    gpu=GPU_LIMITS,
    outliers=Outliers(iqr_multiple=3.0, contended_share=0.10),
    # halves of one normal sample reach a D of 2.7, of one uniform sample 3.5, by chance 4.1
    modes=Modes(separation=0.05, min_share=0.10, min_slow_share=0.20, ashman_d=5.0, max_parts=8),
    floor=Floor(below=0.05, above=0.15, max_width=0.20),
    resolution=Resolution(max_step=0.005, min_distinct=0.80),
    stationarity=Stationarity(p_value=0.001, min_step=0.02),
    repeats=HiddenRepeats(share=0.05, min_count=5, publishable_p95_pct=5.0),
    epochs=Epochs(bridge_configs=3, max_spread=0.05),
    follow_up=FollowUp(bridge_networks=12, min_for_slope=2, min_for_offset=6, flagged_shift=0.05),
    comparison=ComparisonRule(copies=5, confidence=0.99),
)

# The same protocol with wider limits.
QUICK = replace(
    FULL,
    name="quick",
    default_networks=12,
    launches=1,
    warm_up=replace(FULL.warm_up, max_s=5.0),
    stopping=replace(
        FULL.stopping,
        min_blocks=30,
        op_half_width=0.03,
        network_half_width=0.02,
        op_cap_s=3.0,
        network_cap_s=10.0,
    ),
    gate=replace(FULL.gate, wait_s=1.0, max_wait_s=5.0),
)

# On a phone a sample is a process of benchmark_model, about a second long, whose result is
# already a mean over its runs: few samples, one per block, and their median.
PHONE = replace(
    FULL,
    name="phone",
    launches=1,  # each sample is one
    sampling=replace(
        FULL.sampling, op_samples_per_block=1, network_samples_per_block=1, deadline_s=1800.0
    ),
    estimator=Estimator(quantile=0.5),
    floor=Floor(below=0.25, above=0.25, max_width=0.30),
    warm_up=replace(FULL.warm_up, min_runs=1),
    stopping=replace(FULL.stopping, min_blocks=10, check_every=5),
)

PHONE_QUICK = replace(
    PHONE,
    name="phone quick",
    default_networks=QUICK.default_networks,
    stopping=replace(
        PHONE.stopping, min_blocks=5, op_half_width=0.03, network_half_width=0.02,
        op_cap_s=15.0, network_cap_s=30.0,
    ),
)  # fmt: skip


MIN_MINUTES, MAX_MINUTES = 0.1, 1440.0  # of anything that is asked for by minutes
TAIL = Tail(min_samples=1024, min_span_s=60.0)
TAIL_SAMPLES_PER_BLOCK = 16
# 5 s: of one network some hundred samples on a CPU, on a phone four processes
SUSTAINED = Sustained(
    minutes=30.0, window_s=5.0, first_s=60.0, end_share=1 / 3, min_z=4.0, min_step=0.03,
    min_windows=6,
)  # fmt: skip

LONG_LAUNCHES = 4  # times as long as a table's


def for_copies(protocol: MeasuringProtocol) -> MeasuringProtocol:
    """The rules of each copy of a model: all of them together get what one network would.

    >>> [for_copies(one).stopping.min_blocks for one in (FULL, QUICK, PHONE, PHONE_QUICK)]
    [20, 10, 5, 5]
    """
    whole, n = protocol.stopping, protocol.comparison.copies
    stopping = replace(
        whole,
        min_blocks=whole.check_every * ceil(whole.min_blocks / n / whole.check_every),
        network_half_width=round(whole.network_half_width * sqrt(n), 4),
        network_cap_s=whole.network_cap_s / n,
    )
    name = f"{protocol.name}, {n} copies"  # which differ as launches do
    return replace(protocol, name=name, launches=1, stopping=stopping)


def for_levels(protocol: MeasuringProtocol) -> MeasuringProtocol:
    """Of long launches: their levels differ by what hours change, not by what others on the
    machine do in one minute or the next (docs/measuring.md has figures).

    >>> [for_levels(one).stopping.min_blocks for one in (FULL, QUICK, PHONE)]
    [240, 30, 10]
    """
    if protocol.launches == 1:
        return protocol
    blocks = LONG_LAUNCHES * protocol.stopping.min_blocks
    name = f"{protocol.name}, long launches"
    return replace(protocol, name=name, stopping=replace(protocol.stopping, min_blocks=blocks))


def protocol_of(
    backend: Backend, *, quick: bool, kind: str | None = None, minutes: float | None = None
) -> MeasuringProtocol:
    """The protocol that a backend names, as it is or made for tails or for a sustained load.

    Args:
        kind: `tail` or `sustained`.
        minutes: of the load.

    Raises:
        InvalidInputError: it names none of ours; it knows no tails; no such kind or time.
    """
    known = {"full": FULL, "quick": QUICK, "phone": PHONE, "phone quick": PHONE_QUICK}
    name = backend.protocols[quick]
    if name not in known:
        raise InvalidInputError(
            f"device {backend.name} names the protocol {name!r}; known: {', '.join(known)}"
        )
    if minutes is not None and kind != "sustained":
        raise InvalidInputError("--minutes is for --protocol sustained, or no --protocol")
    if kind is None:
        return known[name]
    if kind == "tail":
        return _for_tails(known[name], backend)
    if kind == "sustained":
        return _for_load(known[name], SUSTAINED.minutes if minutes is None else minutes)
    raise InvalidInputError(f"unknown protocol {kind!r}; known: tail, sustained")


def _for_tails(protocol: MeasuringProtocol, backend: Backend) -> MeasuringProtocol:
    if not backend.single_runs:
        raise InvalidInputError(
            f"device {backend.name} gives means of many runs, which have no tails; --protocol tail "
            "needs a device that times single ones"
        )
    sampling = replace(
        protocol.sampling,
        single_runs=True,
        op_samples_per_block=TAIL_SAMPLES_PER_BLOCK,
        network_samples_per_block=TAIL_SAMPLES_PER_BLOCK,
    )
    return replace(protocol, name=f"{protocol.name}, tail", sampling=sampling, tail=TAIL)


def _for_load(protocol: MeasuringProtocol, minutes: float) -> MeasuringProtocol:
    least = 3 * SUSTAINED.first_s / 60
    if not least <= minutes <= MAX_MINUTES:
        raise InvalidInputError(
            f"--protocol sustained takes {least:g} to {MAX_MINUTES:g} --minutes, not {minutes:g}"
        )
    rule = replace(SUSTAINED, minutes=float(minutes))
    return replace(protocol, name=f"{protocol.name}, sustained", launches=1, sustained=rule)
