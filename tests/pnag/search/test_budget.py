import numpy as np
import pytest

from pnag.search.budget import BudgetGrid, budgets_at, parse_amount, parse_budget_ms
from profiler.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "budget_ms"),
    [("35", 35), ("35ms", 35), ("35 ms", 35), ("0.035s", 35), ("35s", 35_000), ("35MS", 35),
     ("2.5e1", 25), ("900us", 0.9),
     ("900\N{MICRO SIGN}s", 0.9), ("900\N{GREEK SMALL LETTER MU}s", 0.9), ("1e-2s", 10)],
)  # fmt: skip
def test_budgets_are_read_in_ms(text, budget_ms):
    assert parse_budget_ms(text) == pytest.approx(budget_ms, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    ["0", "-3", "-3ms", "nan", "inf", "infs", "", "ms", "35 m", "35kg", "1e999", "3 5"],
)
def test_bad_budgets_are_one_clear_line(text):
    with pytest.raises(InvalidInputError, match="is not a positive latency") as error:
        parse_budget_ms(text)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "count"), [("6M", 6e6), ("300m", 3e8), ("1.5G", 1.5e9), ("7", 7)])
def test_counts(text, count):
    assert parse_amount(text, "madds", what="MAdds") == count


@pytest.mark.parametrize("text", ["", "M", "-6M", "0", "nan", "6X", "6MM", "inf"])
def test_bad_counts(text):
    with pytest.raises(InvalidInputError, match="MAdds bound"):
        parse_amount(text, "madds", what="MAdds")


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [("12", "mJ", 12), ("12mJ", "mJ", 12), ("0.012 J", "mJ", 12), ("900\N{MICRO SIGN}J", "mJ", 0.9),
     ("1.5GB", "MB", 1500), ("0.04s", "ms", 40), ("7 W", "W", 7)],
)  # fmt: skip
def test_any_cost_is_bounded_in_its_unit(text, unit, amount):
    assert parse_amount(text, unit, what="x") == pytest.approx(amount, rel=1e-12)


@pytest.mark.parametrize("text", ["12ms", "12k", "-1mJ", "mJ", "1e999", "0"])
def test_an_amount_of_another_unit_is_refused(text):
    with pytest.raises(InvalidInputError, match=r"energy bound .* is not a positive number of mJ"):
        parse_amount(text, "mJ", what="energy")


def test_drawn_budgets_span_the_range_with_both_its_ends():
    shares = np.arange(1000) / 1000
    budgets = budgets_at(10.0, 60.0, shares)
    assert budgets[0] == 10.0
    assert (budgets <= 60.0).all()
    assert (budgets == 60.0).mean() == pytest.approx(0.02, abs=0.002)
    np.testing.assert_allclose(np.diff(budgets[:980]), 0.051)


def test_interpolation_is_linear_between_neighbours_and_constant_outside():
    grid = BudgetGrid.evenly(10, 40, 4)
    weights = grid.weights(np.array([5.0, 10.0, 22.5, 40.0, 100.0]))
    expected = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1],
                [0, 0, 0, 1]]  # fmt: skip
    np.testing.assert_allclose(weights, np.array(expected), atol=1e-6)


def test_one_budget_is_the_middle_and_the_same_everywhere():
    grid = BudgetGrid.evenly(10, 40, 1)
    assert grid.anchors_ms.tolist() == [25.0]
    assert grid.weights(np.array([1.0, 30.0])).tolist() == [[1.0], [1.0]]
