import numpy as np
import pytest
from scipy.stats import t

from profiler.measuring import comparison
from profiler.measuring.comparison import Comparison, Difference
from profiler.measuring.protocol import FULL

CONFIDENCE, COPIES, PASSES = 0.99, 5, 60


def compare(first_ms: list[float], other_ms: list[float]) -> Comparison:
    return comparison.compare(first_ms, other_ms, confidence=CONFIDENCE)


def test_the_interval_is_welchs():
    """The textbook formula, of logarithms."""
    first, other = [1.0, 1.02, 0.99, 1.01], [1.2, 1.3, 1.25]
    a, b = np.log(first), np.log(other)
    va, vb = a.var(ddof=1) / 4, b.var(ddof=1) / 3
    freedom = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 2)
    half = t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(va + vb)
    found = compare(first, other)
    middle = b.mean() - a.mean()
    assert found.ratio == pytest.approx(np.exp(middle))
    assert found.interval == pytest.approx((np.exp(middle - half), np.exp(middle + half)))
    assert found.finding is Difference.SLOWER
    assert compare(other, first).finding is Difference.FASTER


def test_copies_without_scatter_are_compared_exactly():
    assert compare([2.0, 2.0], [2.0, 2.0]).finding is Difference.NOT_TOLD_APART
    assert compare([2.0, 2.0], [3.0, 3.0]).interval == pytest.approx((1.5, 1.5))


def simulated_ms(ratio, rng):
    """Latencies of the copies of two models measured in turns, by their 10th percentiles.

    A shared machine: a level that wanders by 3 % and steps once by 8 %, noise that lasts for
    some blocks (autocorrelation 0.8) and only ever adds time, and 1 % by where a copy lies.
    """
    time = np.arange(PASSES)
    drift = 0.03 * rng.standard_normal(PASSES).cumsum() / np.sqrt(PASSES)
    drift += 0.08 * (time > rng.uniform(0.2, 0.8) * PASSES)
    found = []
    for factor in (1.0, ratio):
        lies = 0.01 * rng.standard_normal((COPIES, 1))
        noise = np.zeros((COPIES, PASSES))
        for at in range(1, PASSES):
            noise[:, at] = 0.8 * noise[:, at - 1] + 0.01 * rng.standard_normal(COPIES)
        blocks = 10 * factor * np.exp(lies + drift + np.abs(noise))
        found.append(np.quantile(blocks, 0.1, axis=1))
    return found


def findings(ratio, n):
    rng = np.random.default_rng(0)
    return [compare(*simulated_ms(ratio, rng)).finding for _ in range(n)]


def test_the_rule_is_that_of_the_protocol():
    assert (FULL.comparison.confidence, FULL.comparison.copies) == (CONFIDENCE, COPIES)


def test_the_same_model_twice_is_not_told_apart():
    """1,000 runs: 1 % by design, 5 % allowed."""
    found = findings(1.0, 1000)
    assert found.count(Difference.NOT_TOLD_APART) >= 980


def test_a_difference_beyond_the_scatter_of_the_copies_is_told():
    found = findings(1.05, 200)
    assert found.count(Difference.SLOWER) >= 190
    assert findings(1 / 1.05, 200).count(Difference.FASTER) >= 190
