"""Data-parallel workers started by torchrun; one process alone is a group of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from profiler.errors import InvalidInputError
from profiler.models.refusal import one_line
from profiler.numerals import whole_number
from profiler.printable import shown
from profiler.system.lock import device_lock
from profiler.terminal import Terminal

_PATIENCE = timedelta(days=7)  # one worker may evaluate or fine-tune while the others wait


@dataclass(frozen=True)
class Workers:
    """This process among `world_size` equal ones, and the device it computes on."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def terminal(self, terminal: Terminal) -> Terminal:
        """`terminal` for the first, silence for the others."""
        return terminal if self.is_first else Terminal(quiet=True)

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Held by the first while they write: two commands would lose each other's work."""
        return device_lock(name) if self.is_first else nullcontext()

    def share(self, n: int) -> slice:
        """This worker's part of `n` things; parts differ by one at most."""
        first, end = (rank * n // self.world_size for rank in (self.rank, self.rank + 1))
        return slice(first, end)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, the same on every worker but for their values, by their mean."""
        chosen = list(tensors)
        if self.world_size == 1 or not chosen:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in chosen])
        torch.distributed.all_reduce(flat)
        flat /= self.world_size
        parts = torch.split(flat, [tensor.numel() for tensor in chosen])
        for tensor, part in zip(chosen, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def agree(self, value: Any) -> Any:
        """The first worker's value (JSON-like) on every worker."""
        if self.world_size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until every worker is here."""
        if self.world_size > 1:
            torch.distributed.barrier()


@contextmanager
def open_workers(device: str = "auto") -> Iterator[Workers]:
    """Join the group that torchrun describes in the environment; leave it at the end.

    Raises:
        InvalidInputError: `device` (auto, cpu, cuda) is not to be had, or the environment tells
            of no group.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidInputError(f"unknown device {device!r}; known: auto, cpu, cuda")
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise InvalidInputError("PyTorch sees no CUDA GPU; use --device cpu")
    on_gpu = has_gpu and device != "cpu"
    local = _told_by_torchrun("LOCAL_RANK", least=0)
    chosen = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise InvalidInputError(
                f"process {local} has no GPU of its own, there are {torch.cuda.device_count()}; "
                "use fewer processes or --device cpu"
            )
        torch.cuda.set_device(chosen)
    world_size = _told_by_torchrun("WORLD_SIZE", least=1)
    if world_size == 1:
        yield Workers(device=chosen)
        return
    try:
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:  # a variable that lacks or is wrong, no connection
        raise InvalidInputError(
            f"no group of {world_size} processes, as WORLD_SIZE says: {one_line(error)}; begin "
            "them with torchrun, or unset it"
        ) from None
    try:
        yield Workers(torch.distributed.get_rank(), world_size, chosen)
    finally:
        torch.distributed.destroy_process_group()


def _told_by_torchrun(name: str, *, least: int) -> int:
    """A number in the environment; where there is none, that of one process alone."""
    text = os.environ.get(name, str(least))
    number = whole_number(text)
    if number is None or number < least:
        raise InvalidInputError(
            f"{name} is {shown(text)}, not a whole number from {least} on; begin with torchrun, "
            "or unset it"
        )
    return number
