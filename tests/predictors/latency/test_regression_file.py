import json
import re

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from predictors.latency.regression import fit_regression
from predictors.latency.regression_file import load_regression, save_regression
from profiler.errors import InvalidInputError
from tests.predictors.synthetic import make_table


@pytest.fixture(scope="module")
def table():
    return make_table(alone_ms=lambda op: 0.01 + op.graph.madds**0.9 / 1e7)


@pytest.fixture(scope="module")
def fitted(table):
    return fit_regression([table])


@pytest.fixture
def saved(fitted, tmp_path):
    path = tmp_path / "regression.safetensors"
    save_regression(fitted, path)
    return path


def rewrite(path, *, description=None, **arrays):
    with safe_open(path, framework="numpy") as file:
        old = json.loads(file.metadata()["regression"])
    metadata = {"regression": json.dumps(old | (description or {}))}
    save_file(load_file(path) | arrays, path, metadata)


def test_a_stored_regression_predicts_the_same_to_the_bit(table, fitted, saved):
    ops = list(table.search_space.distinct_ops().values())
    loaded = load_regression(saved)
    assert (loaded.predict_ms(ops) == fitted.predict_ms(ops)).all()
    assert loaded.refusal(ops[0], threads=2) == fitted.refusal(ops[0], threads=2)


def test_the_same_table_gives_the_same_file(table, saved, tmp_path):
    again = tmp_path / "again.safetensors"
    save_regression(fit_regression([table]), again)
    assert again.read_bytes() == saved.read_bytes()


def test_damaged_files_are_refused(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="not a safetensors file"):
        load_regression(saved)
    saved.unlink()
    with pytest.raises(InvalidInputError, match=re.escape(str(saved))):
        load_regression(saved)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"schema": "pnag.op-regression/0"}, "has schema 'pnag.op-regression/0'"),
        ({"features": ["a", "b"]}, "fitted on other features"),
        ({"offsets": {"NoSuchKind": 0.0}}, "is damaged"),
        ({"offsets": {"expanded_conv": 10**400}}, "too large"),
        ({"channel_block": 0}, "channel block 0"),
        ({"channel_block": float("inf")}, "channel block inf"),
    ],
)
def test_other_schemas_are_refused(saved, description, message):
    rewrite(saved, description=description)
    with pytest.raises(InvalidInputError, match=message):
        load_regression(saved)


def test_trees_that_lead_in_circles_are_refused(saved):
    name = "expanded_conv.left"
    left = load_file(saved)[name].copy()
    left[np.flatnonzero(left >= 0)[5]] = 0
    rewrite(saved, **{name: left})
    with pytest.raises(InvalidInputError, match="its trees are not trees"):
        load_regression(saved)


@pytest.mark.parametrize(("cost", "told"), [(0.0, "0 ms"), (1e308, "inf ms")])
def test_costs_that_give_no_latency_are_told(table, saved, cost, told):
    rewrite(saved, costs=np.full_like(load_file(saved)["costs"], cost))
    (op, *_) = table.search_space.distinct_ops().values()
    with pytest.raises(InvalidInputError, match=f"cannot predict {op.key}: {told}"):
        load_regression(saved).predict_ms([op])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("left", lambda array: array[:, None]),
        ("roots", lambda array: array.astype(np.float32)),
        ("roots", lambda array: array[:0]),
    ],
)
def test_what_are_no_arrays_of_nodes_are_no_trees(saved, part, change):
    name = f"expanded_conv.{part}"
    rewrite(saved, **{name: change(load_file(saved)[name])})
    with pytest.raises(InvalidInputError, match="not arrays of nodes"):
        load_regression(saved)


@pytest.mark.parametrize("name", ["costs", "expanded_conv.low", "expanded_conv.value"])
@pytest.mark.parametrize("damage", ["short", "nan"])
def test_arrays_of_another_size_or_without_numbers_are_refused(saved, name, damage):
    array = load_file(saved)[name]
    rewrite(saved, **{name: array[:-1].copy() if damage == "short" else array * np.nan})
    with pytest.raises(InvalidInputError, match="is damaged"):
        load_regression(saved)
