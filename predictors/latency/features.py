"""Features of an op that latency regressions are made of: physical work, and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from predictors.base import Floats
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

# XNNPACK unrolls depthwise kernels up to 25 taps; larger ones take a path many times slower
LARGEST_UNROLLED_KERNEL = 5
WORK_TERMS = (
    "overhead",
    "dense_madds",
    "pointwise_madds",
    "depthwise_madds",
    "large_depthwise_madds",
    "depthwise_strided_outputs",
    "excitation_madds",
    "edge_elements",
    "inner_elements",
    "gated_elements",
    "hard_swish_elements",
    "parameters",
)
SHAPE_FEATURES = (
    "log_madds",
    "log_bytes",
    "log_in_channels",
    "log_mid_channels",
    "log_out_channels",
    "log_kernel",
    "stride",
    "se",
    "log_height_px",
    "ragged_channels",
    "log_batch_size",
    "log_threads",
)


def work(op: OpConfig, channel_block: int) -> Floats:
    """[terms] amounts of work, each of which costs time in proportion (`WORK_TERMS`).

    Kernels compute whole vectors of `channel_block` channels, so that 72 channels cost as
    much as 80 where the block is 16. All but the overhead and the parameters grow with the
    batch.
    """
    in_channels, mid, out = (
        -(-channels // channel_block) * channel_block
        for channels in (op.in_channels, op.mid_channels, op.out_channels)
    )
    area_in, area_out = op.height_px * op.width_px, op.out_height_px * op.out_width_px
    amounts = dict.fromkeys(WORK_TERMS, 0.0)
    amounts["edge_elements"] = area_in * in_channels + area_out * out
    activated = float(area_out * out)
    match op.kind:
        case OpKind.MBCONV:
            expanded = area_in * mid * op.has_expansion
            activated = float(expanded + area_out * mid)
            amounts["pointwise_madds"] = expanded * in_channels + area_out * mid * out
            amounts["depthwise_madds"] = area_out * op.kernel**2 * mid
            if op.kernel > LARGEST_UNROLLED_KERNEL:
                amounts["large_depthwise_madds"] = amounts["depthwise_madds"]
            amounts["depthwise_strided_outputs"] = area_out * mid * (op.stride > 1)
            amounts["excitation_madds"] = 2 * op.mid_channels * op.se_channels
            amounts["inner_elements"] = activated
            amounts["gated_elements"] = area_out * mid * op.se
        case OpKind.CONV:
            amounts["dense_madds"] = op.madds
        case OpKind.AVG_POOL:
            pass
        case _:
            amounts["pointwise_madds"] = area_out * in_channels * out
    amounts["hard_swish_elements"] = activated * (op.activation is OpActivation.HARD_SWISH)
    per_batch = np.array([amounts[term] for term in WORK_TERMS]) * op.batch_size
    per_batch[WORK_TERMS.index("overhead")] = 1
    per_batch[WORK_TERMS.index("parameters")] = op.params
    return per_batch


def work_matrix(ops: Sequence[OpConfig], threads: Floats, channel_block: int) -> Floats:
    """[n, 2 · terms]: work done serially, and work divided among the threads."""
    serial = np.array([work(op, channel_block) for op in ops]).reshape(-1, len(WORK_TERMS))
    return np.hstack([serial, serial / np.asarray(threads)[:, None]])


def shape_matrix(ops: Sequence[OpConfig], threads: Floats, channel_block: int) -> Floats:
    """[n, features] of `SHAPE_FEATURES`."""
    rows = [
        [
            math.log1p(op.madds * op.batch_size),
            math.log(op.memory_bytes),
            math.log(op.in_channels),
            math.log1p(op.mid_channels),
            math.log(op.out_channels),
            math.log(op.kernel),
            op.stride,
            op.se,
            math.log(op.height_px),
            op.mid_channels % channel_block > 0,
            math.log(op.batch_size),
            math.log(n_threads),
        ]
        for op, n_threads in zip(ops, threads, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, len(SHAPE_FEATURES))
