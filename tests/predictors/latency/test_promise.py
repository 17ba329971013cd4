"""Budgets that a search fills, in later sessions, on random landscapes whose truth is known.

Ops alone and ops inside networks differ at random; a table of 30 networks and later 20 of the
search's own are read in launches with levels of their own; and the search takes, of thousands of
architectures, those of the lowest predicted cost for their accuracy.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest

from predictors.cost import additive_cost, madds_cost
from predictors.latency.lookup import calibrated, cost_from_table
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.op_factors import op_groups
from profiler.tables.sessions import SessionLevel
from profiler.tables.table import LatencyTable, NetworkEntry, Verdict
from tests.predictors.synthetic import law_ms, make_table

SPACE = MobileNetV3Space()
OP, SIZE, NETWORK = 0.03, 0.04, 0.003  # what ops, sizes of maps and networks deviate by
HOUR, LAUNCH, PLACE = 0.006, 0.003, 0.004  # levels, and networks within a launch
N_DRAWN, N_PICKS, N_BRIDGES, N_CANDIDATES, N_LATER = 30, 20, 12, 10_000, 20


@dataclass
class Landscape:
    seed: int
    own: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self):
        self.rng = rng = np.random.default_rng(self.seed)
        ops = SPACE.distinct_ops().values()
        sizes = {op_groups(op).get("size"): rng.normal(0, SIZE) for op in ops}
        inside = {
            op: 0.9 * law_ms(op) * np.exp(sizes[op_groups(op).get("size")] + rng.normal(0, OP))
            for op in ops
        }
        alone = {op: law_ms(op) * np.exp(rng.normal(0, OP)) for op in ops}
        self.cost = additive_cost(SPACE, inside.__getitem__, intercept=0.3)
        self.empty = make_table(alone_ms=alone.__getitem__)
        self.candidates = SPACE.sample(N_CANDIDATES, rng)
        liking = rng.normal(0, 0.01, N_CANDIDATES)
        self.accuracy_order = np.argsort(np.log(madds_cost(SPACE)(self.candidates)) + liking)

    def level(self, hour):
        return hour + self.rng.normal(0, LAUNCH)

    def hour(self):
        return self.rng.normal(0, HOUR)

    def read_ms(self, tokens, level):
        """[n] as a plain timer reads them in a launch of this level."""
        own = np.array(
            [self.own.setdefault(t.tobytes(), self.rng.normal(0, NETWORK)) for t in tokens]
        )
        placed = self.rng.normal(0, PLACE, len(tokens))
        return self.cost(tokens) * np.exp(own + level + placed)

    def measured(self, tokens):
        """Three launches of one hour: [3, n] readings, and [n] without their mean level."""
        hour = self.hour()
        levels = [self.level(hour) for _ in range(3)]
        read_ms = np.array([self.read_ms(tokens, level) for level in levels])
        return read_ms, np.exp(np.log(read_ms).mean(axis=0))

    @cached_property
    def table(self):
        tokens = SPACE.sample(N_DRAWN, self.rng)
        read_ms, latency_ms = self.measured(tokens)
        return extended(self.empty, tokens, latency_ms, sessions("08", read_ms, latency_ms))

    def picks(self, cost):
        """[50, L] the lowest predicted cost in each of 50 bins of accuracy."""
        predicted = cost(self.candidates)
        bins = np.array_split(self.accuracy_order, 50)
        return self.candidates[[one[predicted[one].argmin()] for one in bins]]

    def refined(self):
        """The table with picks, on its scale by networks of it that are read again."""
        table = calibrated(self.table)
        tokens = self.picks(cost_from_table(table))[np.linspace(0, 49, N_PICKS).round().astype(int)]
        known = table.networks[:: N_DRAWN // N_BRIDGES][:N_BRIDGES]
        bridges = np.stack([SPACE.parse(one.arch) for one in known])
        then_ms = np.array([one.latency_ms for one in known])
        read_ms, latency_ms = self.measured(np.concatenate([tokens, bridges]))
        scale = np.median(then_ms / latency_ms[N_PICKS:])
        levels = sessions("11", read_ms[:, N_PICKS:], then_ms)
        return calibrated(
            extended(table, tokens, scale * latency_ms[:N_PICKS], levels, picked=True)
        )

    def uses(self, table):
        """[later, n] measured shares of the budgets that picks fill with 95 % confidence, in later
        sessions."""
        cost = cost_from_table(table)
        picks = self.picks(cost)
        later_ms = [self.read_ms(picks, self.level(self.hour())) for _ in range(N_LATER)]
        return np.array(later_ms) / cost.margin(0.95).added(cost(picks))


def extended(table: LatencyTable, tokens, latency_ms, levels, picked=False):
    entries = [
        NetworkEntry(arch=arch, latency_ms=float(ms), verdict=Verdict.STABLE, picked=picked)
        for arch, ms in zip(map(SPACE.format, tokens), latency_ms, strict=True)
    ]
    return table.model_copy(
        update={
            "networks": (*table.networks, *entries),
            "sessions": (*table.sessions, *levels),
        }
    )


def sessions(hour, read_ms, table_ms):
    return [
        SessionLevel.of(f"2026-01-01T{hour}:0{at}:00+00:00", "boot", launch, table_ms)
        for at, launch in enumerate(read_ms)
    ]


@pytest.fixture(scope="module")
def uses():
    landscapes = [Landscape(seed) for seed in range(8)]
    return np.array([one.uses(one.refined()) for one in landscapes])


def test_picks_keep_their_budgets_in_later_sessions(uses):
    assert np.mean(uses <= 1) >= 0.95


def test_and_fill_them(uses):
    assert uses.mean() >= 0.96
