"""What a row draws and how it rounds does not depend on the rows beside it."""

import numpy as np
import pytest

from pnag.search.independence import Streams, occurrences, product

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((200, 64)).astype(np.float32)
MATRIX = RNG.standard_normal((64, 256)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 100])
def test_a_product_rounds_a_row_alike_among_any_others(n):
    every = product(ROWS, MATRIX)
    np.testing.assert_allclose(every, ROWS @ MATRIX, rtol=1e-4, atol=1e-4)
    for start in (0, 5, 64):
        some = product(ROWS[start : start + n], MATRIX)
        assert (some == every[start : start + n]).all()


def test_a_budget_draws_alike_among_any_others():
    budgets_ms = np.array([30.0, 20.0, 30.0])
    repeats = occurrences(budgets_ms)
    assert repeats == [0, 0, 1]
    numbers = Streams.of_budgets(7, budgets_ms, repeats).random((6, 4), dtype=np.float32)
    assert numbers.dtype == np.float32
    alone = Streams.of_budgets(7, budgets_ms[:1], [0]).random((2, 4), dtype=np.float32)
    assert (numbers[:2] == alone).all()
    assert len(np.unique(numbers)) == 24  # no two budgets, and no repetition, share any
    other_seed = Streams.of_budgets(8, budgets_ms[:1], [0]).random((2, 4), dtype=np.float32)
    assert not (other_seed == alone).any()
