"""What every cost and every accuracy model must do: suites to inherit from; they need pytest.

class TestMyCost(CostConformance):
    def space(self):
        return MySpace()

    def cost(self):
        return MyCost()
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from predictors.base import AccuracyModel, CostFunction, Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens

N_SAMPLES = 100
CONFIDENCES = (0.5, 0.8, 0.9, 0.95)


class _OverTokens:
    """A function of tokens [n, L] to values [n], one architecture at a time or many."""

    def space(self) -> SearchSpace:
        raise NotImplementedError

    def values(self) -> Callable[[Tokens], Floats]:
        raise NotImplementedError

    def drawn(self) -> Tokens:
        return self.space().sample(N_SAMPLES, np.random.default_rng(0))

    def test_one_finite_value_for_each_architecture(self) -> None:
        values = self.values()(self.drawn())
        assert values.shape == (N_SAMPLES,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()

    def test_no_architectures_have_no_values(self) -> None:
        assert self.values()(self.drawn()[:0]).shape == (0,)

    def test_values_do_not_depend_on_the_company(self) -> None:
        tokens, function = self.drawn(), self.values()
        together = function(tokens)
        alone = [function(tokens[i : i + 1])[0] for i in range(N_SAMPLES)]
        assert alone == pytest.approx(together.tolist(), rel=1e-6)
        assert function(tokens[::-1]) == pytest.approx(together[::-1], rel=1e-6)

    def test_the_same_question_has_the_same_answer(self) -> None:
        tokens = self.drawn()
        assert (self.values()(tokens) == self.values()(tokens)).all()

    def test_tokens_are_left_as_they_are(self) -> None:
        tokens = self.drawn()
        before = tokens.copy()
        self.values()(tokens)
        assert (tokens == before).all()


class CostConformance(_OverTokens):
    """Implement `space` and `cost`."""

    def cost(self) -> CostFunction:
        raise NotImplementedError

    def values(self) -> Callable[[Tokens], Floats]:
        return self.cost()

    def test_satisfies_the_protocol(self) -> None:
        assert isinstance(self.cost(), CostFunction)
        assert self.cost().unit

    def test_costs_are_positive(self) -> None:
        assert (self.cost()(self.drawn()) > 0).all()

    def test_an_interval_widens_with_confidence_or_is_refused(self) -> None:
        """A cost without measurements behind it has no interval; 0 would be a promise."""
        widths = []
        for confidence in CONFIDENCES:
            try:
                widths.append(self.cost().relative_interval(confidence))
            except InvalidInputError:
                break
        assert widths == sorted(widths)
        assert all(width > 0 for width in widths)


class AccuracyConformance(_OverTokens):
    """Implement `space` and `accuracy`."""

    def accuracy(self) -> AccuracyModel:
        raise NotImplementedError

    def values(self) -> Callable[[Tokens], Floats]:
        return self.accuracy().top1

    def test_satisfies_the_protocol(self) -> None:
        assert isinstance(self.accuracy(), AccuracyModel)

    def test_accuracies_are_fractions(self) -> None:
        top1 = self.accuracy().top1(self.drawn())
        assert (top1 >= 0).all() and (top1 <= 1).all()
