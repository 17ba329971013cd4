import numpy as np
import pytest

from predictors.tabular import TabularAccuracy, TabularCost
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace
from profiler.spaces.tabular import load_tabular_space

CSV = """kernel,block,top1_pct,latency_ms
3,mb,70,1.5
5,mb,72.5,2
5,skip,60,0.5
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "space.csv"
        path.write_text(text)
        return path

    return written


def test_columns_become_tokens_and_values_are_looked_up(write):
    space = load_tabular_space(write(CSV))
    assert isinstance(space, SearchSpace)
    assert [position.choices for position in space.positions] == [("3", "5"), ("mb", "skip")]
    tokens = np.stack([space.parse("5,skip"), space.parse(" 3, mb")])
    assert TabularAccuracy(space).top1(tokens).tolist() == [0.6, 0.7]
    assert TabularCost(space)(tokens).tolist() == [0.5, 1.5]
    assert space.format(tokens[0]) == "5,skip"
    assert space.values(tokens[1]) == ["3", "mb"]


def test_a_spreadsheets_byte_order_mark_is_no_name(write):
    assert load_tabular_space(write("\ufeff" + CSV)).positions == (
        load_tabular_space(write(CSV)).positions
    )


def test_samples_are_rows(write):
    space = load_tabular_space(write(CSV))
    drawn = space.sample(100, np.random.default_rng(0))
    assert sorted(set(space.row_index(drawn).tolist())) == [0, 1, 2]


def test_numbers_sort_as_numbers(write):
    space = load_tabular_space(write("w,top1,latency_ms\n16,0.5,1\n8,0.4,1\n128,0.6,1\n"))
    assert space.positions[0].choices == ("8", "16", "128")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "1 values, expected 2"),
        ("7,mb", "kernel has no choice '7'"),
        ("3,skip", "3,skip is not a row"),
    ],
)
def test_what_is_no_row_is_refused(write, text, message):
    with pytest.raises(InvalidInputError, match=message):
        load_tabular_space(write(CSV)).parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,top1,latency_ms\n", "no rows"),
        ("a,latency_ms\n1,2\n", "header needs"),
        ("a,top1,top1_pct,latency_ms\n1,0.5,50,2\n", "header needs"),
        ("top1,latency_ms\n0.5,2\n", "no token columns"),
        ("a,top1,latency_ms\n1,0.5\n", "line 2: 2 of 3 cells"),
        ("a,b,top1,latency_ms\n1,2,0.5,2\n,3,0.6,3\n", "line 3: a is empty"),
        (
            "a,b,top1,latency_ms\n1,2,0.5,2\n3,2,0.5,2\n\n1,2,0.6,3\n",
            "line 5: 1,2 is listed twice, first in line 2",
        ),
        ("a,top1,latency_ms\n8,0.5,2\n4,0.6,3\n8.0,0.6,3\n", "line 4: a is both 8 and 8.0"),
        ("a,top1,latency_ms\n1,0.5,2\n2,50,2\n", "line 3: top1 50 .*name a percentage top1_pct"),
        ("a,top1_pct,latency_ms\n1,0.5,2\n2,0.6,2\n", "line 2: .*name a fraction top1"),
        ("a,top1_pct,latency_ms\n1,60,2\n2,0.6,2\n", "line 3: .*name a fraction top1"),
        ("a,top1,latency_ms\n1,0.5,2\n2,0.5,0\n", "line 3: latency_ms 0 must be positive"),
        ("a,top1,latency_ms\n1,nan,1\n", "line 2: top1 'nan' is not a number"),
        ("a,top1,latency_ms\n1,0.5,fast\n", "line 2: latency_ms 'fast' is not a number"),
    ],
)
def test_malformed_files_are_one_clear_line(write, text, message):
    with pytest.raises(InvalidInputError, match=message) as error:
        load_tabular_space(write(text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot read"):
        load_tabular_space(tmp_path / "none.csv")
