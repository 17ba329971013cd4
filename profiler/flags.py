"""What a reader of a number should know about it, as written in journals and tables.

A flag is a word, some with an argument behind a colon: `throttled:thermal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Self


class Flag(StrEnum):
    """Those of blocks come first, then those of all samples of an op or network."""

    PREEMPTED = "preempted", "the measuring thread waited for a core"
    STEAL = "steal", "the hypervisor took the core"
    DISTURBED = "disturbed", "a canary is slower than its reference"
    CANARY_SPLIT = "canary_split", "the canaries moved against each other"
    POWER_CAPPED = "power_capped", "the power limit slowed the clock"
    PARTIAL_DELEGATION = "partial_delegation", "the CPU ran what the delegate does not know"
    OTHER_PROCESSES = "other_processes", "they compute on the GPU"
    SM_CLOCK_MOVED = "sm_clock_moved", "the GPU's clock changed"
    MEMORY_CLOCK_MOVED = "memory_clock_moved", "the GPU memory's clock changed"
    THROTTLED = "throttled", "blocks were discarded"  # of a block with its reason

    CONTENDED = "contended", "many outliers"
    MULTIMODAL = "multimodal", "several levels"  # with the modes
    SCATTERED = "scattered", "the samples do not lie together where the estimate is"
    COARSE = "coarse", "few different values: a clock that does not resolve them, or none"
    NONSTATIONARY = "nonstationary", "the level changed"
    SESSION_SHIFT = "session_shift", "networks of its table moved since it was measured"

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        flag = str.__new__(cls, word)
        flag._value_, flag.meaning = word, meaning
        return flag

    def about(self, argument: str) -> str:
        """The flag with its argument.

        >>> Flag.THROTTLED.about("thermal")
        'throttled:thermal'
        """
        return f"{self}:{argument}"

    def among(self, flags: Iterable[str]) -> bool:
        """Whether it is one of `flags`, with an argument or without.

        >>> Flag.THROTTLED.among(["steal", "throttled:thermal"])
        True
        """
        return any(word_of(flag) == self for flag in flags)

    def arguments(self, flags: Iterable[str]) -> list[str]:
        """What `flags` say about it.

        >>> Flag.THROTTLED.arguments(["steal", "throttled:thermal"])
        ['thermal']
        """
        parts = (flag.partition(":") for flag in flags)
        return [argument for word, colon, argument in parts if colon and word == self]


def word_of(flag: str) -> str:
    """A flag without its argument."""
    return flag.partition(":")[0]


def meaning_of(flag: str) -> str:
    """In words; empty of a flag that is not ours."""
    word = word_of(flag)
    return next((known.meaning for known in Flag if known == word), "")
