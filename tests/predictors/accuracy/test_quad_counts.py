import numpy as np
import pytest

from predictors.accuracy.quad_counts import QuadCounts
from predictors.accuracy.quadratic import Encoding


@pytest.mark.parametrize("n_choices", [(3, 2, 4), (2,), (3,) * 8])
def test_counts_are_the_sums_of_products_of_two_functions(n_choices):
    """Against the definition: the functions as columns, multiplied."""
    encoding, rng = Encoding(n_choices), np.random.default_rng(0)
    tokens = np.stack([rng.integers(-1, n, 70) for n in n_choices], axis=1).astype(np.int8)
    x = encoding.features(tokens)
    i, j = np.triu_indices(x.shape[1])
    functions = np.column_stack([np.ones(70), x, x[:, i] * x[:, j]])
    chunks = [x[:30], x[30:60], x[60:]]
    counts = QuadCounts.of(encoding.n_features, chunks)
    assert counts.matrix().tolist() == (functions.T @ functions).tolist()
    rest = counts.without(QuadCounts.of(encoding.n_features, chunks[:1]))
    assert rest.matrix().tolist() == (functions[30:].T @ functions[30:]).tolist()


def test_a_third_of_the_products_is_computed():
    """Of the half of a symmetric matrix of 4,186 functions."""
    counts = QuadCounts.of(90, [np.ones((1, 90))]).counts
    assert counts.tolist() == [1] * len(counts)
    assert len(counts) < 0.4 * 4186**2 / 2
