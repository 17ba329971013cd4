"""Conformal intervals and bounds, from residuals of networks that the fit had not seen.

An interval has a half-width on both sides of c(α). A budget asks for one side only: how far above
c(α) the latency is at most. Less is needed for that with the same confidence.

Split conformal prediction with finite-sample correction (Vovk et al. 2005; Lei et al. 2018):
with n exchangeable residuals, the k-th smallest covers a new one with probability k / (n + 1).
Leave-one-out residuals stand in for a held-out half (the jackknife of Barber et al. 2021).

That is about one session, and about networks drawn like those measured. Networks that a search
picked are a group of their own; what sessions add is a component of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats, Margin
from profiler.errors import InvalidInputError
from profiler.tables.sessions import SessionLevel

MIN_COVERAGE = 0.5
FEWEST, MOST = 3, 10_000  # networks that a calibration takes, and that can be asked for
USUAL = (0.8, 0.9, 0.95, 0.99)  # confidences that are asked for
PICKS = 20  # of a search, that refining measures: 19 support 95 %, and one may be throttled
AN_HOUR = timedelta(hours=1)


def check_confidence(confidence: float | None) -> None:
    """None asks for no interval.

    Raises:
        InvalidInputError: not strictly between 0 and 1.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence:g} is not between 0 and 1")


def conformal_quantiles(relative_residuals: Floats) -> dict[float, float]:
    """Half-width by coverage from n absolute relative residuals |y - c| / c.

    The largest coverage that n residuals support is n / (n + 1).

    >>> conformal_quantiles(np.array([0.03, 0.01, 0.02]))
    {0.5: 0.02, 0.75: 0.03}
    """
    ordered = np.sort(np.abs(relative_residuals))
    n = len(ordered)
    return {
        (rank + 1) / (n + 1): float(residual)
        for rank, residual in enumerate(ordered)
        if (rank + 1) / (n + 1) >= MIN_COVERAGE
    }


def above(relative_errors: Floats) -> Floats:
    """[n] signed errors (y - c) / c as residuals of one side: what is below c(α) is off by nothing.

    Their quantiles are how far above c(α) a latency is at most, and never below c(α).

    >>> conformal_quantiles(above(np.array([-0.03, 0.01, -0.02])))
    {0.5: 0.0, 0.75: 0.01}
    """
    return np.maximum(relative_errors, 0.0)


def quantiles_of_picks(relative_residuals: Floats, picked: NDArray[np.bool_]) -> dict[float, float]:
    """Half-width by coverage for a network that a search picks, from n residuals of which some are
    of such; of residuals of one side (`above`) the bound.

    Mondrian conformal prediction (Vovk et al. 2005, section 4.5): a search looks for costs that
    are too low, so that the residuals of its picks are exchangeable among themselves only. What
    they are too few to support is taken from all together, and never narrower than theirs.
    """
    every, own = conformal_quantiles(relative_residuals), relative_residuals[picked]
    if not len(own):
        return every
    supported = conformal_quantiles(own)
    beyond, widest = max(supported.items())
    return supported | {
        coverage: max(half, widest) for coverage, half in every.items() if coverage > beyond
    }


@dataclass(frozen=True)
class Drift:
    """What a later session adds to a network's latency in the table, on the log scale.

    level = what launches within one hour share + what each adds, both drawn from normal
    distributions around the mean. The next level is within

        mean ± t · √((between² + within²) · (1 + 1/n_hours))

    with one degree of freedom less for each hour than there are launches (of one launch an hour,
    one less). Of a single hour nothing is known between hours, and launches stand in for them.

    Attributes:
        n_sessions: launches. n_hours: hours that they lie in, apart from one another.
        mean, between, within: of the levels; hours count alike. scatter: of networks around the
            level of their launch.
    """

    n_sessions: int
    n_hours: int
    mean: float
    between: float
    within: float
    scatter: float

    @classmethod
    def of(cls, sessions: Sequence[SessionLevel], at_ms: float | None = None) -> Self | None:
        """None where fewer than two launches say nothing about another one.

        Args:
            at_ms: of networks that take so long; of all by default.
        """
        hours = _by_hour(sessions)
        n, n_hours = len(sessions), len(hours)
        if n < 2:
            return None
        scatters = [one.scatter if at_ms is None else one.scatter_at for one in sessions]
        levels = [
            np.log([one.level if at_ms is None else one.level_at(at_ms) for one in hour])
            for hour in hours
        ]
        means = np.array([hour.mean() for hour in levels])
        squares = sum(float(((hour - hour.mean()) ** 2).sum()) for hour in levels)
        return cls(
            n_sessions=n,
            n_hours=n_hours,
            mean=float(means.mean()),
            between=float(means.std(ddof=1)) if n_hours > 1 else 0.0,
            within=math.sqrt(squares / (n - n_hours)) if n > n_hours else 0.0,
            scatter=math.sqrt(np.mean(np.square(scatters))),
        )

    def widened(
        self, relative_quantiles: Mapping[float, float], *, one_sided: bool = False
    ) -> dict[float, float]:
        """Half-widths, or bounds, for another session: independent components add up as squares.

        A later session that is faster than the table on average leaves a budget less used, and
        narrows nothing. Usual confidences have an entry of their own: that of networks is the
        next one that is supported, that of sessions need not be.
        """
        from scipy.special import ndtri, stdtrit

        freedom = self.n_sessions - self.n_hours or self.n_hours - 1
        deviation = math.hypot(self.between, self.within) * math.sqrt(1 + 1 / self.n_hours)
        slower = max(0.0, math.expm1(self.mean))
        usual = {c: supported_half_width(relative_quantiles, c) for c in USUAL}
        halves = {c: half for c, half in usual.items() if half is not None}
        widened = {}
        for coverage, half in sorted((halves | dict(relative_quantiles)).items()):
            upper = coverage if one_sided else (1 + coverage) / 2
            level = float(stdtrit(freedom, upper)) * deviation
            around = math.hypot(level, float(ndtri(upper)) * self.scatter)
            widened[coverage] = slower + math.hypot(half, math.expm1(around))
        return widened


def margins_over(
    sessions: Sequence[SessionLevel], relative_bounds: Mapping[float, float], ends_ms: Floats
) -> dict[float, tuple[float, float]]:
    """Share and ms by coverage that bound a network of another session, from bounds of one.

    A session adds a time more than a share, so that bounds differ between small networks and
    large ones. In ms they are a convex function of the latency (the root of a square polynomial,
    to first order in what sessions add):
    the line through those of the smallest and the largest measured is never below them between.
    """
    ends = [Drift.of(sessions, float(end)) for end in ends_ms]
    low, high = (
        {**relative_bounds} if drift is None else drift.widened(relative_bounds, one_sided=True)
        for drift in ends
    )
    return {coverage: _line((low[coverage], high[coverage]), ends_ms) for coverage in low}


def _line(shares: tuple[float, float], ends_ms: Floats) -> tuple[float, float]:
    """Share and ms, neither below 0, that are at least these shares at both ends."""
    (low_ms, high_ms), (at_low, at_high) = ends_ms, np.array(shares) * ends_ms
    share = (at_high - at_low) / (high_ms - low_ms) if high_ms > low_ms else max(shares)
    fixed_ms = at_low - share * low_ms
    if share < 0:
        return 0.0, float(max(at_low, at_high))
    if fixed_ms < 0:
        return max(shares), 0.0
    return float(share), float(fixed_ms)


def is_another_hour(known: Sequence[SessionLevel], started: str, epoch: str) -> bool:
    """Whether a launch from then on is of an hour, or a boot, that no known one is of."""
    launch = known[-1].model_copy(update={"started": started, "epoch": epoch})
    return len(_by_hour([*known, launch])) > len(_by_hour(known))


def _by_hour(sessions: Sequence[SessionLevel]) -> list[list[SessionLevel]]:
    """In order of time; launches of one boot that follow one another within an hour together."""
    hours: list[list[SessionLevel]] = []
    for session in sorted(sessions, key=_started):
        last = hours[-1][-1] if hours else None
        if last is None or last.epoch != session.epoch or _gap(last, session) > AN_HOUR:
            hours.append([])
        hours[-1].append(session)
    return hours


def _gap(one: SessionLevel, other: SessionLevel) -> timedelta:
    return _started(other) - _started(one)


def _started(session: SessionLevel) -> datetime:
    """In UTC, also where a table does not say so."""
    started = datetime.fromisoformat(session.started)
    return started if started.tzinfo else started.replace(tzinfo=UTC)


def networks_needed(confidence: float) -> int:
    """The fewest networks n whose residuals support a coverage: n / (n + 1) reaches it.

    >>> networks_needed(0.9), networks_needed(0.95), networks_needed(0.99)
    (9, 19, 99)
    """
    n = max(FEWEST, math.floor(confidence / (1 - confidence)) - 1)
    while n / (n + 1) < confidence:
        n += 1
    return n


def missing(confidence: float) -> str:
    """What an interval takes where there is none."""
    needed = networks_needed(confidence)
    # an imported table cannot be measured further, so that no table's own command is named
    like = f", as one of pnag profile --networks {needed} is" if needed <= MOST else ""
    refined = ", or a run of pnag train --refine-on DEVICE" if needed <= PICKS else ""
    takes = f"the {needed} measured networks that it takes"
    return f"the table is not calibrated on {takes}{like}{refined}"


def not_covered(n_picked: int, n_sessions: int) -> str | None:
    """What the interval of a calibration on so many picks and sessions says nothing of."""
    lacks = ["networks that a search picks"] * (not n_picked)
    lacks += ["other sessions"] * (not n_sessions)
    return f"the interval does not know {' and '.join(lacks)}" if lacks else None


def half_width(relative_quantiles: Mapping[float, float], confidence: float) -> float:
    """Half-width around c(α), as a fraction of it, that covers at least `confidence`.

    Raises:
        InvalidInputError: too few residuals for that.
    """
    half = supported_half_width(relative_quantiles, confidence)
    if half is None:
        raise InvalidInputError(f"no interval for confidence {confidence:g}: {missing(confidence)}")
    return half


def margin_of(
    margins: Mapping[float, Margin], relative_quantiles: Mapping[float, float], confidence: float
) -> Margin:
    """How far above c(α) at most, with `confidence`; the half-width where that is not known.

    Raises:
        InvalidInputError: too few residuals for that.
    """
    known = [coverage for coverage in margins if coverage >= confidence]
    return margins[min(known)] if known else Margin(half_width(relative_quantiles, confidence))


def supported_half_width(
    relative_quantiles: Mapping[float, float], confidence: float
) -> float | None:
    """`half_width`, or None where too few residuals support it."""
    known = [coverage for coverage in relative_quantiles if coverage >= confidence]
    return relative_quantiles[min(known)] if known else None


def interval_ms(latency_ms: float, half: float) -> tuple[float, float]:
    """The interval of a relative half-width around a latency; none is below 0."""
    return latency_ms * max(0.0, 1 - half), latency_ms * (1 + half)
