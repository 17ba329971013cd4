"""Which whole networks are measured beside the ops: spread over the range of the space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from profiler.spaces.base import Tokens
from profiler.spaces.decisions import DecisionGraph, decision_graph
from profiler.spaces.networks import NetworkSpace

POOL_PER_NETWORK = 40
MAX_TILT = 2.5
TRIES_PER_NETWORK = 100  # small spaces have fewer networks than are asked for


def draw_networks(space: NetworkSpace, count: int, *, seed: int) -> Tokens:
    """[count, L] distinct architectures: both extremes, then half spread over MAdds, half uniform.

    A calibration fitted on uniform samples alone would extrapolate to cheap and to costly
    networks, since uniform samples crowd in the middle (the sum of many choices).
    """
    rng, graph, madds_of = np.random.default_rng(seed), decision_graph(space), _madds(space)
    n_spread = (count - min(count, 2)) // 2
    ends = _all_alike(space, graph)
    pool = [_tilted(space, graph, rng) for _ in range(POOL_PER_NETWORK * max(1, n_spread))]
    pool = sorted(pool, key=madds_of)
    madds = np.array([madds_of(tokens) for tokens in pool])
    by_madds = sorted([*ends, pool[0], pool[-1]], key=madds_of)
    chosen = _distinct([by_madds[0], by_madds[-1]][:count])
    for target in np.linspace(madds[0], madds[-1], n_spread + 2)[1:-1]:
        chosen |= _distinct([pool[int(np.argmin(np.abs(madds - target)))]])
    for _ in range(TRIES_PER_NETWORK * count):
        if len(chosen) == count:
            break
        chosen |= _distinct(space.sample(1, rng))
    return np.array(list(chosen.values()), np.int8).reshape(-1, len(space.positions))


def extremes(space: NetworkSpace) -> Tokens:
    """[2, L] all first choices, and all last ones: the smallest and the largest where choices
    rise."""
    found: Tokens = _all_alike(space, decision_graph(space))[[0, -1]]
    return found


def _all_alike(space: NetworkSpace, graph: DecisionGraph) -> Tokens:
    """[C, L] at all positions the first choice, the second, ...; the last where there are fewer."""
    n_choices = np.array([len(position.choices) for position in space.positions])
    alike = np.minimum(np.arange(n_choices.max())[:, None], n_choices - 1)
    rows: Tokens = graph.without_dead(alike.astype(np.int8))
    return rows


def _distinct(rows: Tokens | list[Tokens]) -> dict[bytes, Tokens]:
    return {row.tobytes(): row for row in rows}


def _madds(space: NetworkSpace) -> Callable[[Tokens], float]:
    """Of the network of [L] tokens."""
    stretches = [
        (part.positions, part.sums(lambda op: op.graph.madds)) for part in space.segments()
    ]
    return lambda tokens: sum(
        madds.get(tuple(int(tokens[at]) for at in positions), 0) for positions, madds in stretches
    )


@runtime_checkable
class DrawsTilted(Protocol):
    """A space with a way of its own to do it."""

    def tilted(self, tilt: float, rng: np.random.Generator) -> Tokens:
        """[L] random tokens, each of weight exp(tilt · token)."""
        ...


def _tilted(space: NetworkSpace, graph: DecisionGraph, rng: np.random.Generator) -> Tokens:
    """A random architecture that leans to small or to large choices by a random amount."""
    tilt = rng.uniform(-MAX_TILT, MAX_TILT)
    if isinstance(space, DrawsTilted):
        return space.tilted(tilt, rng)
    genes = []
    for position in space.positions:
        weights = np.exp(tilt * np.arange(len(position.choices)))
        genes.append(rng.choice(len(weights), p=weights / weights.sum()))
    row: Tokens = graph.without_dead(np.array([genes], np.int8))[0]
    return row
