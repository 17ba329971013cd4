"""A second, small sweep where the generator goes: c(α) corrected on what a search picks.

A search looks for architectures whose cost is low, so also for those whose cost is too low: its
picks are extremes of the predictor's errors, of which networks drawn at random say little. Some of
the picks are measured, the calibration is fitted with them, and its interval is of their left-out
errors (predictors/intervals.py). The generator decodes under c(α), and what training evaluated is
ranked by it, so that both follow the correction without further training.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pnag.generate import generate_each
from pnag.generated import DEFAULT_CONFIDENCE, GeneratedArchitecture
from pnag.runs.inputs import LATENCY_FILE, Inputs
from pnag.runs.run import Run, load_run
from pnag.runs.verification import KeptVerification, journal_file, read_verification
from pnag.verify import (
    error_pct,
    measured_on,
    measured_picks,
    recalibrated,
    refuse_other_statistic,
    table_to_verify,
)
from predictors.intervals import (
    PICKS,
    is_another_hour,
    margin_of,
    not_covered,
    supported_half_width,
)
from predictors.latency.calibration import MIN_NETWORKS
from predictors.latency.lookup import calibration_of, margins_of
from profiler.devices.base import DeviceInfo, Launching, epoch_of
from profiler.devices.registry import backend_of
from profiler.errors import InvalidInputError
from profiler.measuring.follow_up import FollowUpSweep, same_device
from profiler.measuring.protocol import MeasuringProtocol, for_levels, protocol_of
from profiler.measuring.session import Session
from profiler.spaces.networks import with_networks
from profiler.system.lock import device_lock
from profiler.system.stamp import now
from profiler.tables.levels import Statistic
from profiler.tables.table import LatencyTable, load_table
from profiler.terminal import SILENT, Terminal

FINER = (1, 2, 4, 8)  # times as many budgets as picks, where neighbours get the same network


def refuse_unrefinable(inputs: Inputs) -> None:
    """Before anything is trained.

    Raises:
        InvalidInputError: inputs without a latency table of latencies.
    """
    tables = [file for file in inputs.files if file.name == LATENCY_FILE]
    if not tables:
        raise InvalidInputError("--refine-on measures networks, which a tabular space has none of")
    statistic = json.loads(tables[0].data).get("statistic", Statistic.LATENCY)
    refuse_other_statistic(statistic, Path(tables[0].source))


def refine_run(
    folder: Path,
    spec: str,
    terminal: Terminal = SILENT,
    *,
    n_picks: int = PICKS,
    protocol: MeasuringProtocol | None = None,
    device_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Run:
    """Measure picks along the frontier of the finished run in `folder`, and keep what they show.

    Interrupted, it keeps its samples in the run, and the same call goes on. On a run that was
    refined on the device within the hour it does nothing; later, or after another boot, it
    measures further picks, so that the interval knows how hours differ. Where all picks were
    measured the run stays as it is.

    Args:
        protocol: by default the full one of the device; where it starts launches, which are
            sessions, with long ones.

    Raises:
        InvalidInputError: no finished run, or one of another statistic than latency.
        DeviceUnavailableError: the device is absent, locked, or not quiescent, or another process
            has the run.
        MeasurementError: a network could not be measured.
    """
    with device_lock(f"run {folder.resolve()}"):
        run, earlier = load_run(folder, verified=False), read_verification(folder)
        with_networks(run.problem.space, "to measure")
        table = table_to_verify(folder, earlier)
        with Session.as_measured(table, spec, terminal, device_options) as session:
            if earlier and _is_refined(earlier, session.info):
                terminal.note(
                    f"{folder} was refined on {earlier.device.model}, {earlier.refined}; in "
                    "another hour the same command measures further networks"
                )
                return load_run(folder)
            measured = measured_on(session.info, table, earlier)
            known = {entry.arch for entry in measured.networks}
            archs = [pick.arch for pick in picks_along_frontier(run, n_picks, known, seed=seed)]
            if not archs:
                terminal.note(
                    "all that the search picks along its frontier was measured on "
                    f"{session.info.model} already"
                )
                return load_run(folder)
            found = measured_picks(
                session, table, archs,
                protocol=protocol or _default_protocol(session),
                seed=seed, journal_at=folder / journal_file(earlier),
            )  # fmt: skip
            corrected = recalibrated(measured, found.networks, found.sessions)
            _to_keep(folder, session.info, corrected, found).over(earlier).save(folder)
    return load_run(folder)


def _default_protocol(session: Session) -> MeasuringProtocol:
    full = protocol_of(backend_of(session.info.spec), quick=False)
    return for_levels(full) if isinstance(session.device, Launching) else full


def _is_refined(earlier: KeptVerification, device: DeviceInfo) -> bool:
    """Whether refining again would show nothing of another hour."""
    if not (earlier.refined and earlier.is_of(device)):
        return False
    known = earlier.sessions
    return not known or not is_another_hour(known, now(), epoch_of(device))


def _to_keep(
    folder: Path, device: DeviceInfo, corrected: LatencyTable | None, found: FollowUpSweep
) -> KeptVerification:
    if corrected is None:
        raise InvalidInputError(f"fewer than {MIN_NETWORKS} usable networks correct nothing")
    return KeptVerification.of(
        folder, device, same_device=same_device(device, corrected.device),
        calibration=corrected.calibration, networks=found.networks, sessions=found.sessions,
        refines=True,
    )  # fmt: skip


def picks_along_frontier(
    run: Run, count: int, known: Collection[str], *, seed: int = 0
) -> list[GeneratedArchitecture]:
    """At most `count` architectures that the run gives for budgets all over its range, by rising
    budget, without those `known`.
    """
    problem = run.problem
    (low, high), evaluated = problem.reachable_ms, run.known_under(problem.cost)
    found: list[GeneratedArchitecture] = []
    for finer in FINER:
        shares = (np.arange(finer * count) + 0.5) / (finer * count)
        made = generate_each(
            problem, run.learners, (low + shares * (high - low)).tolist(),
            known=evaluated, seed=seed,
        )  # fmt: skip
        distinct = {one.arch: one for one in made if isinstance(one, GeneratedArchitecture)}
        found = [one for arch, one in distinct.items() if arch not in known]
        if len(found) >= count:
            spread = np.linspace(0, len(found) - 1, count).round().astype(int)
            return [found[at] for at in spread]
    return found


def refinement_summary(run: Run, kept: KeptVerification) -> dict[str, Any]:
    """What measuring the picks showed, for JSON: how far off they had been predicted, the interval
    now, and how far above c(α) a latency is at most by `--confidence 0.95`."""
    picks = [entry for entry in kept.networks if entry.picked]
    quantiles = kept.calibration.relative_quantiles if kept.calibration else {}
    half, margin = supported_half_width(quantiles, DEFAULT_CONFIDENCE), None
    if kept.calibration and half is not None:
        asked = margin_of(margins_of(kept.calibration), quantiles, DEFAULT_CONFIDENCE)
        margin = {"share": asked.share, "ms": asked.fixed}
    return {
        "device": kept.device.model,
        "created": kept.refined,
        "n_networks": len(picks),
        "error_before_pct": error_pct(run.problem, picks) if picks else None,
        "interval_95": half,
        "margin_95": margin,
    }


def interval_doubts(run: Run) -> str | None:
    """What the interval of a run says nothing of, and what would help; None of a tabular space."""
    if run.folder is None or not (run.folder / LATENCY_FILE).exists():
        return None
    if run.verification is not None:
        calibration = run.verification.calibration
    else:
        calibration = calibration_of(load_table(run.folder / LATENCY_FILE))
    if calibration is None:
        return None
    lacking = not_covered(calibration.n_picked, calibration.n_sessions)
    if lacking is None:
        return None
    command = f"pnag train --resume --out {run.folder} --refine-on DEVICE"
    return f"{lacking}; {command} measures some"
