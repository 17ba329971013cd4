"""Accuracy tables: the user's own evaluated architectures, and models fitted to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from predictors.accuracy import FittedAccuracy, HeldOut, Provenance
from predictors.base import Floats
from predictors.quadratic import Encoding, cross_validate, fit_quadratic
from profiler.errors import InvalidInputError
from profiler.space import MobileNetV3Space, Tokens
from profiler.table import SpaceRef

SCHEMA: Final = "pnag.accuracy-table/1"
MIN_ROWS = 30
FOLDS = 5
CSV_COLUMNS = {"top1": 1.0, "top1_pct": 0.01}  # header -> factor to a fraction


class Row(BaseModel):
    """One evaluated architecture."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    arch: str | dict[str, Any] = Field(
        description="`depths:kernels:expands`, or Once-for-All's dict with d, ks, e (and r)"
    )
    top1: float = Field(ge=0, le=1, description="a fraction")


class AccuracyFile(BaseModel):
    """The JSON file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    schema_: Literal["pnag.accuracy-table/1"] = Field(
        default=SCHEMA, validation_alias="schema", serialization_alias="schema"
    )
    space: SpaceRef
    dataset: str
    source: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class AccuracyTable:
    """Architectures of one space and their accuracies, each architecture once.

    Attributes:
        tokens: [n, 45]. top1: [n] fractions; the mean where the file lists one repeatedly.
    """

    space: MobileNetV3Space
    tokens: Tokens
    top1: Floats
    dataset: str
    source: str
    licence: str = "unknown"

    @staticmethod
    def of(
        space: MobileNetV3Space,
        rows: Iterable[tuple[Tokens, float]],
        *,
        dataset: str,
        source: str,
        licence: str = "unknown",
    ) -> AccuracyTable:
        """From tokens [45] and fractions; repeated evaluations are averaged."""
        repeats: dict[bytes, list[float]] = {}
        for tokens, top1 in rows:
            repeats.setdefault(np.asarray(tokens, np.int8).tobytes(), []).append(top1)
        stacked = np.frombuffer(b"".join(repeats), np.int8).reshape(-1, len(space.positions))
        means = np.array([math.fsum(values) / len(values) for values in repeats.values()])
        return AccuracyTable(space, stacked, means, dataset, source, licence)


def accuracy_from_table(
    table: AccuracyTable,
    space: MobileNetV3Space,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    repeats: int = 1,
    keep_rows: bool = True,
) -> FittedAccuracy:
    """Fit the table; its own architectures keep their measured accuracy (`keep_rows`).

    Raises:
        InvalidInputError: another space, fewer than 30 architectures, or all equal.
    """
    if table.space != space:
        raise InvalidInputError(f"accuracies of {table.space}, not of {space}")
    if len(table.top1) < MIN_ROWS:
        raise InvalidInputError(
            f"{table.source}: {len(table.top1)} distinct architectures; "
            f"at least {MIN_ROWS} are needed to predict the others"
        )
    if np.ptp(table.top1) == 0:
        raise InvalidInputError(f"{table.source}: all accuracies are equal")
    encoding = Encoding(tuple(len(position.choices) for position in space.positions))
    model, _ = fit_quadratic(encoding, table.tokens, table.top1, np.random.default_rng(seed))
    return FittedAccuracy(
        space,
        model,
        Provenance(
            table.dataset,
            table.source,
            table.licence,
            len(table.top1),
            seed,
            datetime.now(UTC).date().isoformat(),
        ),
        _held_out(encoding, table, folds, repeats, seed),
        *((table.tokens, table.top1) if keep_rows else ()),
    )


def _held_out(
    encoding: Encoding, table: AccuracyTable, folds: int, repeats: int, seed: int
) -> HeldOut:
    from scipy.stats import kendalltau, spearmanr

    figures = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        predicted = cross_validate(encoding, table.tokens, table.top1, folds=folds, rng=rng)
        errors = 100 * (predicted - table.top1)
        figures.append(
            (
                np.mean(np.abs(errors)),
                np.sqrt(np.mean(errors**2)),
                spearmanr(predicted, table.top1).statistic,
                kendalltau(predicted, table.top1).statistic,
            )
        )
    mae, rmse, spearman, kendall = map(float, np.mean(figures, axis=0))
    return HeldOut(mae, rmse, spearman, kendall, folds, repeats)
