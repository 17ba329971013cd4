"""A device's latencies from another device's and a few measured numbers.

    latency(op) = factor · base(op) · (1 + Σ_terms weight[term] · x[term](op))

One factor common to all ops explains most of how two devices differ. The rest follows the shape
of an op (work, sizes, kernel, stride, squeeze-and-excitation), its kind, and what the base's op
deviates from the law that the base follows (work_law.py); and where one of two runtimes takes
another path for large depthwise kernels, the multiply-adds of these. Weights are learnt from
measured blocks and whole networks alike, each a sum of ops, by the ridge regression of the
calibration (ridge.py): towards the common factor, and away from it only as far as leave-one-out
error supports.

Numbers of different sources (another runtime or protocol; a block alone, a block in a network)
have a factor each. They are not averaged: a table is on the scale of one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.base import Floats
from predictors.intervals import conformal_quantiles
from predictors.latency.features import SHAPE_FEATURES, WORK_TERMS, shape_matrix, work
from predictors.latency.lookup import calibration_of
from predictors.latency.regression import OpRegression, check_one_device, fit_regression
from predictors.latency.ridge import Ridge, Term
from profiler.errors import InvalidInputError
from profiler.graph.layers import Layer
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.tables.keys import ops_of_table
from profiler.tables.op_factors import op_factor
from profiler.tables.table import LatencyTable

MIN_SAMPLES = 3
COMMON, LAW, INTERCEPT = "common", "law", "intercept"
PATH = "large_depthwise_madds"  # work for which one runtime may take a far slower path
# Prior standard deviations as fractions of latency: of the common factor (the median ratios only
# say where it is about), of a source around it, of the intercept; before scaling of the others.
COMMON_WIDTH = 1.0
SOURCE_WIDTH = 0.2
INTERCEPT_WIDTH = 0.05
LAW_WIDTH = 0.5
SHAPE_WIDTH = 0.05
PATH_WIDTH, PATH_SIZE_WIDTH = 10.0, 1.0
NOISE = 0.02  # of one measured number: of published ones nothing else is known
MIN_FACTOR = 0.02  # of the common one: no op is corrected to nothing


@dataclass(frozen=True)
class Measured:
    """One measured number: of an op alone, or of all ops of a network."""

    ops: tuple[Op, ...]
    latency_ms: float
    source: str
    is_network: bool

    @property
    def scale(self) -> str:
        """What shares a factor: a source's networks, or its blocks."""
        return f"{self.source}, {'networks' if self.is_network else 'blocks'}"


class BaseDevice:
    """Latencies of any op on the device of some tables, measured or by their regression.

    Raises:
        InvalidInputError: tables of different devices, runtimes or precisions.
    """

    def __init__(self, *tables: LatencyTable) -> None:
        check_one_device(tables)
        self.tables = tables
        self.batch_size, self.threads = tables[0].device.batch_size, tables[0].device.threads
        self._calibration = calibration_of(tables[0])
        self._known: dict[Op, float] = {}
        for table in reversed(tables):  # the first counts
            if (table.device.batch_size, table.device.threads) == (self.batch_size, self.threads):
                for key, op in ops_of_table(table).items():
                    self._known[op] = table.ops[key].latency_ms
        self._sizes: dict[Sizeless, list[Op]] = defaultdict(list)
        for op in self._known:
            self._sizes[_without_size(op)].append(op)
        self._predicted: dict[Op, float] = {}
        self._shape = self._shapes(list(self._known))

    @cached_property
    def regression(self) -> OpRegression:
        return fit_regression(self.tables)

    def has(self, op: Op) -> bool:
        return op in self._known

    def latency_ms(self, op: Op, *, in_network: bool) -> float:
        """Of an op alone, or what it adds to a network where the base's calibration knows that.

        Raises:
            InvalidInputError: neither the tables nor the regression know such an op.
        """
        alone_ms = self._known.get(op)
        if alone_ms is None:
            if op not in self._predicted:
                self._predicted[op] = self._predict_ms(op)
            alone_ms = self._predicted[op]
        if not in_network or self._calibration is None:
            return alone_ms
        return op_factor(self._calibration, op) * alone_ms

    def _predict_ms(self, op: Op) -> float:
        """Between two sizes of the same op along the law, by the logarithm; else the regression."""
        same = sorted(self._sizes.get(_without_size(op), ()), key=_height_px)
        if not same or not _height_px(same[0]) < _height_px(op) < _height_px(same[-1]):
            return float(self.regression.predict_ms([op], self.threads)[0])
        law_ms = self.regression.law.predict_ms([*same, op], np.full(len(same) + 1, self.threads))
        known_ms = np.array([self._known[other] for other in same])
        sizes = np.log([_height_px(other) for other in same])
        deviation = np.interp(np.log(_height_px(op)), sizes, np.log(known_ms / law_ms[:-1]))
        return float(law_ms[-1] * np.exp(deviation))

    def features(self, ops: Sequence[Op]) -> dict[str, Floats]:
        """By term, [n] how an op differs: shape in the base's standard deviations, kind, law."""
        law = self.regression.law
        low, spread = self._shape.mean(axis=0), self._shape.std(axis=0)
        rows = (self._shapes(ops) - low) / np.where(spread > 0, spread, np.inf)
        found = dict(zip(SHAPE_FEATURES, rows.T, strict=True))
        for kind in law.offsets:
            found[f"kind={kind}"] = np.array([float(op.kind == kind) for op in ops])
        found[LAW] = np.zeros(len(ops))
        path = self._path_work(ops) * self._path_ms
        found[PATH] = path
        sizes_px = np.array([_height_px(op) for op in ops])
        for px in sorted(set(sizes_px[path > 0].tolist())):
            found[f"{PATH} at {px} px"] = path * (sizes_px == px)
        lawful = [i for i, op in enumerate(ops) if op.kind in law.offsets and self.has(op)]
        if lawful:
            known = [ops[i] for i in lawful]
            law_ms = law.predict_ms(known, np.full(len(known), float(self.threads)))
            found[LAW][lawful] = law_ms / [self._known[op] for op in known] - 1
        return found

    def _path_work(self, ops: Sequence[Op]) -> Floats:
        """[n] work on the path per ms of the base."""
        amounts = np.array([work(op, 1)[WORK_TERMS.index(PATH)] for op in ops])
        return amounts / [self.latency_ms(op, in_network=False) for op in ops]

    @cached_property
    def _path_ms(self) -> float:
        """What one unit of that work costs the base in the mean; 0 where it does none."""
        on_path = self._path_work(list(self._known))
        return 1 / float(on_path[on_path > 0].mean()) if on_path.any() else 0.0

    def _shapes(self, ops: Sequence[Op]) -> Floats:
        threads = np.full(len(ops), float(self.threads))
        return shape_matrix(ops, threads, self.regression.law.channel_block)


Sizeless = tuple[str, int, int, tuple[Layer, ...]]


def _without_size(op: Op) -> Sizeless:
    """What is common to an op at all resolutions: kind, images, channels and layers."""
    shape = shape_of(op)
    layers = tuple(node.layer for node in op.graph.nodes)
    return op.kind, shape.batch_size, shape.in_channels, layers


def _height_px(op: Op) -> int:
    return shape_of(op).in_px[0]


class TransferModel:
    """Fitted to numbers measured on the target device.

    Attributes:
        factors: by source, the median ratio of its numbers to the base.
        left_out_ms: [n] each number by the others.

    Raises:
        InvalidInputError: fewer than 3 numbers, or ops that the base cannot say anything about.
    """

    def __init__(self, base: BaseDevice, measured: Sequence[Measured]) -> None:
        if len(measured) < MIN_SAMPLES:
            raise InvalidInputError(
                f"{len(measured)} measured numbers; a transfer needs at least {MIN_SAMPLES}"
            )
        self.base = base
        self.latency_ms = np.array([one.latency_ms for one in measured])
        sums_ms = base_sums_ms(base, measured)
        self.factors = _median_ratios(measured, self.latency_ms / sums_ms)
        self._ridge = transfer_ridge(base, measured, self.factors, self.latency_ms)
        self.left_out_ms = self._ridge.left_out_predictions_ms()
        self._weights = self._ridge.weights(np.arange(len(measured)))

    @property
    def mape_pct(self) -> float:
        return float(self.errors_pct.mean())

    @property
    def errors_pct(self) -> Floats:
        """[n] absolute, of each number when it is left out."""
        return np.asarray(100 * np.abs(self.left_out_ms / self.latency_ms - 1), np.float64)

    def relative_quantiles(self, rows: Sequence[int]) -> dict[float, float]:
        """Conformal half-widths from the numbers `rows`."""
        left_out = self.left_out_ms[rows]
        return conformal_quantiles((self.latency_ms[rows] - left_out) / left_out)

    @property
    def intercept_ms(self) -> float:
        """Of every network, beside its ops."""
        return self._weights.get(INTERCEPT, 0.0)

    def scale_factor(self, scale: str) -> float:
        """What the numbers of one source are multiples of the base by."""
        return self.factors[scale] * (1 + self._weights[COMMON] + self._weights.get(scale, 0.0))

    def predict_ms(self, ops: Sequence[Op], scale: str, *, in_network: bool) -> Floats:
        """[n] latencies of ops in ms on the scale of one source (`Measured.scale`)."""
        factor = self.factors[scale]
        share = np.full(len(ops), self.scale_factor(scale) / factor)
        for name, values in self.base.features(ops).items():
            share += self._weights.get(name, 0.0) * values
        base_ms = np.array([self.base.latency_ms(op, in_network=in_network) for op in ops])
        return np.asarray(factor * base_ms * np.maximum(share, MIN_FACTOR), np.float64)


def base_sums_ms(base: BaseDevice, measured: Sequence[Measured]) -> Floats:
    """[n] what the base takes for the same."""
    return np.array(
        [sum(base.latency_ms(op, in_network=one.is_network) for op in one.ops) for one in measured]
    )


def _median_ratios(measured: Sequence[Measured], ratios: Floats) -> dict[str, float]:
    """By source; of all where a source has few, so that no number is its own expectation."""
    scales = np.array([one.scale for one in measured])
    found = {}
    for scale in dict.fromkeys(scales.tolist()):
        own = ratios[scales == scale]
        found[scale] = float(np.median(own if len(own) >= MIN_SAMPLES else ratios))
    return found


def transfer_ridge(
    base: BaseDevice,
    measured: Sequence[Measured],
    factors: Mapping[str, float],
    latency_ms: Floats,
) -> Ridge:
    """Multiples of the base by source as the expectation, and the terms that correct it."""
    n = len(measured)
    distinct = list(dict.fromkeys(op for one in measured for op in one.ops))
    at = {op: i for i, op in enumerate(distinct)}
    ops_ms = np.zeros((n, len(distinct)))
    for row, one in zip(ops_ms, measured, strict=True):
        for op in one.ops:
            row[at[op]] += factors[one.scale] * base.latency_ms(op, in_network=one.is_network)
    total_ms = ops_ms.sum(axis=1)
    always = {COMMON: Term(total_ms, COMMON_WIDTH)}
    scales = [one.scale for one in measured]
    if len(set(scales)) > 1:
        for scale in dict.fromkeys(scales):
            of_scale = np.array([other == scale for other in scales])
            always[scale] = Term(total_ms * of_scale, SOURCE_WIDTH)
    networks = np.array([one.is_network for one in measured])
    if networks.any():
        width_ms = INTERCEPT_WIDTH * float(latency_ms[networks].mean())
        always[INTERCEPT] = Term(networks.astype(np.float64), width_ms)
    widths = {LAW: LAW_WIDTH, PATH: PATH_WIDTH}
    supported: dict[str, Term] = {}
    optional: dict[str, Term] = {}
    for name, values in base.features(distinct).items():
        on_path = name.startswith(PATH)
        width = widths.get(name, PATH_SIZE_WIDTH if on_path else SHAPE_WIDTH)
        (optional if on_path else supported)[name] = Term(ops_ms @ values, width)
    return Ridge(latency_ms, total_ms, NOISE * latency_ms, always, supported, optional)
