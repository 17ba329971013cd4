"""Readers of models of accuracy and latency, and of costs that were measured of all."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from importlib.resources import as_file
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from predictors.accuracy.checks import Correction
from predictors.accuracy.enumerated import shipped_file
from predictors.accuracy.fitted import (
    FittedAccuracy,
    HeldOut,
    Provenance,
    PublishedNetwork,
    load_accuracy_model,
    save_accuracy_model,
)
from predictors.accuracy.quadratic import Encoding, QuadraticModel
from predictors.enumerated import EnumeratedCost, load_costs, read_costs, save_costs
from predictors.latency.launches import LaunchModel, Law
from predictors.latency.regression import Forest, fit_regression
from predictors.latency.regression_file import load_regression, save_regression
from profiler.graph.op import Op
from profiler.spaces.base import Tokens
from profiler.spaces.registry import open_space
from profiler.spaces.tabular import TabularSpace
from profiler.system.tensor_files import read_arrays, write_arrays
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import SPACE, csv_of, of_file, saved, whole_table
from tests.fuzz.mutations import ARRAYS, TENSORS, TEXT
from tests.pnag.landscapes import grid_space


def _fitted(folder: Path) -> Sequence[bytes]:
    encoding = Encoding(tuple(len(position.choices) for position in SPACE.positions))
    d = sum(n - 1 for n in encoding.n_choices)
    model = FittedAccuracy(
        SPACE, QuadraticModel(encoding, 0.8, 0.1, np.eye(d) / d),
        Provenance("ImageNet", "test", "none", 40, 0), HeldOut(0.1, 0.2, 0.9, 0.8, 5, 1),
        SPACE.sample(3, np.random.default_rng(0)), np.array([0.7, 0.71, 0.72]),
        (PublishedNetwork("net", 224, 75.0, 75.1),), 0.1, Correction(20, 0.5, 0.1, 1000),
    )  # fmt: skip
    return [saved(folder, lambda path: save_accuracy_model(path, model))]


def _once_for_all(folder: Path) -> Sequence[bytes]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    sizes = [128, 16, 16, 16, 1]
    for at, (n, m) in enumerate(pairwise(sizes)):
        arrays[f"{2 * at}.weight"] = rng.normal(0, n**-0.5, (m, n)).astype(np.float32)
        arrays[f"{2 * at}.bias"] = np.full(m, 0.5, np.float32)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return [out.getvalue()]


def _accuracy_model(path: Path) -> Any:
    model = load_accuracy_model(path, SPACE)
    top1 = model.top1(SPACE.sample(5, np.random.default_rng(1)))
    assert np.isfinite(top1).all()
    if isinstance(model, FittedAccuracy):
        assert 0 <= model.half_width(0.95) < np.inf and str(model)
    return top1


def _regression(folder: Path) -> Sequence[bytes]:
    """Of one tree a kind."""
    whole = fit_regression([whole_table()])
    kinds = {
        kind: replace(model, forest=model.forest and first_tree(model.forest))
        for kind, model in whole.kinds.items()
    }
    regression = replace(whole, kinds=kinds)
    return [saved(folder, lambda path: save_regression(regression, path))]


def first_tree(forest: Forest) -> Forest:
    end = int(forest.roots[1])
    nodes = {field.name: getattr(forest, field.name)[:end] for field in fields(Forest)}
    return Forest(**{**nodes, "roots": forest.roots[:1]})


@cache
def _ops() -> list[Op]:
    return list(SPACE.distinct_ops().values())[:3]


def _regressed(path: Path) -> Any:
    predicted = load_regression(path).predict_ms(_ops(), however_small=True)
    assert (predicted > 0).all()
    return predicted


def _launch_model(folder: Path) -> Sequence[bytes]:
    law = Law(0.1, {"block": 0.01, "excitation": 0.02})
    model = LaunchModel(1, law, Law(0.2, {"madds": 1e-9}), False, {0.9: 0.02}, 1.5)
    return [saved(folder, model.save)]


def _launched(path: Path) -> Any:
    model = LaunchModel.load(path)
    for law in (model.launch, model.compute):
        assert law.fixed_ms >= 0 and min(law.costs.values(), default=0) >= 0
    assert all(0 < c < 1 and half >= 0 for c, half in model.relative_quantiles.items())
    return model


def _enumerated(folder: Path) -> Sequence[bytes]:
    """The accuracies that are read, of the three data sets that the file holds."""
    space = open_space("nasbench201")
    shipped = shipped_file(space)
    assert shipped is not None
    with as_file(shipped) as path:
        arrays, metadata = read_arrays(path)
    dataset = space.facts["dataset"]
    one = {dataset: arrays[dataset]}
    return [saved(folder, lambda path: write_arrays(path, one, metadata))]


def _enumeration(path: Path) -> Any:
    space = open_space("nasbench201")
    top1 = load_accuracy_model(path, space).top1(space.sample(5, np.random.default_rng(1)))
    assert ((top1 >= 0) & (top1 <= 1)).all()
    return top1


class Grid(TabularSpace):
    """27 architectures that are listed."""

    @classmethod
    def small(cls) -> Grid:
        grid = grid_space(n_positions=3, n_choices=3)
        return cls(grid.name, grid.positions, grid.rows, grid.top1, grid.latency_ms)

    def every(self) -> Tokens:
        return self.rows


GRID = Grid.small()


def _costs(folder: Path) -> Sequence[bytes]:
    rows = [[GRID.format(row), 0.5 + at, 100 - at] for at, row in enumerate(GRID.rows)]
    return [csv_of("arch,energy_mj,phone_ms", *rows)]


def _saved_costs(folder: Path) -> Sequence[bytes]:
    (folder / "costs.csv").write_bytes(_costs(folder)[0])
    costs = read_costs(folder / "costs.csv", GRID)
    return [saved(folder, lambda path: save_costs(path, costs))]


def _priced(load: Callable[..., Mapping[str, EnumeratedCost]]) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        costs = [cost(GRID.rows) for cost in load(path, GRID).values()]
        assert all((cost > 0).all() for cost in costs)
        return costs

    return read


def predictor_readers() -> list[Reader]:
    return [
        of_file("accuracy-model", "a.safetensors", TENSORS, _accuracy_model, _fitted),
        of_file("accuracy-ofa", "a.npz", ARRAYS, _accuracy_model, _once_for_all),
        of_file("accuracy-enumerated", "a.safetensors", TENSORS, _enumeration, _enumerated),
        of_file("regression", "r.safetensors", TENSORS, _regressed, _regression),
        of_file("costs-csv", "c.csv", TEXT, _priced(read_costs), _costs),
        of_file("costs", "c.safetensors", TENSORS, _priced(load_costs), _saved_costs),
        of_file("launch-model", "l.safetensors", TENSORS, _launched, _launch_model),
    ]
