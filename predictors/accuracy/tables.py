"""Accuracy tables: the user's own evaluated architectures, and models fitted to them.

Three layouts are read: ours (docs/schemas/accuracy-table-1.json), CSV with `arch` and `top1`
(a fraction) or `top1_pct`, and the `architectures.json` of PNAG's authors
(github.com/guoyongcs/PNAG, core/dataset.py): a list of ``{"arch", "w1.0": {"top1_acc"}, ...}``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from predictors.accuracy.checks import MIN_CHECKS, Correction, corrected
from predictors.accuracy.fitted import FittedAccuracy, HeldOut, Provenance
from predictors.accuracy.quadratic import Encoding, Evaluations, QuadraticModel
from predictors.base import Floats
from predictors.threads import one_thread
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.networks import NetworkSpace
from profiler.system.atomic import write_text_atomic
from profiler.system.row_files import fractions, parse_rows, share_columns
from profiler.system.user_files import check_schema, parse_json, read_text, validated
from profiler.tables.table import SpaceRef

SCHEMA: Final = "pnag.accuracy-table/1"
MIN_ROWS = 30
FOLDS = 5
PUBLISHED_RESOLUTION_PX = 224


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
    n_images: int | None = Field(
        default=None,
        gt=0,
        description="images that each accuracy is of, where they stand for others",
    )
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class AccuracyTable:
    """Architectures of one space and their accuracies, each architecture once.

    Attributes:
        tokens: [n, 45]. top1: [n] fractions; the mean where the file lists one repeatedly.
        n_images: how many images each is of; None where they are all that count.
    """

    space: NetworkSpace
    tokens: Tokens
    top1: Floats
    dataset: str
    source: str
    licence: str = "unknown"
    n_images: int | None = None

    @staticmethod
    def of(
        space: NetworkSpace,
        rows: Iterable[tuple[Tokens, float]],
        *,
        dataset: str,
        source: str,
        licence: str = "unknown",
        n_images: int | None = None,
    ) -> AccuracyTable:
        """From tokens [45] and fractions; repeated evaluations are averaged."""
        repeats: dict[bytes, list[float]] = {}
        for tokens, top1 in rows:
            repeats.setdefault(np.asarray(tokens, np.int8).tobytes(), []).append(top1)
        stacked = np.frombuffer(b"".join(repeats), np.int8).reshape(-1, len(space.positions))
        means = np.array([math.fsum(values) / len(values) for values in repeats.values()])
        return AccuracyTable(space, stacked, means, dataset, source, licence, n_images)

    def to_json(self) -> str:
        """The file's text in our layout."""
        document = AccuracyFile(
            space=SpaceRef.of(self.space),
            dataset=self.dataset,
            source=self.source,
            n_images=self.n_images,
            rows=tuple(
                Row(arch=self.space.format(tokens), top1=float(top1))
                for tokens, top1 in zip(self.tokens, self.top1, strict=True)
            ),
        )
        return (
            json.dumps(document.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1)
            + "\n"
        )

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_text_atomic(path, self.to_json())


def load_accuracy_table(path: Path, space: NetworkSpace) -> AccuracyTable:
    """Read any of the three layouts; the file's content, not its name, tells which.

    Raises:
        InvalidInputError: unreadable, malformed, of another space, or of unclear units.
    """
    text = read_text(path)
    if not text.lstrip().startswith(("{", "[")):
        return _read_csv(path, text, space)
    document = parse_json(text, path)
    if isinstance(document, dict) and "schema" in document:
        return _read_own(path, document, space)
    return _read_published(path, document, space)


def _read_own(path: Path, document: dict[str, Any], space: NetworkSpace) -> AccuracyTable:
    check_schema(document, SCHEMA, path)
    table = validated(AccuracyFile, document, path)
    wanted = SpaceRef.of(space)
    if table.space != wanted:
        raise InvalidInputError(f"{path} is a table of {table.space}, not of {wanted}")
    rows = [
        (_parse(f"{path} row {i}", row.arch, space), row.top1)
        for i, row in enumerate(table.rows, 1)
    ]
    return AccuracyTable.of(
        space, rows, dataset=table.dataset, source=table.source, n_images=table.n_images
    )


def _read_csv(path: Path, text: str, space: NetworkSpace) -> AccuracyTable:
    table = parse_rows(text, path)
    columns = share_columns(table.header, "top1")
    if "arch" not in table.header or len(columns) != 1:
        raise InvalidInputError(f"{path}: the header needs arch and one of top1 or top1_pct")
    parsed = [_parse(f"{path} line {row.line}", row.text("arch"), space) for row in table.rows]
    rows = zip(parsed, fractions(table.rows, columns[0]), strict=True)
    return AccuracyTable.of(space, rows, dataset="unknown", source=path.name)


def _read_published(path: Path, document: Any, space: NetworkSpace) -> AccuracyTable:
    """Its accuracies are at 224 px; a percentage is told from a fraction by the whole column."""
    ref = SpaceRef.of(space)
    if ref.name != "mbv3" or ref.resolution_px != PUBLISHED_RESOLUTION_PX:
        raise InvalidInputError(
            f"{path} is in the layout of published mbv3 accuracies at "
            f"{PUBLISHED_RESOLUTION_PX} px, not of {space}"
        )
    width = f"w{ref.width_mult:.1f}"
    try:
        if isinstance(document, dict):
            document = [{"arch": arch} | entry for arch, entry in document.items()]
        found = [(entry["arch"], entry[width]["top1_acc"]) for entry in document if width in entry]
    except (TypeError, KeyError):
        raise InvalidInputError(
            f"{path}: expected entries with arch and {width}: {{top1_acc}}"
        ) from None
    if not found:
        raise InvalidInputError(f"{path} has no accuracies of width {width[1:]}")
    values = np.array([_number(f"{path} row {i}", value) for i, (_, value) in enumerate(found, 1)])
    if (values <= 0).any() or (values > 100).any() or len(set(values > 1)) > 1:
        raise InvalidInputError(
            f"{path}: top1_acc from {values.min():g} (row {values.argmin() + 1}) to "
            f"{values.max():g} (row {values.argmax() + 1}) is neither all fractions nor all "
            "percentages"
        )
    shares = values / 100 if values[0] > 1 else values
    rows = [
        (_parse(f"{path} row {i}", _with_inactive_blocks(arch), space), float(top1))
        for i, ((arch, _), top1) in enumerate(zip(found, shares, strict=True), 1)
    ]
    return AccuracyTable.of(space, rows, dataset="ImageNet-1k", source=path.name)


def _with_inactive_blocks(arch: Any) -> Any:
    """As a dict, in which inactive blocks may hold any choice: so PNAG's controller writes."""
    if not isinstance(arch, str) or arch.count(":") != 2:
        return arch
    depths, kernels, expands = (part.split(",") for part in arch.split(":"))
    return {"d": depths, "ks": kernels, "e": expands}


def _parse(where: str, arch: Any, space: NetworkSpace) -> Tokens:
    try:
        return space.parse(arch if isinstance(arch, str) else json.dumps(arch))
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def _number(where: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and abs(value) <= sys.float_info.max:
        return float(value)
    raise InvalidInputError(f"{where}: {value!r} is not a number")


@one_thread()
def accuracy_from_table(
    table: AccuracyTable,
    space: NetworkSpace,
    *,
    checks: AccuracyTable | None = None,
    seed: int = 0,
    folds: int = FOLDS,
    repeats: int = 1,
    keep_rows: bool = True,
    trained: str | None = None,
) -> FittedAccuracy:
    """Fit the table; its own architectures keep their measured accuracy (`keep_rows`), as far as
    it is not an error of the images.

    Of many accuracies with errors the best one is too good. Of what an accuracy differs from its
    prediction, the share of the variance that `n_images` do not explain is kept. With `checks`,
    accuracies nearer to the truth of some architectures, the model is corrected by these, its
    figures are of these, and only these are kept.

    The same table and seed give the same model on any day: `trained`, a date, is the caller's.

    Raises:
        InvalidInputError: another space, fewer than 30 architectures or 20 checks, or all equal.
    """
    _refuse_unfit(table, space, MIN_ROWS, "to predict the others")
    encoding = Encoding(tuple(len(position.choices) for position in space.positions))
    evaluations = Evaluations(encoding, table.tokens, table.top1)
    model, _ = evaluations.fit(np.random.default_rng(seed))
    provenance = Provenance(
        table.dataset, table.source, table.licence, len(table.top1), seed, trained
    )
    if checks is not None:
        fitted = _checked(model, checks, space, provenance)
        if not keep_rows or checks.n_images is not None:
            return fitted
        return replace(fitted, rows=checks.tokens, rows_top1=checks.top1)
    predicted = model.predict(table.tokens)
    held_out, noise_variance = _held_out(evaluations, predicted, folds, repeats, seed)
    image_sd = _image_sd(table)
    fitted = FittedAccuracy(space, model, provenance, held_out, image_sd_points=100 * image_sd)
    if not keep_rows or (image_sd and noise_variance <= image_sd**2):
        return fitted
    by_images = image_sd**2 / noise_variance if image_sd else 0.0
    kept = table.top1 - by_images * (table.top1 - predicted)  # may be predicted above 1
    return replace(fitted, rows=table.tokens, rows_top1=np.clip(kept, 0.0, 1.0))


def _refuse_unfit(table: AccuracyTable, space: NetworkSpace, fewest: int, what_for: str) -> None:
    if table.space != space:
        raise InvalidInputError(f"accuracies of {table.space}, not of {space}")
    if len(table.top1) < fewest:
        raise InvalidInputError(
            f"{table.source}: {len(table.top1)} distinct architectures; "
            f"at least {fewest} are needed {what_for}"
        )
    if np.ptp(table.top1) == 0:
        raise InvalidInputError(f"{table.source}: all accuracies are equal")


def _checked(
    model: QuadraticModel, checks: AccuracyTable, space: NetworkSpace, provenance: Provenance
) -> FittedAccuracy:
    """The model as checks correct it, with leave-one-out figures over these."""
    _refuse_unfit(checks, space, MIN_CHECKS, "to correct a model by")
    after = corrected(model, checks.tokens, checks.top1)
    n = len(checks.top1)
    overestimate = 100 * float(np.mean(model.predict(checks.tokens) - checks.top1))
    return FittedAccuracy(
        space,
        after.model,
        replace(provenance, source=f"{provenance.source}; checked: {checks.source}"),
        HeldOut(*_figures(after.held_out, checks.top1), folds=n, repeats=1),
        image_sd_points=100 * _image_sd(checks),
        correction=Correction(n, after.confirmed, overestimate, checks.n_images),
    )


def _image_sd(table: AccuracyTable) -> float:
    """Standard error of one accuracy by the choice of images (binomial); 0 where there is none."""
    if table.n_images is None:
        return 0.0
    mean = float(table.top1.mean())
    return math.sqrt(mean * (1 - mean) / table.n_images)


def _held_out(
    evaluations: Evaluations, fitted: Floats, folds: int, repeats: int, seed: int
) -> tuple[HeldOut, float]:
    """Figures, and the variance of the noise in the accuracies.

    Of a Gaussian process with noise σ², a row's residual is σ² / (σ² + v) of its held-out one,
    whose variance is σ² + v: the mean of their products is σ².
    """
    figures, noise_variances = [], []
    for repeat in range(repeats):
        rows, predicted = evaluations.cross_validate(folds, np.random.default_rng([seed, repeat]))
        top1 = evaluations.values[rows]
        noise_variances.append(np.mean((predicted - top1) * (fitted[rows] - top1)))
        figures.append(_figures(predicted, top1))
    mae, rmse, spearman, kendall = map(float, np.mean(figures, axis=0))
    held_out = HeldOut(mae, rmse, spearman, kendall, folds, repeats)
    return held_out, float(np.mean(noise_variances))


def _figures(predicted: Floats, top1: Floats) -> tuple[float, float, float, float]:
    """MAE and RMSE in points, Spearman's and Kendall's correlation."""
    from scipy.stats import kendalltau, spearmanr

    errors = 100 * (predicted - top1)
    return (
        float(np.mean(np.abs(errors))),
        float(np.sqrt(np.mean(errors**2))),
        float(spearmanr(predicted, top1).statistic),
        float(kendalltau(predicted, top1).statistic),
    )
