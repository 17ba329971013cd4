"""Factors of a calibration: the groups of ops that have one, and what an op is multiplied by."""

from __future__ import annotations

import math

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.tables.table import Calibration

COMMON = "all"


def op_groups(op: Op) -> dict[str, str]:
    """Groups of an op by level. Only blocks have any: the rest is mostly the same
    in all networks.

    Feature maps halve from stage to stage; the bounds 7, 14, 28 and 56 px tell the stages
    apart at every resolution from 128 to 320 px.

    >>> from profiler.spaces.mobilenetv3 import MobileNetV3Space
    >>> groups = op_groups(MobileNetV3Space(resolution_px=192).block_op(1, 4, 5))
    >>> groups["size"], groups["stride"], groups["kernel"], groups["expand"]
    ('out<=56px', 'out<=56px stride=1', 'kernel=5', 'out<=56px expand=4')
    """
    shape = shape_of(op)
    if not shape.is_block:
        return {}
    size = f"out<={7 * 2 ** max(0, math.ceil(math.log2(shape.out_px[0] / 7)))}px"
    return {
        "size": size,
        "stride": f"{size} stride={shape.stride}",
        "kernel": f"kernel={shape.kernel}",
        "expand": f"{size} expand={shape.mid_channels / shape.in_channels:.3g}",
        "op": op.key,
    }


def op_factor(calibration: Calibration, op: Op) -> float:
    """The factor on the latency of `op`; a group that was not fitted adds nothing.

    Raises:
        InvalidInputError: it is not positive, so that the op would take less than no time.
    """
    factors = calibration.factors
    factor = factors[COMMON] + sum(factors.get(group, 0.0) for group in op_groups(op).values())
    if factor <= 0:
        raise InvalidInputError(f"the calibration's factor of {op.key} is {factor:g}, not above 0")
    return factor
