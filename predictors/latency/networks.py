"""Latency of whole networks from a table: measured ops looked up, others from the regression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from predictors.intervals import interval_ms, supported_half_width
from predictors.latency.lookup import calibration_of, network_cost, table_latency
from predictors.latency.regression import OpRegression, check_one_device, fit_regression
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.tables.table import LatencyTable

# of a network's latency, that ops far smaller than all measured ones may have
MAX_SMALL_SHARE = 0.01


class Source(StrEnum):
    """Where the latency of one op is from."""

    TABLE = "table"
    REGRESSION = "regression"


@dataclass(frozen=True)
class OpPrediction:
    """One op alone, before calibration."""

    op: Op
    latency_ms: float
    source: Source


@dataclass(frozen=True)
class Prediction:
    """A network's latency.

    Attributes:
        interval_ms: conformal; None without calibration, or where ops were not measured,
            since coverage holds for networks like those of the calibration only.
    """

    latency_ms: float
    interval_ms: tuple[float, float] | None
    ops: tuple[OpPrediction, ...]

    @property
    def sources(self) -> dict[str, int]:
        """Number of ops by where they are from."""
        return dict(Counter(str(op.source) for op in self.ops))


class LatencyPredictor:
    """Predicts networks on the device of one table; further tables of it widen the regression.

    Raises:
        InvalidInputError: tables of different devices, runtimes or precisions.
    """

    def __init__(self, table: LatencyTable, *others: LatencyTable) -> None:
        check_one_device((table, *others))
        self.table = table
        self.calibration = calibration_of(table)
        self._tables = (table, *others)
        self._measured = table_latency(table)
        self._known: dict[Op, OpPrediction] = {}
        self._cost = network_cost(lambda op: self._predict_op(op).latency_ms, self.calibration)

    @cached_property
    def regression(self) -> OpRegression:
        return fit_regression(self._tables)

    def half_width(self, confidence: float) -> float | None:
        """The interval's half-width as a fraction of c(α); None if not supported."""
        return supported_half_width(self._cost.relative_quantiles, confidence)

    def predict(self, ops: Sequence[Op], *, confidence: float = 0.95) -> Prediction:
        """Latency of a network of `ops` in sequence.

        Ops far smaller than those measured are let through where they hardly matter: the law of
        work still gives their order of magnitude.

        Raises:
            InvalidInputError: ops that neither the table nor the regression knows; all named.
        """
        parts, refused = [], []
        for op in ops:
            try:
                parts.append(self._predict_op(op))
            except InvalidInputError as error:
                refused.append(str(error))
        if refused:
            more = f" (and {len(refused) - 1} more ops)" if refused[1:] else ""
            raise InvalidInputError(f"{refused[0]}{more}")
        latency_ms = self._cost([part.op for part in parts])
        self._check_small(parts, latency_ms)
        half = self.half_width(confidence)
        if half is None or not all(part.source is Source.TABLE for part in parts):
            return Prediction(latency_ms, None, tuple(parts))
        return Prediction(latency_ms, interval_ms(latency_ms, half), tuple(parts))

    def _predict_op(self, op: Op) -> OpPrediction:
        if op not in self._known:
            try:
                self._known[op] = OpPrediction(op, self._measured(op), Source.TABLE)
            except InvalidInputError:
                (latency_ms,) = self.regression.predict_ms([op], self._threads, however_small=True)
                self._known[op] = OpPrediction(op, float(latency_ms), Source.REGRESSION)
        return self._known[op]

    @property
    def _threads(self) -> int:
        return self.table.device.threads

    def _check_small(self, parts: Sequence[OpPrediction], latency_ms: float) -> None:
        """Refuse a network of which more than a little lies below what was measured."""
        estimated = [part for part in parts if part.source is Source.REGRESSION]
        reasons = {part.op: self.regression.refusal(part.op, self._threads) for part in estimated}
        small = [part for part in estimated if reasons[part.op]]
        if sum(part.latency_ms for part in small) > MAX_SMALL_SHARE * latency_ms:
            op = small[0].op
            raise InvalidInputError(f"cannot predict {op.key}: {reasons[op]}")
