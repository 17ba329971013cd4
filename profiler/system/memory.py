"""Memory of this computer."""

from __future__ import annotations

from errno import ENOMEM

SHORTAGES = (  # in words of PyTorch, of the system, of protobuf
    "can't allocate memory", "Cannot allocate memory", "Failed to serialize proto",
)  # fmt: skip
ONEDNN_SHORTAGES = ("could not create a primitive", "could not execute a primitive")  # all it says


def available_memory_mb() -> float:
    """What new allocations can have without swapping."""
    import psutil

    return float(psutil.virtual_memory().available) / 1e6


def is_shortage(error: BaseException) -> bool:
    """Whether memory is what lacked: libraries say it in words alone, in errors of any kind.

    >>> is_shortage(MemoryError()), is_shortage(RuntimeError("mat1 and mat2 do not fit"))
    (True, False)
    """
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    said = str(error)
    in_words = said in ONEDNN_SHORTAGES or any(words in said for words in SHORTAGES)
    return isinstance(error, MemoryError) or in_words
