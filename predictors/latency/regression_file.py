"""Fitted regressions in files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.latency.features import SHAPE_FEATURES, WORK_TERMS
from predictors.latency.regression import RANGES, Forest, KindModel, OpRegression
from predictors.latency.work_law import CHANNEL_BLOCKS, WorkLaw
from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.system.tensor_files import described, description_of, read_arrays, write_arrays

SCHEMA = "pnag.op-regression/1"
METADATA = "regression"
FEATURES = [*WORK_TERMS, *SHAPE_FEATURES]


def save_regression(regression: OpRegression, path: Path) -> None:
    """Write atomically; the same regression gives the same bytes."""
    law = regression.law
    arrays: dict[str, NDArray[Any]] = {"costs": law.costs}
    for kind, model in regression.kinds.items():
        arrays |= {f"{kind}.low": model.low, f"{kind}.high": model.high}
        if model.forest is not None:
            for field in fields(Forest):
                arrays[f"{kind}.{field.name}"] = getattr(model.forest, field.name)
    description = {
        "schema": SCHEMA,
        "features": FEATURES,
        "channel_block": law.channel_block,
        "offsets": law.offsets,
    }
    write_arrays(path, arrays, described(METADATA, description))


def load_regression(path: Path) -> OpRegression:
    """Read a regression back.

    Raises:
        InvalidInputError: unreadable, of another schema or other features, or damaged.
    """
    arrays, metadata = read_arrays(path)
    description = description_of(metadata, METADATA, SCHEMA, path)
    try:
        if description["features"] != FEATURES:
            raise InvalidInputError(f"{path} was fitted on other features; fit it again")
        offsets = {str(kind): float(v) for kind, v in description["offsets"].items()}
        _check_numbers(arrays, offsets)
        block = description["channel_block"]
        if block not in CHANNEL_BLOCKS:
            raise ValueError(f"channel block {shown(block)}")
        law = WorkLaw(int(block), arrays["costs"], offsets)
        kinds = {kind: _kind_model(arrays, kind) for kind in offsets}
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidInputError(f"{path} is damaged or no regression: {error}") from None
    return OpRegression(law, kinds)


def _kind_model(arrays: dict[str, NDArray[Any]], kind: str) -> KindModel:
    forest = None
    if f"{kind}.roots" in arrays:
        parts = {field.name: arrays[f"{kind}.{field.name}"] for field in fields(Forest)}
        forest = Forest(**parts)
        _check_forest(forest)
    return KindModel(forest, arrays[f"{kind}.low"], arrays[f"{kind}.high"])


def _check_numbers(arrays: dict[str, NDArray[Any]], offsets: dict[str, float]) -> None:
    """Sizes that the law and the ranges have, and finite offsets, which are no arrays."""
    shapes = {"costs": (2 * len(WORK_TERMS),)}
    shapes |= {f"{kind}.{end}": (len(RANGES),) for kind in offsets for end in ("low", "high")}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is of shape {arrays[name].shape}, not {shape}")
    if not np.isfinite(list(offsets.values())).all():
        raise ValueError("offsets are not finite")


def _check_forest(forest: Forest) -> None:
    """Children come after their node, so that walking down a tree always ends."""
    parts = {f.name: getattr(forest, f.name) for f in fields(Forest)}
    whole = {name for name, array in parts.items() if array.dtype.kind == "i"}
    roots, n = parts.pop("roots"), len(forest.value)
    shapes = {array.shape for array in parts.values()}
    if (
        shapes != {(n,)}
        or roots.ndim != 1
        or not len(roots)
        or whole != {"left", "right", "feature", "roots"}
    ):
        raise ValueError("its trees are not arrays of nodes")
    node = np.arange(n)
    inner = forest.left >= 0
    sound = (
        bool(np.all(forest.left[inner] > node[inner]))
        and bool(np.all(forest.right[inner] > node[inner]))
        and bool(np.all(np.maximum(forest.left, forest.right) < n))
        and bool(np.all((forest.feature >= 0) & (forest.feature < len(SHAPE_FEATURES))))
        and bool(np.all((forest.roots >= 0) & (forest.roots < n)))
    )
    if not sound:
        raise ValueError("its trees are not trees")
