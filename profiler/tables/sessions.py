"""How the sessions in which networks were measured differ from what the table says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MIN_NETWORKS = 3
MIN_FOR_LINE = 5
MOST_OFF = 0.03  # an offset's standard error, as a share of the fastest network's latency
LOWEST = 1e-3  # of a level, whatever a line says of networks far from those it was fitted to

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """now = slope · then + offset, to within `scatter` of it (relative, one standard deviation);
    the offset to within its standard error, inf where all then were alike."""

    slope: float
    offset_ms: float
    scatter: float
    offset_error_ms: float


def fit_line(ratios: Floats, then_ms: Floats) -> Line:
    """Least squares of relative error to [n] ratios of now to then, n > 2."""
    design = np.column_stack([np.ones_like(then_ms), 1 / then_ms])
    slope, offset_ms = np.linalg.lstsq(design, ratios, rcond=None)[0]
    rest = ratios - slope - offset_ms / then_ms
    scatter = math.sqrt(np.sum(rest**2) / (len(rest) - 2))
    spread = math.sqrt(len(rest) * np.var(1 / then_ms))
    error_ms = scatter / spread if spread > 0 else math.inf
    return Line(round(float(slope), 6), round(float(offset_ms), 6), scatter, error_ms)


class SessionLine(BaseModel):
    """A session as offset and slope: a share of the last-level cache that others take costs
    networks about the same time each, not the same share of theirs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    offset_ms: float
    slope: float = Field(gt=0)
    scatter: float = Field(ge=0)  # standard deviation of the networks around it, relative

    @classmethod
    def fit(cls, ratios: Floats, table_ms: Floats) -> Self | None:
        """Least squares of relative error; None where too few or like networks tell no line.

        >>> table_ms = np.array([1, 2, 4, 10, 20.0])
        >>> SessionLine.fit(np.array([1.11, 1.06, 1.035, 1.02, 1.015]), table_ms)
        SessionLine(offset_ms=0.1, slope=1.01, scatter=0.0)
        """
        if len(ratios) < MIN_FOR_LINE or np.ptp(table_ms) <= 0:
            return None
        line = fit_line(ratios, table_ms)
        if line.slope <= 0 or line.offset_error_ms > MOST_OFF * table_ms.min():
            return None
        return cls(offset_ms=line.offset_ms, slope=line.slope, scatter=round(line.scatter, 6))


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
    line: SessionLine | None = None  # absent in tables of earlier versions

    def level_at(self, latency_ms: float) -> float:
        """Of networks that take so long."""
        if self.line is None:
            return self.level
        return max(self.line.slope + self.line.offset_ms / latency_ms, LOWEST)

    @property
    def scatter_at(self) -> float:
        """Of networks around `level_at`."""
        return self.scatter if self.line is None else self.line.scatter

    @classmethod
    def of(
        cls, started: str, epoch: str, read_ms: Sequence[float], table_ms: Sequence[float]
    ) -> Self:
        """
        >>> print(SessionLevel.of("2026-01-01", "boot", [2.04, 5.1, 10.2], [2.0, 5.0, 10.0]).level)
        1.02
        """
        table = np.asarray(table_ms, np.float64)
        ratios = np.asarray(read_ms, np.float64) / table
        level = float(np.median(ratios))
        scatter = float(np.std(ratios / level, ddof=1))
        return cls(
            started=started,
            epoch=epoch,
            n_networks=len(ratios),
            level=round(level, 6),
            scatter=round(scatter, 6),
            line=SessionLine.fit(ratios, table),
        )
