"""Where the ops of a network lie, for its picture: a stem, stages with room for blocks, a head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from profiler.graph.layers import Convolution
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.spaces.base import Tokens
from profiler.spaces.networks import NetworkSpace, Segment


def stages_of(space: NetworkSpace, tokens: Tokens) -> dict[str, Any]:
    """A stage is what one depth decides on, and the blocks beside that are always there.

    Ops of the stem, which come before all stages; of each stage the room and the blocks in it;
    of each block the expand ratio, 0 where it has none. Without depths all is stem.
    """
    segments = space.segments()
    n_stem_ops = 0
    expands: dict[int, list[int]] = {}
    room: Counter[int] = Counter()
    for segment, depth in zip(segments, _depths(space, segments), strict=True):
        ops = segment.ops.get(tuple(int(tokens[at]) for at in segment.positions), ())
        if depth is not None:
            expands.setdefault(depth, []).extend(map(_expand, ops))
            room[depth] += max(map(len, segment.ops.values()), default=0)
        elif not room:
            n_stem_ops += len(ops)
    stages = list(expands.values())
    return {
        "n_stem_ops": n_stem_ops,
        "room": list(room.values()),
        "depths": [len(blocks) for blocks in stages],
        "expands": [*chain(*stages)],
    }


def _depths(space: NetworkSpace, segments: Sequence[Segment]) -> list[int | None]:
    """By segment the position whose choice is the depth of its stage; None in stem and head.

    What is always there belongs to the stage that it leads into where a decision of that stage,
    so a position after its depth, makes it what it is; else to the stage before.
    """
    found = [_condition(space, segment) for segment in segments]
    following: list[int | None] = [None] * len(found)
    for at in range(len(found) - 2, -1, -1):
        following[at] = following[at + 1] if found[at + 1] is None else found[at + 1]
    before = None
    for at, (segment, after) in enumerate(zip(segments, following, strict=True)):
        if found[at] is None and after is not None:
            leads_in = max(segment.positions, default=-1) > after
            found[at] = after if leads_in else before
        before = found[at]
    return found


def _condition(space: NetworkSpace, segment: Segment) -> int | None:
    conditions = (space.positions[at].active_if for at in segment.positions)
    return next((when.position for when in conditions if when is not None), None)


def _expand(op: Op) -> int:
    """Of a block around a depthwise convolution."""
    shape = shape_of(op)
    layers = [node.layer for node in shape.inner]
    depthwise = any(isinstance(layer, Convolution) and layer.groups > 1 for layer in layers)
    return shape.mid_channels // shape.in_channels if depthwise else 0
