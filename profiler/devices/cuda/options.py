"""How a GPU is used: launches, cache, memory format, clocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast, get_args

from profiler.devices.backend import flag
from profiler.errors import InvalidInputError
from profiler.printable import shown

if TYPE_CHECKING:
    from profiler.devices.base import DeviceInfo

LaunchMode = Literal["graph", "eager"]
CacheMode = Literal["hot", "cold"]
MAX_CLOCK_MHZ = 100_000


@dataclass(frozen=True, slots=True)
class CudaMode:
    """How a GPU is used. All of it is part of a table's device, and of every result's key.

    Attributes:
        lock_clocks_mhz: hold the SM clock there; None leaves all clocks alone.

    Raises:
        InvalidInputError: no such mode, or modes that contradict each other.
    """

    launch: LaunchMode = field(
        default="graph",
        metadata=flag(
            "--launch", "cuda: graph (the GPU's time) or eager (torch's).", recorded=True
        ),
    )
    l2: CacheMode = field(
        default="hot", metadata=flag("--l2", "cuda: L2 cache hot or cold.", recorded=True)
    )
    channels_last: bool = field(
        default=False, metadata=flag("--channels-last", "cuda: tensors as NHWC.", recorded=True)
    )
    lock_clocks_mhz: int | None = field(
        default=None,
        metadata=flag(
            "--lock-clocks", "cuda: hold the SM clock at MHz meanwhile (root).", recorded=True
        ),
    )

    def __post_init__(self) -> None:
        for name, modes in (("launch", LaunchMode), ("l2", CacheMode)):
            if getattr(self, name) not in get_args(modes):
                raise InvalidInputError(
                    f"unknown {name} mode {getattr(self, name)!r}; known: "
                    f"{', '.join(get_args(modes))}"
                )
        if (self.launch, self.l2) == ("eager", "cold"):
            raise InvalidInputError(
                "a cold L2 needs graph launches: while the cache is flushed the host would run "
                "ahead, and eager launches would cost nothing"
            )
        if self.lock_clocks_mhz is not None and not 1 <= self.lock_clocks_mhz <= MAX_CLOCK_MHZ:
            raise InvalidInputError(f"clocks cannot be locked at {shown(self.lock_clocks_mhz)} MHz")

    @classmethod
    def of(cls, info: DeviceInfo) -> CudaMode:
        """The mode that a table's device was in."""
        options = dict(info.options)
        locked = options.get("locked_clock_mhz")
        return cls(
            cast(LaunchMode, options["launch"]),
            cast(CacheMode, options["l2"]),
            options["memory_format"] == "channels_last",
            None if locked is None else int(locked),
        )
