"""What a runtime says when it refuses a model."""

from __future__ import annotations

MAX_CHARACTERS = 400
_TAG = "[ONNXRuntimeError] : "


def one_line(error: Exception) -> str:
    """The runtime's own words on one line; of many, how they begin and end.

    >>> one_line(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : no\\n graph"))
    '2 : INVALID_ARGUMENT : no graph'
    """
    words = " ".join(str(error).split()).removeprefix(_TAG) or type(error).__name__
    if len(words) <= MAX_CHARACTERS:
        return words
    half = MAX_CHARACTERS // 2
    return f"{words[:half]} ... {words[-half:]}"
