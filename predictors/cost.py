"""c(α): a sum over the ops of a network, or the longer of several; vectorised over tokens.

`NetworkCost` is c of any list of ops, however each op is priced. Over one space it is tabulated
by choices, once, and then evaluates arrays of tokens and lies on the edges of decision graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite

import numpy as np

from predictors.base import Floats, Margin
from predictors.intervals import half_width, margin_of
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import FORGOTTEN, ROOT, DecisionGraph
from profiler.spaces.networks import NetworkSpace

OpCost = Callable[[Op], float]


@dataclass(frozen=True)
class Term:
    """What the choices at some positions add together; nothing where one of them is dead.

    Attributes:
        positions: indices, rising. values: [C_1, C_2, ...] by the choices there.
    """

    positions: tuple[int, ...]
    values: Floats

    @cached_property
    def padded(self) -> Floats:
        """`values` with a zero at the end of each axis, which index -1, DEAD, reads."""
        return np.pad(self.values, [(0, 1)] * self.values.ndim)

    @cached_property
    def _flat(self) -> tuple[Floats, list[int]]:
        strides = [stride // self.padded.itemsize for stride in self.padded.strides]
        return self.padded.ravel(), strides

    def of(self, columns: Tokens) -> Floats:
        """[n] of [L, n] tokens."""
        flat, strides = self._flat
        small = np.int8 if flat.size <= np.iinfo(np.int8).max else np.int64
        index = columns[self.positions[0]] * small(strides[0])
        for at, stride in zip(self.positions[1:], strides[1:], strict=True):
            index = index + columns[at] * small(stride)
        values: Floats = flat[index]
        return values


@dataclass(frozen=True)
class AdditiveCost:
    """c(α) = fixed + Σ terms.

    Attributes:
        relative_quantiles: conformal half-widths by coverage, as fractions of c(α).
        margins: the same of one side, above c(α); without, the half-widths count.

    Raises:
        InvalidInputError: some architecture's cost is beyond the largest number.
    """

    fixed: float
    terms: tuple[Term, ...]
    unit: str = "ms"
    relative_quantiles: Mapping[float, float] = field(default_factory=dict)
    margins: Mapping[float, Margin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        largest = sum((float(np.abs(term.values).max()) for term in self.terms), abs(self.fixed))
        if not isfinite(largest):
            raise InvalidInputError(
                f"costs of {self.fixed:.3g} {self.unit} and more add to no number"
            )

    def __call__(self, tokens: Tokens) -> Floats:
        columns = np.ascontiguousarray(np.asarray(tokens).T)
        total = np.full(columns.shape[1], self.fixed)
        for term in self.terms:
            total += term.of(columns)
        return total

    def relative_interval(self, confidence: float) -> float:
        return half_width(self.relative_quantiles, confidence)

    def margin(self, confidence: float) -> Margin:
        return margin_of(self.margins, self.relative_quantiles, confidence)

    def edge_costs(self, graph: DecisionGraph) -> Floats:
        """[N, C] what each choice adds: a term when its last position is decided.

        Raises:
            InvalidInputError: the graph does not remember what a term weighs together.
        """
        edges = np.zeros(graph.successor.shape)
        for term in self.terms:
            *before, last = term.positions
            nodes = np.flatnonzero(graph.position == last)
            known = graph.remembered[nodes][:, before]
            if (known == FORGOTTEN).any():
                raise InvalidInputError(f"the {self.unit} cost is not one of this space")
            edges[nodes, : term.values.shape[-1]] += term.padded[tuple(known.T)][..., :-1]
        edges[ROOT] += self.fixed
        return edges


@dataclass(frozen=True)
class LongestCost:
    """c(α) = max over additive parts, as of a queue between host and device.

    c(α) ≤ B exactly if all parts are ≤ B: a budget on it is one on each of them.
    """

    parts: tuple[AdditiveCost, ...]
    relative_quantiles: Mapping[float, float] = field(default_factory=dict)
    margins: Mapping[float, Margin] = field(default_factory=dict)
    unit: str = "ms"

    def __call__(self, tokens: Tokens) -> Floats:
        longest: Floats = np.max([part(tokens) for part in self.parts], axis=0)
        return longest

    def relative_interval(self, confidence: float) -> float:
        return half_width(self.relative_quantiles, confidence)

    def margin(self, confidence: float) -> Margin:
        return margin_of(self.margins, self.relative_quantiles, confidence)


@dataclass(frozen=True)
class OpSum:
    """fixed + Σ op_cost(op)."""

    fixed: float
    op_cost: OpCost

    def __call__(self, ops: Iterable[Op]) -> float:
        return self.fixed + sum(self.op_cost(op) for op in ops)


@dataclass(frozen=True)
class NetworkCost:
    """c of a network: the longest of sums over its ops; mostly there is one."""

    sums: tuple[OpSum, ...]
    relative_quantiles: Mapping[float, float] = field(default_factory=dict)
    margins: Mapping[float, Margin] = field(default_factory=dict)

    def __call__(self, ops: Sequence[Op]) -> float:
        return max(total(ops) for total in self.sums)

    def over(self, space: NetworkSpace, *, batch_size: int = 1) -> AdditiveCost | LongestCost:
        """As a cost function over the tokens of a space, in ms, for ops of `batch_size`."""
        parts = tuple(
            additive_cost(space, total.op_cost, intercept=total.fixed, batch_size=batch_size)
            for total in self.sums
        )
        if len(parts) > 1:
            return LongestCost(parts, self.relative_quantiles, self.margins)
        return replace(
            parts[0],
            relative_quantiles=self.relative_quantiles,
            margins=self.margins,
        )


def additive_cost(
    space: NetworkSpace,
    op_cost: OpCost,
    *,
    intercept: float = 0.0,
    unit: str = "ms",
    relative_quantiles: Mapping[float, float] | None = None,
    batch_size: int = 1,
) -> AdditiveCost:
    """Tabulate any per-op cost over a space: a latency table, a regression, MAdds, parameters.

    `batch_size` is that of the ops which `op_cost` is asked for.
    """
    terms, always = [], 0.0
    for segment in space.segments(batch_size=batch_size):
        costs = segment.sums(op_cost)
        if segment.positions:
            n_choices = [len(space.positions[at].choices) for at in segment.positions]
            values = np.zeros(n_choices)
            for key, cost in costs.items():
                values[key] = cost
            terms.append(Term(segment.positions, values))
        else:
            always += sum(costs.values())
    return AdditiveCost(intercept + always, tuple(terms), unit, dict(relative_quantiles or {}))


def fit_additive(
    joint: Sequence[tuple[int, ...]], n_choices: Sequence[int], tokens: Tokens, costs: Floats
) -> AdditiveCost:
    """Least squares over [n, L] architectures and their [n] costs; of many fits the smallest.

    With a term for each of `joint` positions. Use it to aim, never to judge: it differs from
    the cost it was fitted to.
    """
    shapes = [tuple(n_choices[at] for at in positions) for positions in joint]
    columns, present = tokens.T, [np.ones((len(tokens), 1))]
    for positions, shape in zip(joint, shapes, strict=True):
        number = Term(positions, np.arange(1.0, 1 + np.prod(shape)).reshape(shape)).of(columns)
        present.append(number[:, None] == np.arange(1, 1 + np.prod(shape)))
    design = np.concatenate(present, axis=1).astype(np.float64)
    solution = np.linalg.lstsq(design, costs, rcond=None)[0].astype(np.float64)
    ends = np.cumsum([1, *(int(np.prod(shape)) for shape in shapes)])
    terms = [
        Term(positions, solution[start:end].reshape(shape))
        for positions, shape, start, end in zip(joint, shapes, ends[:-1], ends[1:], strict=True)
    ]
    return AdditiveCost(float(solution[0]), tuple(terms))


def madds_cost(space: NetworkSpace) -> AdditiveCost:
    """Multiply-adds per image as a cost function."""
    return additive_cost(space, lambda op: float(op.graph.madds), unit="madds")


def params_cost(space: NetworkSpace) -> AdditiveCost:
    """Trainable parameters as a cost function."""
    return additive_cost(space, lambda op: float(op.graph.params), unit="params")
