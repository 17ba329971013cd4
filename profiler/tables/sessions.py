"""How the sessions in which networks were measured differ from what the table says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

MIN_NETWORKS = 3


class SessionLevel(BaseModel):
    """Networks as one launch of the runtime read them, against their latencies in the table.

    What is read is what a plain timer shows: a low quantile of the launch's own samples, neither
    normalised by a canary nor bridged to another session.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    started: str  # the launch, UTC, ISO 8601
    epoch: str  # boot and version of the runtime
    n_networks: int = Field(ge=MIN_NETWORKS)
    level: float = Field(gt=0)  # median ratio of what was read to the table's latency
    scatter: float = Field(ge=0)  # standard deviation of the networks' ratios, relative to it

    @classmethod
    def of(
        cls, started: str, epoch: str, read_ms: Sequence[float], table_ms: Sequence[float]
    ) -> Self:
        """
        >>> SessionLevel.of("2026-01-01", "boot", [2.04, 5.1, 10.2], [2.0, 5.0, 10.0])
        SessionLevel(started='2026-01-01', epoch='boot', n_networks=3, level=1.02, scatter=0.0)
        """
        ratios = np.asarray(read_ms, np.float64) / np.asarray(table_ms, np.float64)
        level = float(np.median(ratios))
        scatter = float(np.std(ratios / level, ddof=1))
        return cls(
            started=started,
            epoch=epoch,
            n_networks=len(ratios),
            level=round(level, 6),
            scatter=round(scatter, 6),
        )
