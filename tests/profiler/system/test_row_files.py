"""The checks that all tables of rows share; each refusal names file and line."""

from pathlib import Path

import pytest

from profiler.errors import InvalidInputError
from profiler.system.row_files import fractions, parse_rows, share_columns

SOURCE = Path("given.csv")


def refusal(text: str, column: str | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        rows = parse_rows(text, SOURCE).rows
        if column is not None:
            fractions(rows, column)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_rows_know_their_lines() -> None:
    text = 'arch, top1\r\n"1,2",0.5\r\n\r\n"3\n4", 0.7 \r\n5,6\r\n\r\n\n'
    table = parse_rows(text, SOURCE)
    assert table.header == ("arch", "top1")
    assert [(row.line, *row.cells.values()) for row in table.rows] == [
        (2, "1,2", "0.5"),
        (4, "3\n4", "0.7"),
        (6, "5", "6"),
    ]
    assert parse_rows("", SOURCE).rows == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n1\n", "given.csv line 4: 1 of 2 cells; is the file cut short?"),
        # decimal commas, an architecture without quotes
        ("a,b\n1,2,3\n", "given.csv line 2: 3 of 2 cells; put quotes around a cell with commas, "),
        ("a,b\n1,2\n,\n", "given.csv line 3: all cells are empty; leave out the row"),
        ("a;b\n1,5;2\n", "given.csv line 1: separate cells by commas"),
        ("a\tb\n1\t2\n", "given.csv line 1: separate cells by commas"),
        (",a\n0,1\n", "given.csv line 1: column 1 has no name; name it or leave it out (pandas: "),
        ("\na,b,\n0,1,\n", "given.csv line 2: column 3 has no name"),
        ("a,b,a\n0,1,2\n", "given.csv line 1: two columns are named a"),
        ('a,b\n"1"2,3\n', "given.csv line 2 is not CSV: "),
        ('a,b\n"1', "given.csv line 2 is not CSV: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize("text", ["12.5", "-3", "+.5", "7.", "9e-05", "1E3"])
def test_decimal_numbers_are_numbers(text: str) -> None:
    (row,) = parse_rows(f"a,b\n{text},x\n", SOURCE).rows
    assert row.number("a") == float(text)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1_000", "1e999", "true", "54%", "1.8 ms", '"0,5"', "0x10", "٣"]
)
def test_nothing_else_is_a_number(text: str) -> None:
    (row,) = parse_rows(f"a,b\n{text},x\n", SOURCE).rows
    with pytest.raises(InvalidInputError, match=r"given\.csv line 2: a '.*' is not a number"):
        row.number("a")


def test_what_is_no_number_is_refused_at_once_however_long() -> None:
    """Digits that can be read in two ways are read in as many ways as there are pairs of them."""
    (row,) = parse_rows(f"a\n{100_000 * '9'}x\n", SOURCE).rows
    with pytest.raises(InvalidInputError, match="is not a number") as refused:
        row.number("a")
    assert len(str(refused.value)) < 500


def test_cells_that_are_needed_are_not_empty() -> None:
    (row,) = parse_rows("a,b\n,0\n", SOURCE).rows
    for read in (row.text, row.number, row.positive):
        with pytest.raises(InvalidInputError, match=r"^given\.csv line 2: a is empty; fill it in"):
            read("a")
    with pytest.raises(InvalidInputError, match="line 2: b 0 must be positive"):
        row.positive("b")


def test_a_share_is_a_fraction_or_a_percentage_by_its_name() -> None:
    rows = parse_rows("top1,top1_pct,top5\n0.5,50,1\n1,0,1\n", SOURCE)
    assert share_columns(rows.header, "top1") == ["top1", "top1_pct"]
    assert fractions(rows.rows, "top1") == [0.5, 1.0]
    assert fractions(rows.rows, "top1_pct") == [0.5, 0.0]
    assert fractions([], "top1") == []


def test_a_network_may_truly_be_right_in_less_than_one_percent() -> None:
    """Cells of NAS-Bench-201 that learn nothing: 1 of 120 and of 100 classes."""
    for worst, best in ((0.83333, 47.31111), (1.0, 73.51333)):
        rows = parse_rows(f"top1_pct\n{worst}\n{best}\n", SOURCE).rows
        assert fractions(rows, "top1_pct") == [worst / 100, best / 100]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("top1", "0.5 70", "line 3: top1 70 is outside its range, 0 to 1; name a percentage top1_"),
        ("top1", "0.5 -0.1", "line 3: top1 -0.1 is outside its range, 0 to 1"),
        ("top1_pct", "50 101", "line 3: top1_pct 101 is outside its range, 0 to 100"),
        ("top1_pct", "0.5 0.7", "line 2: top1_pct 0.5 looks like a fraction; name a fraction top1"),
        ("top1_pct", "70.1 0.69", "line 3: top1_pct 0.69 looks like a fraction"),
    ],
)
def test_shares_in_another_unit_are_refused(column: str, values: str, message: str) -> None:
    text = "\n".join([column, *values.split()])
    assert refusal(text, column).startswith(f"given.csv {message}")
