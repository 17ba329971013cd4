"""What was generated and measured, as rows: the JSON that `generate` and the service print, its
text, and the reader of it (and of a demo's `report.json`, whose rows name things alike).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pnag.generated import GeneratedArchitecture, UnmetBudget
from profiler.errors import InvalidInputError
from profiler.spaces.base import other_forms
from profiler.spaces.networks import NetworkSpace, file_stem, network_ops
from profiler.system.user_files import read_json, validated
from profiler.tables.levels import IntervalMs

if TYPE_CHECKING:
    from pnag.runs.verification import KeptVerification
    from pnag.verify import Verification, VerifiedArchitecture
    from profiler.devices.base import DeviceInfo
    from profiler.spaces.base import SearchSpace
    from profiler.tables.table import Calibration, NetworkEntry


def generated_results(
    made: Sequence[GeneratedArchitecture | UnmetBudget],
    space: SearchSpace,
    kept: KeptVerification | None = None,
) -> dict[str, Any]:
    """`{"results": [...]}`, one row a budget; that of one that nothing fits says what would.

    Rows of architectures that `kept` has measured say so.
    """
    document: dict[str, Any] = {
        "results": [
            _unmet(one) if isinstance(one, UnmetBudget) else _row(one, space) for one in made
        ]
    }
    if kept is not None:
        measured = kept.measured
        for row in met_rows(document):
            if row["arch"] in measured:
                row.update(_measurement(measured[row["arch"]]))
        document["verified"] = {"created": kept.created, "device": asdict(kept.device)}
    return document


def verified_results(
    verification: Verification,
    space: SearchSpace,
    made: Sequence[GeneratedArchitecture | UnmetBudget] = (),
) -> dict[str, Any]:
    """The same with what was measured, and `"verification"`, what that did to the calibration.

    Of `made`, for all that was asked, only what fits a budget was verified.
    """
    verified = [_row(one.picked, space) | _measured(one) for one in verification.rows]
    rows = iter(verified)
    asked = [_unmet(one) if isinstance(one, UnmetBudget) else next(rows) for one in made]
    return {"results": asked or verified, "verification": _summary(verification)}


def _row(made: GeneratedArchitecture, space: SearchSpace) -> dict[str, Any]:
    row: dict[str, Any] = {"budget_ms": made.budget_ms, "arch": made.arch}
    row |= other_forms(space, made.tokens)
    row |= {
        "latency_ms": made.latency_ms,
        "interval_ms": list(made.interval_ms) if made.interval_ms else None,
        "top1": made.top1,
        "top1_interval": list(made.top1_interval) if made.top1_interval else None,
    }
    if len(made.costs) > 1:
        row["costs"] = {
            name: asdict(spent) | {"interval": list(spent.interval) if spent.interval else None}
            for name, spent in made.costs.items()
        }
    if isinstance(space, NetworkSpace):
        ops = network_ops(space, made.tokens)
        row["madds"] = sum(op.graph.madds for op in ops)
        row["params"] = sum(op.graph.params for op in ops)
    bound, used = made.nearest_bound
    return row | {
        "bound": bound,
        "bound_used": used,
        "feasible": made.feasible,
        "generation_ms": made.generation_ms,
        "origin": made.origin,
    }


def _unmet(budget: UnmetBudget) -> dict[str, Any]:
    row: dict[str, Any] = {
        "budget_ms": budget.budget_ms,
        "feasible": False,
        "reachable_ms": list(budget.reachable_ms),
        "reason": budget.reason,
    }
    if budget.bounds:
        row["bounds"] = dict(budget.bounds)
        row["reachable"] = {name: list(ends) for name, ends in budget.reachable.items()}
    return row


def _measured(row: VerifiedArchitecture) -> dict[str, Any]:
    candidates = [
        {
            "arch": candidate.arch,
            "top1": candidate.top1,
            "predicted_before_ms": candidate.predicted_before_ms,
            "predicted_ms": candidate.predicted_ms,
            **_measurement(candidate.measured),
        }
        for candidate in row.candidates
    ]
    return _measurement(row.measured) | {"changed": row.changed, "candidates": candidates}


def _measurement(entry: NetworkEntry) -> dict[str, Any]:
    return {
        "measured_ms": entry.latency_ms,
        "measured_ci95_ms": list(entry.ci95_ms) if entry.ci95_ms else None,
        "verdict": entry.verdict.value,
    }


def _summary(verification: Verification) -> dict[str, Any]:
    def described(calibration: Calibration | None) -> dict[str, Any] | None:
        names = {"n_networks", "residual_mape_pct", "intercept_ms"}
        return calibration.model_dump(include=names) if calibration else None

    return {
        "device": asdict(verification.device),
        "same_device": verification.same_device,
        "n_measured": verification.n_measured,
        "error_before_pct": verification.error_before_pct,
        "calibration_before": described(verification.before),
        "calibration_after": described(verification.after),
    }


# --- As files and as text ----------------------------------------------------------------


def met_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that hold an architecture."""
    return [row for row in document["results"] if "arch" in row]


def export_results(
    document: Mapping[str, Any],
    space: NetworkSpace,
    formats: tuple[str, ...],
    folder: Path,
    *,
    seed: int,
) -> None:
    """Write the network of each row with random weights; the rows get their `files`."""
    from profiler.spaces.export import export_network, random_network

    n_named: Counter[str] = Counter()
    for row in met_rows(document):
        tokens = space.parse(row["arch"])
        network = random_network(space, tokens, seed=seed)
        stem = f"{file_stem(space)}-{row['budget_ms']:g}ms"
        n_named[stem] += 1
        if n_named[stem] > 1:  # a budget given twice gets two architectures
            stem = f"{stem}-{n_named[stem]}"
        files = export_network(network, tokens, space, formats, folder, stem=stem)
        row["files"] = [str(path) for path in files]


def results_text(document: Mapping[str, Any]) -> str:
    """A table of the rows; measured latencies, what changed, and files where there are any.

    The bound is the one that held the architecture back, with the share of it that is used.
    """
    rows, verification = met_rows(document), document.get("verification")
    measured = any("measured_ms" in row for row in rows)
    counted = any("madds" in row for row in rows)
    further = _further(rows)
    header = ["budget ms", "latency ms", *["measured ms"] * measured]
    header += [f"{name} {unit}" for name, unit in further.items()]
    header += ["top-1 %", *["MAdds M", "params M"] * counted, "bound", "used %"]
    table = [
        _cells(row, measured, further, counted) if "arch" in row else None
        for row in document["results"]
    ]
    widths = [max(map(len, column)) for column in zip(header, *filter(None, table), strict=True)]
    lines = [f"{_aligned(header, widths)}  architecture"]
    for row, cells in zip(document["results"], table, strict=True):
        if cells is None:
            low, high = row["reachable_ms"]
            alone = f"{low:.6g} to {high:.6g} ms is reachable"
            why = row["reason"] if "bounds" in row else f"nothing fits; {alone}"
            lines.append(f"{row['budget_ms']:{widths[0]}.3f}  {why}")
            continue
        evaluated = "  (evaluated in training)" * (row["origin"] == "evaluated")
        lines.append(f"{_aligned(cells, widths)}  {row['arch']}{evaluated}")
    if verification is not None:
        lines += _changes(rows, verification)
    lines += [file for row in rows for file in row.get("files", ())]
    return "\n".join(lines)


def _further(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Units of the costs beside the one under the budget, by name; networks' counts have columns
    anyway."""
    further: dict[str, str] = {}
    for row in rows:
        _, *beside = row.get("costs", {None: None}).items()
        further |= {name: spent["unit"] for name, spent in beside if name not in row}
    return further


def _cells(
    row: Mapping[str, Any], measured: bool, further: Iterable[str], counted: bool
) -> list[str]:
    cells = [f"{row['budget_ms']:.3f}", f"{row['latency_ms']:.3f}"]
    if measured:
        cells.append(f"{row['measured_ms']:.3f}" if "measured_ms" in row else "-")
    cells += [f"{row['costs'][name]['value']:.3f}" for name in further]
    cells.append(f"{100 * row['top1']:.2f}{_half_width(row)}")
    if counted:
        cells += [f"{row['madds'] / 1e6:.1f}", f"{row['params'] / 1e6:.2f}"]
    return [*cells, row["bound"], f"{100 * row['bound_used']:.2f}"]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _half_width(row: Mapping[str, Any]) -> str:
    if row["top1_interval"] is None:
        return ""
    low, high = row["top1_interval"]
    return f" ±{50 * (high - low):.2f}"


def _changes(rows: list[dict[str, Any]], verification: dict[str, Any]) -> list[str]:
    """What measuring showed, and which picks it changed."""
    before, after = verification["calibration_before"], verification["calibration_after"]
    lines = [
        f"{verification['n_measured']} networks measured on {verification['device']['model']}; "
        f"predictions were off by {verification['error_before_pct']:.2f} % on average"
    ]
    if after:
        was = f"{before['residual_mape_pct']:.2f} %" if before else "none"
        lines.append(
            f"calibration: {after['n_networks']} networks, leave-one-out error "
            f"{after['residual_mape_pct']:.2f} % (was {was})"
        )
    for row in rows:
        first = row["candidates"][0]
        was = (
            f"{first['predicted_before_ms']:.3f} ms predicted, {first['measured_ms']:.3f} measured"
        )
        state = "" if row["feasible"] else "; nothing measured was within the budget"
        change = f"was {first['arch']} ({was})" if row["changed"] else f"the pick stays ({was})"
        lines.append(f"{row['budget_ms']:g} ms: {change}{state}")
    return lines


# --- Read back ---------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredNetwork:
    """One generated network, and what the device showed."""

    arch: str
    latency_ms: float
    ci95_ms: tuple[float, float] | None = None
    verdict: str = "unknown"
    budget_ms: float | None = None


class _Measured(BaseModel):
    """What is read of a measured row; the rest of it is free."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    arch: str = Field(min_length=1)
    measured_ms: float | None = Field(default=None, gt=0)
    measured_ci95_ms: IntervalMs | None = None
    verdict: str = "unknown"
    budget_ms: float | None = Field(default=None, gt=0)


class _Row(_Measured):
    candidates: tuple[_Measured, ...] = ()


class _Verification(BaseModel):
    device: dict[str, Any] | None = None


class _Document(BaseModel):
    """The output of `generate --verify-on`, or a demo's `report.json`."""

    results: tuple[_Row, ...] = ()
    rows: tuple[_Row, ...] = ()
    device: dict[str, Any] | None = None
    verification: _Verification | None = None


def read_measured(path: Path, device: DeviceInfo) -> list[MeasuredNetwork]:
    """Read measured networks; those of other settings of the same model are refused as well.

    Raises:
        InvalidInputError: unreadable, nothing measured, measured on another device, or numbers
            that no measurement gives.
    """
    found = read_json(path)
    if not (isinstance(found, dict) and found.keys() & {"rows", "results"}):
        raise InvalidInputError(
            f"{path} is no output of pnag generate --verify-on ... --json, nor a demo's report.json"
        )
    document = validated(_Document, found, path)
    rows = document.rows or document.results
    entries = [entry for row in rows for entry in (row, *row.candidates)]
    networks = [_network(one, one.measured_ms) for one in entries if one.measured_ms is not None]
    if not networks:
        raise InvalidInputError(f"{path} holds nothing measured (pnag generate --verify-on)")
    recorded = document.device or (document.verification and document.verification.device)
    if recorded:
        _check_device(path, recorded, device)
    return list({(network.arch, network.budget_ms): network for network in networks}.values())


def _network(row: _Measured, measured_ms: float) -> MeasuredNetwork:
    return MeasuredNetwork(row.arch, measured_ms, row.measured_ci95_ms, row.verdict, row.budget_ms)


def _check_device(path: Path, recorded: Mapping[str, Any], device: DeviceInfo) -> None:
    """Latencies of two devices or settings never meet in one figure."""
    for name in ("platform", "model", "runtime", "threads", "batch_size", "precision"):
        if recorded.get(name) != getattr(device, name):
            raise InvalidInputError(
                f"{path} was measured with {name} {recorded.get(name)}, the run's table with "
                f"{getattr(device, name)}"
            )
