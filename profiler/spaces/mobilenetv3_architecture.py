"""Architectures of Once-for-All's MobileNetV3, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiler.errors import InvalidInputError
from profiler.spaces.once_for_all import is_dict, read_lists, whole

N_STAGES = 5
SLOTS_PER_STAGE = 4
N_SLOTS = N_STAGES * SLOTS_PER_STAGE
DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANDS = (3, 4, 6)
WRITTEN = "depths:kernels:expands, e.g. 2,2,2,2,2:3,3,0,0,...:4,4,0,0,..."


@dataclass(frozen=True, slots=True)
class Architecture:
    """A MobileNetV3 α: kernels and expands over active blocks only, stage by stage."""

    depths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    expand_ratios: tuple[int, ...]
    resolution_px: int = 224
    width_mult: float = 1.0

    def __str__(self) -> str:
        """`depths:kernels:expands` with zeros for inactive blocks."""
        parts = [self.depths, self._padded(self.kernel_sizes), self._padded(self.expand_ratios)]
        return ":".join(",".join(map(str, part)) for part in parts)

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """(slot 0-19, expand ratio, kernel) of every active block, in order of execution."""
        choices = zip(self.expand_ratios, self.kernel_sizes, strict=True)
        for stage, depth in enumerate(self.depths):
            for within in range(depth):
                yield (stage * SLOTS_PER_STAGE + within, *next(choices))

    def to_ofa(self) -> dict[str, object]:
        """Once-for-All's dict; inactive blocks repeat the smallest choice, as OFA needs 20."""
        kernels = [value or KERNELS[0] for value in self._padded(self.kernel_sizes)]
        expands = [value or EXPANDS[0] for value in self._padded(self.expand_ratios)]
        return {"d": list(self.depths), "ks": kernels, "e": expands, "r": self.resolution_px}

    def _padded(self, values: tuple[int, ...]) -> list[int]:
        padded, rest = [], list(values)
        for depth in self.depths:
            padded += rest[:depth] + [0] * (SLOTS_PER_STAGE - depth)
            rest = rest[depth:]
        return padded


def read_architecture(text: str, resolution_px: int, width_mult: float) -> Architecture:
    """Read `depths:kernels:expands` (zeros for inactive blocks) or Once-for-All's dict, as JSON or
    as Python prints it.

    Raises:
        InvalidInputError: malformed, or an architecture of another resolution.
    """
    depths, kernels, expands = read_lists(
        text, ("d", "ks", "e"), resolution_px, expected=WRITTEN, number=whole
    )
    if len(depths) != N_STAGES or not len(kernels) == len(expands) == N_SLOTS:
        raise InvalidInputError(
            f"malformed architecture: {len(depths)} depths, {len(kernels)} kernels and "
            f"{len(expands)} expands; expected {N_STAGES}, {N_SLOTS} and {N_SLOTS}"
        )
    active = [depth > slot for depth in depths for slot in range(SLOTS_PER_STAGE)]
    slots = list(zip(kernels, expands, active, strict=True))
    if not is_dict(text) and any(not on and (k or e) for k, e, on in slots):
        raise InvalidInputError("malformed architecture: an inactive block must be written 0")
    return Architecture(
        tuple(depths),
        tuple(k for k, _, on in slots if on),
        tuple(e for _, e, on in slots if on),
        resolution_px,
        width_mult,
    )
