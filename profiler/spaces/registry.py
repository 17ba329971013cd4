"""Spaces of networks by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial

from profiler.errors import InvalidInputError
from profiler.spaces import mobilenetv3, nasbench201, proxyless, resnet50
from profiler.spaces.base import MAX_CHOICES
from profiler.spaces.networks import NetworkSpace
from profiler.spaces.own import checked, is_own, own_opener
from profiler.spaces.resolutions import ResolutionSpace

# each takes what tells a space from others of its family, by the names of `facts`
OPENERS: dict[str, Callable[..., NetworkSpace]] = {
    **{name: partial(mobilenetv3.open_space, name) for name in mobilenetv3.BACKBONES},
    "proxyless": proxyless.ProxylessSpace,
    "resnet50": resnet50.ResNet50Space,
    "nasbench201": nasbench201.open_space,
}


def open_space(
    name: str, width_mult: float | None = None, resolution_px: int | None = None,
    dataset: str | None = None, resolutions_px: Sequence[int] | None = None,
) -> NetworkSpace:  # fmt: skip
    """A space by name; what is None is as the space has it unless told.

    Of several resolutions, one is a choice that its architectures make. To name a file is to trust
    it, also where a table or a run names it later.

    Raises:
        InvalidInputError: unknown name, or a fact that the space does not have.
    """
    if resolutions_px is not None:
        if resolution_px is not None:
            raise InvalidInputError("give one resolution, or several to choose from")
        sizes = sorted(set(resolutions_px))
        if len(sizes) < 2:
            raise InvalidInputError("several resolutions are needed for a choice")
        if len(sizes) > MAX_CHOICES:
            raise InvalidInputError(
                f"{len(sizes)} resolutions are more than the {MAX_CHOICES} that there may be"
            )
        return ResolutionSpace(tuple(open_space(name, width_mult, px, dataset) for px in sizes))
    opener = own_opener(name) if is_own(name) else OPENERS.get(name)
    if opener is None:
        known = f"{', '.join(OPENERS)}, or FILE.py:NAME"
        raise InvalidInputError(f"unknown space {name!r}; known: {known}")
    facts = {"width_mult": width_mult, "resolution_px": resolution_px, "dataset": dataset}
    given = {fact: value for fact, value in facts.items() if value is not None}
    choices = inspect.signature(opener).parameters
    for fact in given:
        if fact not in choices:
            raise InvalidInputError(f"{name} has no {fact.partition('_')[0]} to choose")
    return checked(opener(**given), name)


def is_known(name: str) -> bool:
    """Whether there is a space of this name, or a file of a user's that says what it is."""
    return name in OPENERS or is_own(name)
