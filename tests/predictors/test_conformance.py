from functools import cache

import numpy as np
import pytest

from predictors.accuracy.fitted import embedded_accuracy
from predictors.cost import AdditiveCost, LongestCost, Term, madds_cost, params_cost
from predictors.latency.lookup import cost_from_table
from predictors.tabular import TabularAccuracy, TabularCost
from predictors.testing import AccuracyConformance, CostConformance
from profiler.spaces.base import TokenPosition
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.tabular import TabularSpace
from tests.predictors.synthetic import make_table


@cache
def table():
    return make_table(n_networks=30)


class OverMobileNetV3:
    def space(self):
        return MobileNetV3Space()


class OverRows:
    def space(self):
        positions = (TokenPosition("kernel", ("3", "5")), TokenPosition("block", ("mb", "skip")))
        rows = np.array([[0, 0], [1, 0], [1, 1]], np.int8)
        return TabularSpace("tabular:blocks", positions, rows, np.full(3, 0.7), np.arange(1.0, 4.0))


class TestTableCost(OverMobileNetV3, CostConformance):
    def cost(self):
        return cost_from_table(table())


class TestLongestCost(OverMobileNetV3, CostConformance):
    def cost(self):
        table_sum = cost_from_table(table())
        assert isinstance(table_sum, AdditiveCost)
        halved = tuple(Term(term.positions, term.values / 2) for term in table_sum.terms)
        launches = AdditiveCost(table_sum.fixed * 2, halved)
        return LongestCost((launches, table_sum), {0.9: 0.02, 0.95: 0.03})


@pytest.mark.parametrize("resource", [madds_cost, params_cost])
class TestResourceCosts(OverMobileNetV3, CostConformance):
    @pytest.fixture(autouse=True)
    def of(self, resource):
        self._resource = resource

    def cost(self):
        return self._resource(self.space())


class TestTabularCost(OverRows, CostConformance):
    def cost(self):
        return TabularCost(self.space())


class TestEmbeddedAccuracy(OverMobileNetV3, AccuracyConformance):
    def accuracy(self):
        return embedded_accuracy(self.space())


class TestTabularAccuracy(OverRows, AccuracyConformance):
    def accuracy(self):
        return TabularAccuracy(self.space())
