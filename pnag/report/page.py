"""What all report pages share: one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from profiler.devices.base import DeviceInfo
from profiler.measuring.comparison import Comparison
from profiler.measuring.model_files import ModelComparison

SHARED_SCRIPTS = ("format.js", "chart.js", "table.js", "shell.js")
SIGNIFICANT = 6  # digits of an embedded number


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart.

    >>> names_of([Path("runs/a"), Path("runs/b")]), names_of([Path("x/cpu"), Path("y/cpu")])
    (['a', 'b'], ['x/cpu', 'y/cpu'])
    """
    parts = [folder.resolve().parts for folder in folders]
    for n in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-n:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]  # one of them twice


def render_page(title: str, kind: str, scripts: Sequence[str], document: dict[str, Any]) -> str:
    """A whole page as text.

    Args:
        kind: of the file under page/ with the sections.
        scripts: files under page/ of this kind of page; the last one begins.
        document: what the scripts read.
    """
    parts = {
        "title": html.escape(title),
        "style": _part("page/page.css"),
        "sections": _part(f"page/{kind}.html").replace("{{load}}\n", _part("page/load.html")),
        "plotly": _part("plotly/plotly-basic.min.js"),
        "data": embedded_json(document),
        "script": "\n".join(_part(f"page/{name}") for name in (*SHARED_SCRIPTS, *scripts)),
    }
    # one pass, so that nothing inside a part is taken for a place to fill
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], _part("page/page.html"))


def embedded_json(document: Any) -> str:
    """JSON that is inert inside a script element, whatever strings it holds.

    >>> embedded_json({"name": "</script><!-- &"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003c!-- \\\\u0026"}'
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return re.sub(r"[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def device_rows(device: DeviceInfo) -> list[tuple[str, Any]]:
    """All that is recorded of a device, its options among the rest."""
    rows = {name: getattr(device, name) for name in device.__slots__}
    rows |= dict(rows.pop("options"))
    return list(rows.items())


def recorded(rows: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """What is known of (what, value), as a person reads it."""
    return [(name.replace("_", " "), _text(value)) for name, value in rows if value is not None]


def compared(found: Comparison | ModelComparison) -> dict[str, Any]:
    """A ratio, its interval and what that says."""
    return {"ratio": found.ratio, "interval": found.interval, "finding": found.finding}


def rounded(value: Any) -> Any:
    """Plain JSON values with floats of `SIGNIFICANT` digits."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}")
    if isinstance(value, dict):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return value


def _part(name: str) -> str:
    return files("pnag.report").joinpath(*name.split("/")).read_text(encoding="utf-8")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
