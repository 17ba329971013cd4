"""Latency tables of other projects: Once-for-All's and ProxylessNAS's YAML, nn-Meter's blocks.

Both YAML files map an op key to ``{mean, std | var, count}`` in ms. Once-for-All's keys are ours
(`expand` is the number of mid channels); ProxylessNAS has neither squeeze-and-excitation nor
hard-swish, writes `expand` as a ratio, and so is a table of another space, ``proxyless``.
nn-Meter's block files map a key of their own (keys.py) to ms; they are no whole space either, but
a base for transfers (`nn-meter`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.spaces.mobilenetv3 import BACKBONES, WIDTH_MULTS, MobileNetV3Space
from profiler.spaces.mobilenetv3_ops import SIZE, parse_key
from profiler.spaces.networks import distinct_ops
from profiler.spaces.proxyless import EXPANDS as PROXYLESS_EXPANDS
from profiler.spaces.proxyless import ProxylessSpace
from profiler.spaces.proxyless import parse_key as parse_proxyless_key
from profiler.system.stamp import now, this_tool
from profiler.system.user_files import read_json, read_yaml
from profiler.tables.keys import nn_meter_op
from profiler.tables.table import (
    Entry,
    LatencyTable,
    SpaceRef,
    Verdict,
    check_space,
    load_table,
)

MAX_NUMBER = 1e300  # beyond floating point, or not a number
PROXYLESS = "proxyless"
NN_METER = "nn-meter"


class TableFormat(StrEnum):
    OFA_YAML = "ofa-yaml"
    PROXYLESS_YAML = "proxyless-yaml"
    NN_METER_BLOCKS = "nn-meter-blocks"
    PNAG_JSON = "pnag-json"


@dataclass(frozen=True)
class TableOrigin:
    """What a YAML table does not say about itself, as its importer declares it."""

    device_model: str = "unknown"
    runtime: str = "unknown"
    threads: int = 1
    batch_size: int = 1


def import_table(
    path: Path,
    table_format: TableFormat,
    *,
    space_name: str | None = None,
    width_mult: float | None = None,
    resolution_px: int | None = None,
    provenance: TableOrigin | None = None,
) -> LatencyTable:
    """Read another project's table; its numbers carry `Verdict.IMPORTED`.

    What of the space is not given is inferred from the keys; what is given must agree.

    Raises:
        InvalidInputError: unreadable, an unknown field or key, not of the declared space, or
            lacking ops of it.
    """
    declared = (space_name, width_mult, resolution_px)
    if table_format is TableFormat.PNAG_JSON:
        table = load_table(path, partial=True)
        found = (table.space.name, table.space.width_mult, table.space.resolution_px)
        if any(d is not None and d != f for d, f in zip(declared, found, strict=True)):
            raise InvalidInputError(f"{path} is a table of {table.space}, not as declared")
        return table
    if table_format is TableFormat.NN_METER_BLOCKS:
        if any(d is not None for d in declared):
            raise InvalidInputError(
                f"{path}: nn-Meter's blocks are of no space, width or resolution"
            )
        blocks = _read_blocks(path)
        return _imported(path, table_format, NN_METER_SPACE, blocks, provenance or TableOrigin())
    ops = _read_entries(path, _SPREAD_FIELD[table_format])
    proxyless = table_format is TableFormat.PROXYLESS_YAML
    check_key = parse_proxyless_key if proxyless else parse_key
    for key in ops:
        _named(path, check_key, key)
    if proxyless:
        if space_name not in (None, PROXYLESS):
            raise InvalidInputError(
                f"{path} is a ProxylessNAS table (ratios, no squeeze-and-excitation); "
                f"it cannot be a table of {space_name}"
            )
        space = _proxyless_space(ops, width_mult, resolution_px)
    else:
        space = _matching_space(path, ops, *declared)
    table = _imported(path, table_format, space, ops, provenance or TableOrigin())
    if table_format is TableFormat.OFA_YAML:
        check_space(table, table.search_space, path)
    return table


def export_table(table: LatencyTable, table_format: TableFormat) -> str:
    """The table as text of another project's format.

    `mean` is our estimate `latency_ms` (for an imported table, its mean), since that is what
    readers of the format use; `std`, `var` and `count` are left out where they are unknown.

    Raises:
        InvalidInputError: the table's keys are not of that format's grammar.
    """
    if table_format is TableFormat.PNAG_JSON:
        return table.to_json()
    if table.space.name == NN_METER:
        wanted = TableFormat.NN_METER_BLOCKS
        if table_format is wanted:
            values = {key: entry.latency_ms for key, entry in table.ops.items()}
            return json.dumps(values, indent=0) + "\n"
    else:
        proxyless = table.space.name == PROXYLESS
        wanted = TableFormat.PROXYLESS_YAML if proxyless else TableFormat.OFA_YAML
    if table_format is not wanted:
        raise InvalidInputError(
            f"a table of {table.space} has no {table_format} form; use --format {wanted}"
        )
    document = {key: _exported(entry, table_format) for key, entry in table.ops.items()}
    text: str = yaml.safe_dump(document, sort_keys=True, default_flow_style=False)
    return text


# --- reading ---------------------------------------------------------------------------

_SPREAD_FIELD = {TableFormat.OFA_YAML: "std", TableFormat.PROXYLESS_YAML: "var"}


def _read_entries(path: Path, spread_field: str) -> dict[str, Entry]:
    document = read_yaml(path)
    if not isinstance(document, dict) or not document:
        raise InvalidInputError(f"{path} is not a latency table: expected op keys with their mean")
    return {
        str(key): _entry(f"{path}: {key}", fields, spread_field) for key, fields in document.items()
    }


def _entry(where: str, fields: Any, spread_field: str) -> Entry:
    if not isinstance(fields, dict) or "mean" not in fields:
        raise InvalidInputError(f"{where}: expected mean, {spread_field} and count")
    unknown = sorted(map(str, fields.keys() - {"mean", "count", spread_field}))
    if unknown:
        raise InvalidInputError(f"{where}: unknown field {shown(unknown[0])}; it would be lost")
    for name, value in fields.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < MAX_NUMBER or (name == "mean" and value == 0):
            raise InvalidInputError(f"{where}: {name} is {shown(value)}, not a latency statistic")
    count = fields.get("count", 0)
    if not isinstance(count, int):
        raise InvalidInputError(f"{where}: count is {shown(count)}, not a whole number")
    spread = fields.get(spread_field)
    variance = float(spread) if spread is not None and spread_field == "var" else None
    std = math.sqrt(variance) if variance is not None else spread
    return Entry(
        latency_ms=fields["mean"],
        mean_ms=fields["mean"],
        std_ms=std,
        variance_ms2=variance,
        n_samples=count,
        verdict=Verdict.IMPORTED,
    )


# blocks have sizes of their own; a table names one width and resolution all the same
NN_METER_SPACE = SpaceRef(name=NN_METER, width_mult=1.0, resolution_px=224)


def _read_blocks(path: Path) -> dict[str, Entry]:
    document = read_json(path, allow_nan=False)
    if not isinstance(document, dict) or not document:
        raise InvalidInputError(f"{path} is not a block file: expected keys with their ms")
    entries = {}
    for key, value in document.items():
        _named(path, nn_meter_op, key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value < MAX_NUMBER:
            raise InvalidInputError(f"{path}: {key}: {shown(value)} is not a latency in ms")
        entries[key] = Entry(latency_ms=value, verdict=Verdict.IMPORTED)
    return entries


def _named(path: Path, check: Callable[[str], object], key: str) -> None:
    try:
        check(key)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _image_px(ops: dict[str, Entry]) -> int:
    """The image size, from the key of the first convolution."""
    sizes = {int(m[1]) for key in ops if (m := re.match(rf"Conv-input:({SIZE})x\1x3-", key))}
    if len(sizes) != 1:
        raise InvalidInputError(
            f"the table has {len(sizes)} square first convolutions; say --resolution"
        )
    return sizes.pop()


def _matching_space(
    path: Path,
    ops: dict[str, Entry],
    name: str | None,
    width_mult: float | None,
    resolution_px: int | None,
) -> SpaceRef:
    """The one space, of those not excluded by what is declared, whose ops are all there."""
    size = _image_px(ops) if resolution_px is None else resolution_px
    names = [
        known for known in BACKBONES if name is None and size in BACKBONES[known].resolutions_px
    ]
    candidates = [
        MobileNetV3Space(known, width, size)
        for known in ([name] if name is not None else names)
        for width in ([width_mult] if width_mult is not None else WIDTH_MULTS)
    ]
    if not candidates:
        raise InvalidInputError(f"{path}: no known space has images of {size} px")
    complete = [space for space in candidates if space.distinct_ops().keys() <= ops.keys()]
    if len(complete) > 1:
        raise InvalidInputError(f"{path} has the ops of several spaces; say --width-mult")
    # an incomplete table is refused by check_space, which names what the nearest space lacks
    space = max(complete or candidates, key=lambda s: len(s.distinct_ops().keys() & ops.keys()))
    return SpaceRef.of(space)


def _proxyless_space(
    ops: dict[str, Entry], width_mult: float | None, resolution_px: int | None
) -> SpaceRef:
    """The space of the width that most ops are of."""
    size = _image_px(ops) if resolution_px is None else resolution_px
    widths = PROXYLESS_EXPANDS if width_mult is None else [width_mult]
    candidates = [ProxylessSpace(PROXYLESS, width, size) for width in widths]
    return SpaceRef.of(max(candidates, key=lambda s: len(distinct_ops(s).keys() & ops.keys())))


def _imported(
    path: Path,
    table_format: TableFormat,
    space: SpaceRef,
    ops: dict[str, Entry],
    provenance: TableOrigin,
) -> LatencyTable:
    device = DeviceInfo(
        spec=f"import:{path.name}",
        platform="imported",
        model=provenance.device_model,
        runtime=provenance.runtime,
        runtime_version="unknown",
        threads=provenance.threads,
        precision="float32",
        batch_size=provenance.batch_size,
    )
    return LatencyTable(
        space=space,
        device=device,
        protocol={"imported_from": path.name, "format": str(table_format)},
        ops=ops,
        created=now(),
        tool=this_tool(),
    )


def _exported(entry: Entry, table_format: TableFormat) -> dict[str, float | int]:
    fields: dict[str, float | int] = {"mean": entry.latency_ms}
    if entry.n_samples:
        fields["count"] = entry.n_samples
    if table_format is TableFormat.OFA_YAML and entry.std_ms is not None:
        fields["std"] = entry.std_ms
    elif entry.variance_ms2 is not None:
        fields["var"] = entry.variance_ms2
    elif table_format is TableFormat.PROXYLESS_YAML and entry.std_ms is not None:
        fields["var"] = entry.std_ms**2
    return fields
