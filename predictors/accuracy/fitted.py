"""Accuracy models: the embedded ImageNet one, and fitted ones in files of their own.

A file is safetensors: the arrays of a `QuadraticModel`, the evaluated architectures where they
may be shipped, and as metadata where the accuracies come from and how well they are predicted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy.checks import Correction
from predictors.accuracy.enumerated import is_enumeration, load_enumeration
from predictors.accuracy.once_for_all import load_ofa_accuracy
from predictors.accuracy.quadratic import Encoding, QuadraticModel
from predictors.base import AccuracyModel, Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.networks import NetworkSpace
from profiler.system.tensor_files import (
    described,
    description_of,
    is_tensor_file,
    read_arrays,
    read_metadata,
    write_arrays,
)
from profiler.system.user_files import validated
from profiler.tables.table import SpaceRef

SCHEMA: Final = "pnag.accuracy-model/1"
EMBEDDED: Final = (
    "ofa_mbv3_w1.0_224.safetensors",
    *(f"ofa_mbv3_w1.2_{px}.safetensors" for px in (160, 176, 192, 208, 224)),
)
METADATA: Final = "accuracy_model"
MOST_POINTS: Final = 1e6  # of an error that any fit has


@dataclass(frozen=True)
class HeldOut:
    """How well architectures that the model was not fitted to are predicted.

    Errors in points (hundredths of top-1); means over repeated cross-validation.
    """

    mae_points: float
    rmse_points: float
    spearman: float
    kendall: float
    folds: int
    repeats: int

    def __str__(self) -> str:
        return (
            f"held-out MAE {self.mae_points:.3f} points, Spearman {self.spearman:.3f} "
            f"({self.repeats} x {self.folds}-fold cross-validation)"
        )


@dataclass(frozen=True)
class Provenance:
    """What the accuracies are. `dataset` and `source` are free text for people."""

    dataset: str
    source: str
    licence: str
    n: int
    seed: int
    trained: str | None = None  # ISO date of a model that is shipped


@dataclass(frozen=True)
class PublishedNetwork:
    """A network's accuracy as its authors publish it, and what a model says that was calibrated
    on the others. Percentages."""

    name: str
    resolution_px: int
    top1_pct: float
    held_out_pct: float


@dataclass(frozen=True)
class FittedAccuracy:
    """An accuracy model fitted to evaluated architectures of one space.

    Attributes:
        rows: [m, L] architectures whose measured accuracy `rows_top1` [m] replaces the
            prediction; may be empty.
        networks: published networks that it is calibrated on; none where it needs no calibration.
        image_sd_points: standard error that all accuracies share, being of a sample of images.
        correction: what checks said of the fit, which the model follows; None without any.
    """

    space: NetworkSpace
    model: QuadraticModel
    provenance: Provenance
    held_out: HeldOut
    rows: Tokens = field(default_factory=lambda: np.empty((0, 0), np.int8))
    rows_top1: Floats = field(default_factory=lambda: np.empty(0))
    networks: tuple[PublishedNetwork, ...] = ()
    image_sd_points: float = 0.0
    correction: Correction | None = None

    def top1(self, tokens: Tokens) -> Floats:
        """[n] fractions of tokens [n, 45]: as measured where it was, else predicted."""
        tokens = np.asarray(tokens)
        top1 = self.model.predict(tokens)
        if len(self.rows):
            keys, order = self._measured
            wanted = _row_keys(tokens)
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            known = keys[found] == wanted
            top1[known] = self.rows_top1[order[found[known]]]
        return np.clip(top1, 0.0, 1.0)

    def half_width(self, confidence: float) -> float:
        """Of a normal interval: held-out error and the images' together, a fraction."""
        sd_points = math.hypot(self.held_out.rmse_points, self.image_sd_points)
        return NormalDist().inv_cdf((1 + confidence) / 2) * sd_points / 100

    def __str__(self) -> str:
        """How well accuracies are predicted, as far as that is known."""
        if self.correction:
            return f"{self.correction}; {self.held_out}"
        if self.image_sd_points:
            return f"{self.held_out}; not of other images, which --accuracy-checks would tell"
        return str(self.held_out)

    @cached_property
    def _measured(self) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        keys = _row_keys(self.rows)
        order = np.argsort(keys)
        return keys[order], order


def embedded_accuracy(space: NetworkSpace) -> FittedAccuracy:
    """ImageNet top-1 of Once-for-All's networks: `mbv3` w1.0 at 224 px without fine-tuning, w1.2
    at 160 to 224 px as published networks reach it (docs/accuracy.md).

    Raises:
        InvalidInputError: any other space.
    """
    available = []
    for name in EMBEDDED:
        with as_file(files("predictors").joinpath("data", name)) as path:
            description = description_of(read_metadata(path), METADATA, SCHEMA, path)
            if SpaceRef(**description["space"]).open() == space:
                return _read(path)
        available.append(str(SpaceRef(**description["space"])))
    raise InvalidInputError(
        f"no accuracies of {space} are built in (only of {', '.join(available)}); "
        "give your own with --accuracy-table or --accuracy-model (pnag help accuracy)"
    )


def load_accuracy_model(path: Path, space: NetworkSpace) -> AccuracyModel:
    """Read our safetensors, fitted or enumerated, or Once-for-All's accuracy predictor (a PyTorch
    checkpoint).

    Raises:
        InvalidInputError: unreadable, malformed, or of another space.
    """
    if not is_tensor_file(path):
        return load_ofa_accuracy(path, space)
    if is_enumeration(path):
        return load_enumeration(path, space)
    fitted = _read(path)
    if fitted.space != space:
        raise InvalidInputError(f"{path} is a model of {fitted.space}, not of {space}")
    return fitted


def save_accuracy_model(path: Path, model: FittedAccuracy) -> None:
    """Write the model as safetensors, atomically; the same model gives the same bytes."""
    arrays = {
        "ceiling": np.array([model.model.ceiling]),
        "bias": np.array([model.model.bias]),
        "weights": model.model.weights,
        "n_choices": np.array(model.model.encoding.n_choices, dtype=np.int16),
    }
    if len(model.rows):
        arrays |= {"rows": model.rows, "rows_top1": model.rows_top1}
    description: dict[str, Any] = {
        "schema": SCHEMA,
        "space": SpaceRef.of(model.space).model_dump(),
        "provenance": asdict(model.provenance),
        "held_out": asdict(model.held_out),
    }
    if model.image_sd_points:
        description["image_sd_points"] = model.image_sd_points
    if model.correction:
        description["correction"] = asdict(model.correction)
    if model.networks:
        description["networks"] = [asdict(network) for network in model.networks]
    write_arrays(path, arrays, described(METADATA, description))


def _read(path: Path) -> FittedAccuracy:
    arrays, metadata = read_arrays(path)
    try:
        return _build(arrays, description_of(metadata, METADATA, SCHEMA, path), path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{path} is malformed: {error}") from None


def _build(arrays: Mapping[str, Any], description: Mapping[str, Any], path: Path) -> FittedAccuracy:
    encoding = Encoding(tuple(int(n) for n in arrays["n_choices"]))
    space = SpaceRef(**description["space"]).open()
    ceiling, bias, weights = arrays["ceiling"], arrays["bias"], arrays["weights"]
    d = encoding.n_features
    if encoding.n_choices != tuple(len(p.choices) for p in space.positions):
        raise ValueError("its token positions are not those of its space")
    if weights.shape != (d, d) or not ceiling.shape == bias.shape == (1,):
        raise ValueError(f"weights {weights.shape} for {d} features")
    with np.errstate(over="ignore"):
        largest = np.abs(bias).sum() + np.abs(weights).sum()
    if not np.isfinite(largest):
        raise ValueError("weights too large to be added up")
    rows = arrays.get("rows", np.empty((0, len(encoding.n_choices)), np.int8))
    rows_top1 = arrays.get("rows_top1", np.empty(0))
    if rows.shape != (len(rows_top1), len(encoding.n_choices)) or rows_top1.ndim != 1:
        raise ValueError(f"{rows_top1.shape} accuracies for {rows.shape} architectures")
    if not ((rows_top1 >= 0) & (rows_top1 <= 1)).all():  # NaN is neither
        raise ValueError("accuracies of its rows that are no fractions")
    if not ((rows >= DEAD) & (rows < encoding.n_choices)).all():
        raise ValueError("rows with choices that its space does not have")
    held_out = _part(HeldOut, description["held_out"], path)
    image_sd_points = float(description.get("image_sd_points", 0.0))
    if not all(0 <= e <= MOST_POINTS for e in (held_out.rmse_points, image_sd_points)):
        raise ValueError("errors of its predictions that are no points")
    return FittedAccuracy(
        space,
        QuadraticModel(encoding, float(ceiling[0]), float(bias[0]), weights),
        _part(Provenance, description["provenance"], path),
        held_out,
        rows,
        rows_top1,
        tuple(_part(PublishedNetwork, one, path) for one in description.get("networks", ())),
        image_sd_points,
        _part(Correction, description["correction"], path) if "correction" in description else None,
    )


Part = TypeVar("Part", Provenance, HeldOut, PublishedNetwork, Correction)


def _part(kind: type[Part], fields: Mapping[str, Any], path: Path) -> Part:
    """What a description says of one thing, each field of its type."""
    return validated(kind, asdict(kind(**fields)), path)


def _row_keys(tokens: Tokens) -> NDArray[np.void]:
    """Rows as opaque byte strings, which sort and compare at once."""
    rows = np.ascontiguousarray(tokens, dtype=np.int8)
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
