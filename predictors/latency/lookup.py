"""c(α) from a latency table: its ops' sum, calibrated on measured networks, or the launches."""

from __future__ import annotations

from predictors.base import Margin
from predictors.cost import AdditiveCost, LongestCost, NetworkCost, OpSum
from predictors.latency.calibration import (
    MIN_NETWORKS,
    OpLatency,
    fit_calibration,
    usable_networks,
)
from predictors.latency.kernels import calibrated_kernels
from predictors.latency.launches import launches_of
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.networks import distinct_ops
from profiler.tables.keys import ops_of_table
from profiler.tables.op_factors import op_factor
from profiler.tables.table import Calibration, LatencyTable


def table_latency(table: LatencyTable) -> OpLatency:
    """Latency in ms of the ops that the table holds, at the table's batch size.

    The returned function raises InvalidInputError for any other op. Keys are compared by
    what they stand for, since they do not spell out everything (a 7x7 first convolution has
    the key of a 3x3 one).
    """
    by_op = {op: table.ops[key].latency_ms for key, op in ops_of_table(table).items()}

    def latency_ms(op: Op) -> float:
        try:
            return by_op[op]
        except KeyError:
            raise InvalidInputError(f"the table has no op {op.key}") from None

    return latency_ms


def calibration_of(table: LatencyTable) -> Calibration | None:
    """The table's own calibration, else one fitted on its networks; None with too few."""
    if table.calibration is not None:
        return table.calibration
    if len(usable_networks(table)) < MIN_NETWORKS:
        return None
    return fit_calibration(table, table_latency(table))


def calibrated(table: LatencyTable) -> LatencyTable:
    """The table with its calibration filled in.

    Raises:
        InvalidInputError: fewer than 3 usable measured networks.
    """
    return table.model_copy(update={"calibration": fit_calibration(table, table_latency(table))})


def calibrated_where_possible(table: LatencyTable) -> LatencyTable:
    """The same; a table of too few networks or ops stays as it is."""
    if table.kernels:
        return calibrated_kernels(table)
    complete = distinct_ops(table.search_space).keys() <= table.ops.keys()
    enough = len(usable_networks(table)) >= MIN_NETWORKS
    return calibrated(table) if complete and enough else table


def cost_from_table(table: LatencyTable) -> AdditiveCost | LongestCost:
    """c(α) over the table's space, calibrated where the table has the networks for it."""
    cost = network_cost(table_latency(table), calibration_of(table))
    return cost.over(table.search_space, batch_size=table.device.batch_size)


def network_cost(op_latency_ms: OpLatency, calibration: Calibration | None) -> NetworkCost:
    """c of networks from per-op latencies, measured or predicted, with a calibration or without."""
    if calibration is None:
        return NetworkCost((OpSum(0.0, op_latency_ms),))
    calibrated_sum = OpSum(
        calibration.intercept_ms, lambda op: op_factor(calibration, op) * op_latency_ms(op)
    )
    launches = launches_of(calibration)
    sums = (calibrated_sum,) if launches is None else (launches, calibrated_sum)
    return NetworkCost(sums, calibration.relative_quantiles, margins_of(calibration))


def margins_of(calibration: Calibration) -> dict[float, Margin]:
    """By coverage; empty where it has none."""
    found = calibration.margins.items()
    return {coverage: Margin(share, fixed_ms) for coverage, (share, fixed_ms) in found}
