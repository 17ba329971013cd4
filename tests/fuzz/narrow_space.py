"""A space whose tables, supernets and data are small: what is tried is how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from unittest.mock import patch

from profiler.spaces.mobilenetv3 import BACKBONES, MobileNetV3Space, open_space
from profiler.spaces.registry import OPENERS

NAME = "mbv3-narrow"
# blocks are alike in all stages: a complete table has 15 ops; images are of two classes
BACKBONE = replace(
    BACKBONES["mbv3-cifar"], stage_strides=(1,) * 5, stage_channels=(8,) * 5, stage_se=(True,) * 5,
    stage_hard_swish=(True,) * 5, stem_channels=8, final_expand_channels=8, last_channels=8,
    n_classes=2,
)  # fmt: skip


@contextmanager
def narrow_space() -> Iterator[MobileNetV3Space]:
    """The only one of its family that is known within the block."""
    with (
        patch.dict(BACKBONES, {NAME: BACKBONE}, clear=True),
        patch.dict(OPENERS, {NAME: partial(open_space, NAME)}),
    ):
        yield MobileNetV3Space(NAME, 1.0, 32)
