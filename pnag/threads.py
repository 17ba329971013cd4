"""How many threads the learners use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: the learners' matrices are small, and on a busy machine threads that
    wait for each other cost minutes (training took 15 times as long on two loaded cores).

    Also a decorator: `@one_thread()`.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
