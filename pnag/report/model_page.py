"""The page of model files that `pnag profile --model` measured: what its scripts read."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pnag.report.page import compared, device_rows, names_of, recorded, render_page, rounded
from pnag.report.samples import Trace, embedded_trace, read_copies
from profiler.errors import InvalidInputError
from profiler.measuring.journal import journal_path
from profiler.measuring.model_files import (
    ModelComparison,
    ModelReport,
    ModelResult,
    read_model_report,
)
from profiler.system.stamp import now
from profiler.terminal import Terminal

SCRIPTS = ("load.js", "models.js")


@dataclass(frozen=True)
class MeasuredModels:
    """Results, and by result the traces of its copies; without a journal there are none."""

    report: ModelReport
    traces: tuple[list[Trace], ...]

    @property
    def title(self) -> str:
        names = list(_files(self.report).values())
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        return f"{listed} on {self.report.device.model}"


def gather_models(path: Path, journal: Path | None, terminal: Terminal) -> MeasuredModels:
    """What a report of the results in `path` shows; `journal` is by default beside them.

    Raises:
        InvalidInputError: not such results, or a journal of others.
    """
    report = read_model_report(path)
    place = journal or journal_path(path)
    try:
        traces = [read_copies(place, report.device, one.copies) for one in report.results]
    except InvalidInputError as error:
        if journal is not None:
            raise
        terminal.note(f"the report has no raw samples: {error}")
        traces = [[] for _ in report.results]
    return MeasuredModels(report, tuple(traces))


def render_models(models: MeasuredModels) -> str:
    """The whole page as text."""
    return render_page(models.title, "models", SCRIPTS, models_data(models))


def models_data(models: MeasuredModels) -> dict[str, Any]:
    """What the page's script reads."""
    report = models.report
    device = report.device
    names = _names(report)
    fastest_ms, fastest = min(
        (result.latency_ms, name) for result, name in zip(report.results, names, strict=True)
    )
    facts = [
        ("Fastest", f"{fastest_ms:.4g} ms", fastest),
        ("Models", str(len(report.results))),
        ("Samples", f"{sum(one.n_samples for one in report.results):,}"),
    ]
    document = {
        "title": models.title,
        "dates": [("measured", report.created), ("report written", now())],
        "device_line": f"{device.runtime} {device.runtime_version}, batch {device.batch_size}",
        "facts": facts,
        "models": list(map(_model, names, report.results, models.traces)),
        "comparisons": [
            _comparison(name, names[0], found)
            for name, found in zip(names[1:], report.comparisons, strict=True)
        ],
        "load": asdict(report.load) if report.load else None,
        "provenance": _provenance(report),
    }
    embedded: dict[str, Any] = rounded(document)
    return embedded


def _model(name: str, result: ModelResult, traces: list[Trace]) -> dict[str, Any]:
    return asdict(result) | {"name": name, "traces": [embedded_trace(trace) for trace in traces]}


def _files(report: ModelReport) -> dict[Path, str]:
    """Of each file its name, as much of the path as tells it."""
    paths = list(dict.fromkeys(Path(result.model) for result in report.results))
    return dict(zip(paths, names_of(paths), strict=True))


def _names(report: ModelReport) -> list[str]:
    """Of each result: its file's name, and threads if several."""
    names = _files(report)
    given: Counter[str] = Counter()
    shown = []
    for result in report.results:
        name = names[Path(result.model)]
        name += f", {result.threads} threads" if result.threads > 1 else ""
        given[name] += 1
        shown.append(f"{name} ({given[name]})" if given[name] > 1 else name)  # the same file twice
    return shown


def _comparison(name: str, first: str, found: ModelComparison) -> dict[str, Any]:
    return {"name": name, "first": first, **compared(found)}


def _provenance(report: ModelReport) -> list[tuple[str, list[tuple[str, str]]]]:
    sha256 = {Path(result.model): result.sha256 for result in report.results}
    return [
        ("Device", recorded(device_rows(report.device))),
        ("Files (SHA-256)", [(name, sha256[path]) for path, name in _files(report).items()]),
        ("Versions", [("measured by", report.tool), ("report's pnag", version("pnag"))]),
    ]
