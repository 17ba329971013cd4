"""Spaces of networks by their names."""

from __future__ import annotations

from profiler.errors import InvalidInputError
from profiler.spaces import mobilenetv3
from profiler.spaces.networks import NetworkSpace

OPENERS = dict.fromkeys(mobilenetv3.BACKBONES, mobilenetv3.open_space)


def open_space(
    name: str, width_mult: float = 1.0, resolution_px: int | None = None
) -> NetworkSpace:
    """A space by name, at its own resolution unless one is given.

    Raises:
        InvalidInputError: unknown name, width or resolution.
    """
    if name not in OPENERS:
        raise InvalidInputError(f"unknown space {name!r}; known: {', '.join(OPENERS)}")
    return OPENERS[name](name, width_mult, resolution_px)
