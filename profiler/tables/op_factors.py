"""Factors of a calibration: the groups of ops that have one, and what an op is multiplied by."""

from __future__ import annotations

import math

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3_ops import OpConfig, OpKind
from profiler.tables.table import Calibration

COMMON = "all"


def op_groups(op: OpConfig) -> dict[str, str]:
    """Groups of an op by level. Only blocks have any: the rest is the same in all networks.

    Feature maps halve from stage to stage; the bounds 7, 14, 28 and 56 px tell the stages
    apart at every resolution from 128 to 320 px.

    >>> from profiler.spaces.mobilenetv3 import MobileNetV3Space
    >>> groups = op_groups(MobileNetV3Space(resolution_px=192).block_op(1, 4, 5))
    >>> groups["size"], groups["stride"], groups["kernel"], groups["expand"]
    ('out<=56px', 'out<=56px stride=1', 'kernel=5', 'out<=56px expand=4')
    """
    if op.kind is not OpKind.MBCONV:
        return {}
    size = f"out<={7 * 2 ** max(0, math.ceil(math.log2(op.out_height_px / 7)))}px"
    return {
        "size": size,
        "stride": f"{size} stride={op.stride}",
        "kernel": f"kernel={op.kernel}",
        "expand": f"{size} expand={op.mid_channels / op.in_channels:.3g}",
        "op": op.key,
    }


def op_factor(calibration: Calibration, op: OpConfig) -> float:
    """The factor on the latency of `op`; a group that was not fitted adds nothing.

    Raises:
        InvalidInputError: it is not positive, so that the op would take less than no time.
    """
    factors = calibration.factors
    factor = factors[COMMON] + sum(factors.get(group, 0.0) for group in op_groups(op).values())
    if factor <= 0:
        raise InvalidInputError(f"the calibration's factor of {op.key} is {factor:g}, not above 0")
    return factor
