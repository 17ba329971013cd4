"""What a runtime says when it refuses a model."""

from __future__ import annotations

MAX_CHARACTERS = 300
_TAG = "[ONNXRuntimeError] : "


def one_line(error: Exception) -> str:
    """The runtime's own words on one line.

    >>> one_line(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : no\\n graph"))
    '2 : INVALID_ARGUMENT : no graph'
    """
    words = " ".join(str(error).split()).removeprefix(_TAG) or type(error).__name__
    return words if len(words) <= MAX_CHARACTERS else f"{words[:MAX_CHARACTERS]} ..."
