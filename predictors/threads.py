"""How many threads a fit uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread; also a decorator, `@one_thread()`.

    Several threads share a sum in another way than one does, and the last bits of what is fitted
    would tell how many cores there were.
    """
    import scipy.linalg  # noqa: F401 - to be limited, its library must be there
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
