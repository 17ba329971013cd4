"""A latency table of a device that was not measured, or hardly: from transfer.py's model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from predictors.latency.ridge import Choice, most_telling
from predictors.latency.transfer import (
    MIN_SAMPLES,
    NOISE,
    BaseDevice,
    Measured,
    TransferModel,
    base_sums_ms,
    transfer_ridge,
)
from predictors.threads import one_thread
from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.measuring.campaign import Chosen
from profiler.spaces.networks import NetworkSpace, distinct_ops, network_ops
from profiler.spaces.registry import is_known, open_space
from profiler.spaces.sampling import draw_networks
from profiler.system.stamp import now, this_tool
from profiler.tables.keys import op_of_key, ops_of_table
from profiler.tables.statistic import refuse_mixed
from profiler.tables.table import (
    Calibration,
    Entry,
    LatencyTable,
    SpaceRef,
    Transfer,
    TransferBase,
    TransferSample,
    Verdict,
)

N_DRAWN = 100  # networks that may be measured, and as many that are to be predicted


@dataclass(frozen=True)
class TransferTarget:
    """What the new table is of.

    Attributes:
        device: of the numbers. space: None is the first base's own.
        source: whose numbers the table is to be like; needed where there are several.
    """

    device: DeviceInfo
    space: NetworkSpace | None = None
    source: str | None = None


def worth_measuring(base: LatencyTable, count: int, *, seed: int = 0) -> Chosen:
    """The `count` ops and networks of the base's space that tell most of its other networks.

    Before anything is measured only the prior is known, at its widest: how far ops of which shape
    may depart from a multiple of the base, and blocks alone from blocks in networks.
    """
    device, space = BaseDevice(base), base.search_space
    batch_size = device.batch_size
    drawn = draw_networks(space, 2 * N_DRAWN, seed=seed)
    workloads = [
        *((True, tuple(network_ops(space, one, batch_size=batch_size))) for one in drawn),
        *((False, (op,)) for op in distinct_ops(space, batch_size=batch_size).values()),
    ]
    like = [Measured(ops, 0.0, "like", is_network) for is_network, ops in workloads]
    base_ms = base_sums_ms(device, like)
    ridge = transfer_ridge(device, like, {one.scale: 1.0 for one in like}, base_ms)
    covariance = ridge.covariances[Choice(1.0, optional=True)] / np.outer(base_ms, base_ms)
    # every second network is one to predict; all else may be measured
    at = np.arange(len(like))
    is_target = (at < len(drawn)) & (at % 2 == 1)
    found = most_telling(covariance, NOISE, at[~is_target], at[is_target], count)
    return Chosen(
        ops=tuple(like[i].ops[0].key for i in found if i >= len(drawn)),
        networks=tuple(space.format(drawn[i]) for i in found if i < len(drawn)),
    )


def completed_like(measured: LatencyTable, base: LatencyTable) -> LatencyTable:
    """A table of which a few ops and networks were measured, made whole.

    Raises:
        InvalidInputError: too little of it was measured.
    """
    source = "measured here"
    samples = [
        *(TransferSample(key=key, latency_ms=entry.latency_ms, source=source)
          for key, entry in measured.ops.items()),
        *(TransferSample(arch=network.arch, latency_ms=network.latency_ms, source=source)
          for network in measured.networks),
    ]  # fmt: skip
    target = TransferTarget(measured.device, measured.search_space)
    refuse_mixed(measured, base)
    made = transferred_table([base], samples, target)
    kept = ("protocol", "networks", "failures", "noise_floor", "created", "tool")
    return made.model_copy(update={name: getattr(measured, name) for name in kept})


def described_device(name: str, base: LatencyTable, *, runtime: str = "unknown") -> DeviceInfo:
    """A device that is known by name only; its settings are those of the base."""
    return DeviceInfo(
        spec=f"transfer:{name}",
        platform="transferred",
        model=name,
        runtime=runtime,
        runtime_version="unknown",
        threads=base.device.threads,
        precision=base.device.precision,
        batch_size=base.device.batch_size,
    )


@one_thread()
def transferred_table(
    bases: Sequence[LatencyTable], samples: Sequence[TransferSample], target: TransferTarget
) -> LatencyTable:
    """Every op of the target's space, from the bases corrected on the samples.

    The table is on the scale of networks where whole networks were measured, and then has a
    calibration with the interval of their leave-one-out errors.

    Raises:
        InvalidInputError: samples of another space, too few, or of several sources where the
            target names none; ops that the bases cannot say anything about.
    """
    base, space = BaseDevice(*bases), target.space or _own_space(bases[0])
    measured = [_measured(sample, space, base.batch_size) for sample in samples]
    source = _source(target.source, [one.source for one in measured])
    model = TransferModel(base, measured)
    networks = [i for i, one in enumerate(measured) if one.is_network]
    in_network = any(one.is_network and one.source == source for one in measured)
    scale = Measured((), 0.0, source, in_network).scale
    ops = _ops(space, bases[0], base.batch_size)
    latency_ms = model.predict_ms(list(ops.values()), scale, in_network=in_network)
    return LatencyTable(
        space=SpaceRef.of(space) if space else bases[0].space,
        device=target.device,
        protocol={"transferred": "from another device's table"},
        ops={
            key: Entry(latency_ms=float(ms), verdict=Verdict.TRANSFERRED)
            for key, ms in zip(ops, latency_ms, strict=True)
        },
        calibration=_calibration(model, networks) if in_network else None,
        transfer=Transfer(
            base=tuple(map(_described, bases)),
            samples=tuple(
                sample.model_copy(update={"left_out_ms": float(ms)})
                for sample, ms in zip(samples, model.left_out_ms, strict=True)
            ),
            scale_of=scale,
            factor=model.scale_factor(scale),
            sources={
                one.scale: model.scale_factor(one.scale) / model.scale_factor(scale)
                for one in measured
            },
            from_regression=tuple(key for key, op in ops.items() if not base.has(op)),
            mape_pct=model.mape_pct,
            worst_pct=float(model.errors_pct.max()),
            relative_quantiles=model.relative_quantiles(
                [i for i, one in enumerate(measured) if one.is_network == in_network]
            ),
        ),
        created=now(),
        tool=this_tool(),
    )


def _own_space(table: LatencyTable) -> NetworkSpace | None:
    return table.search_space if is_known(table.space.name) else None


def _ops(space: NetworkSpace | None, base: LatencyTable, batch_size: int) -> dict[str, Op]:
    """By key, all ops of the space; without one those of the base."""
    if space is not None:
        return distinct_ops(space, batch_size=batch_size)
    return ops_of_table(base)


def _measured(sample: TransferSample, space: NetworkSpace | None, batch_size: int) -> Measured:
    if sample.key is not None:
        ops = (op_of_key(sample.key, batch_size=batch_size),)
        return Measured(ops, sample.latency_ms, sample.source, is_network=False)
    if space is None:
        raise InvalidInputError("networks were measured, and the base is of no space: say --space")
    facts = SpaceRef.of(space).facts
    facts |= {
        name: value for name in ("width_mult", "resolution_px") if (value := getattr(sample, name))
    }
    own = open_space(space.name, **facts)
    tokens = own.parse(sample.arch or "")
    of_network = tuple(network_ops(own, tokens, batch_size=batch_size))
    return Measured(of_network, sample.latency_ms, sample.source, is_network=True)


def _source(asked: str | None, found: Iterable[str]) -> str:
    sources = sorted(set(found))
    if asked is not None and asked not in sources:
        raise InvalidInputError(f"no number is of {asked!r}; the sources: {', '.join(sources)}")
    if asked is None and len(sources) > 1:
        raise InvalidInputError(
            f"the numbers are of {len(sources)} sources ({', '.join(sources)}), which are not "
            "averaged: say whose the table is to be like (--source)"
        )
    return asked or (sources[0] if sources else "")


def _calibration(model: TransferModel, networks: Sequence[int]) -> Calibration | None:
    """c(α) is the sum of the ops, and an intercept; its interval is of the left-out networks."""
    if len(networks) < MIN_SAMPLES:
        return None
    return Calibration(
        intercept_ms=model.intercept_ms,
        factors={"all": 1.0},
        n_networks=len(networks),
        residual_mape_pct=float(np.mean(model.errors_pct[networks])),
        relative_quantiles=model.relative_quantiles(networks),
    )


def _described(table: LatencyTable) -> TransferBase:
    device = table.device
    return TransferBase(
        device_model=device.model,
        runtime=device.runtime,
        space=table.space,
        created=table.created,
    )
