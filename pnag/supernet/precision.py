"""The number format that a supernet's layers compute in; weights and statistics stay float32."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which convolutions compute in `precision` on `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
