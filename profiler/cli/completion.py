"""What the shell offers after Tab: names, known without loading what they name."""

from __future__ import annotations

import re
from collections.abc import Callable

from profiler.devices.registry import backends


def one_of(*words: str) -> Callable[[str], list[str]]:
    """For an option's `autocompletion`: the words that begin as what is typed."""

    def completed(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return completed


def devices(incomplete: str) -> list[str]:
    """Specs up to what only the user knows: `cpu`, `adb:`."""
    forms = (form for backend in backends().values() for form in backend.forms)
    return one_of(*(re.split(r"[A-Z\[]", form)[0] for form in forms))(incomplete)
