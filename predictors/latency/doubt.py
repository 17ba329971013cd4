"""Where a regression of kernels is unsure: what is to be measured next."""

from __future__ import annotations

from collections.abc import Sequence

from predictors.latency.kernel_work import Work
from predictors.latency.kernels import fit_kinds, observations, work_of
from profiler.tables.table import LatencyTable

UNKNOWN = 0.5  # log deviation of a kind that was seldom met


def doubts(table: LatencyTable, models: Sequence[Sequence[str]]) -> list[float]:
    """How unsure the regression of a table is of each model of kernels.

    The relative spread of a kernel's residual, weighed by the share of the measured networks'
    latency that kernels of its kind take: a doubt of what networks hardly run matters little.

    Args:
        models: keys of the kernels of each.
    """
    kinds = fit_kinds(observations(table))
    weights = _shares_of_networks(table)

    def doubt(one: Work) -> float:
        model = kinds.get(one.kind)
        if model is None or model.residual is None:
            return UNKNOWN * weights.get(one.kind, 0.0)
        return model.spread(one) * weights.get(one.kind, 0.0)

    return [sum(doubt(work_of(key)) for key in keys) for keys in models]


def _shares_of_networks(table: LatencyTable) -> dict[str, float]:
    """Of each kind; of equal parts where a runtime does not tell."""
    shares: dict[str, float] = {}
    for network in table.networks:
        ran = table.kernels[network.arch]
        for key, share in ran:
            kind = work_of(key).kind
            shares[kind] = shares.get(kind, 0.0) + (share or 1 / len(ran)) / len(table.networks)
    return shares
