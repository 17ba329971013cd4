"""The latency table file: what was measured, on what, how, and how far to trust it."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.spaces.networks import NetworkSpace, SingleKernels, distinct_ops, written_facts
from profiler.spaces.own import is_own, refuse_untrusted
from profiler.spaces.registry import open_space
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import check_schema, read_json, validated
from profiler.tables.levels import IntervalMs, Level, Load, Statistic
from profiler.tables.sessions import SessionLevel

SCHEMA: Final = "pnag.latency-table/1"


class Verdict(StrEnum):
    """How far one number can be trusted."""

    STABLE = "stable"
    NOISY = "noisy"
    CONTENDED = "contended"
    THROTTLED = "throttled"
    UNCONVERGED = "unconverged"
    IMPORTED = "imported"  # somebody else's number, taken as it is
    TRANSFERRED = "transferred"  # from another device's, corrected on a few measured numbers


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _harmless(name: str) -> str:
    if is_own(name):
        refuse_untrusted(name)
    return name


class SpaceRef(_Strict):
    """A space by its name and what tells it from others of its family; None is what it lacks."""

    name: Annotated[str, AfterValidator(_harmless)]
    width_mult: float | None = Field(default=None, gt=0)
    resolution_px: int | None = Field(default=None, gt=0)
    dataset: str | None = None
    resolutions_px: tuple[int, ...] | None = None  # where the choice is a network's

    @classmethod
    def of(cls, space: NetworkSpace | SingleKernels) -> SpaceRef:
        facts = dict(space.facts)
        return cls(name=facts.pop("space"), **facts)

    @property
    def facts(self) -> dict[str, Any]:
        """What it has, by name, without `name`."""
        return self.model_dump(exclude={"name"})

    def open(self) -> NetworkSpace:
        """The space.

        Raises:
            InvalidInputError: it is unknown here, or lacks one of its facts.
        """
        space = open_space(self.name, **self.facts)
        if SpaceRef.of(space) != self:
            raise InvalidInputError(f"{self} does not say which; such as {SpaceRef.of(space)}")
        return space

    @model_serializer(mode="wrap")
    def _without_what_it_lacks(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in fields(self).items() if value is not None}

    def __str__(self) -> str:
        return written_facts({"space": self.name, **self.facts})


class _Sparse(_Strict):
    """A file holds of some fields only what there is: also readers before them read it."""

    _left_out: ClassVar[tuple[str, ...]] = ()  # where they have their default, there is nothing

    @model_serializer(mode="wrap")
    def _without_what_is_not(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = fields(self)
        for name in self._left_out:
            if getattr(self, name) == type(self).model_fields[name].default:
                document.pop(name, None)
        return document


class Entry(_Sparse):
    """One measured op or network. Statistics that do not exist (imports) are None."""

    latency_ms: float = Field(gt=0)
    ci95_ms: IntervalMs | None = None
    min_ms: float | None = Field(default=None, gt=0)
    p10_ms: float | None = Field(default=None, gt=0)
    median_ms: float | None = Field(default=None, gt=0)
    p90_ms: float | None = Field(default=None, gt=0)
    mean_ms: float | None = Field(default=None, gt=0)
    std_ms: float | None = Field(default=None, ge=0)
    variance_ms2: float | None = Field(default=None, ge=0)  # where an import gave this, exactly
    n_samples: int = Field(default=0, ge=0)
    verdict: Verdict
    flags: tuple[str, ...] = ()
    levels: dict[Statistic, Level] = {}  # what its protocol asks for beside the latency

    _left_out: ClassVar[tuple[str, ...]] = ("levels",)


class NetworkEntry(Entry):
    """What its first use costs is None where it was not measured, or cannot be."""

    arch: str
    picked: bool = False  # by a search that looks for low costs, and not drawn
    load_ms: float | None = Field(default=None, gt=0)
    first_run_ms: float | None = Field(default=None, gt=0)
    peak_memory_mb: float | None = Field(default=None, gt=0)

    _left_out: ClassVar[tuple[str, ...]] = (
        "levels", "picked", "load_ms", "first_run_ms", "peak_memory_mb",
    )  # fmt: skip


class NoiseFloor(_Strict):
    """A/A spread: relative differences of configurations measured twice, unannounced."""

    n_repeats: int = Field(ge=0)
    median_pct: float = Field(ge=0)
    p95_pct: float = Field(ge=0)
    publishable: bool


class Launches(_Strict):
    """launch(α) = fixed_ms + Σ_ops Σ kernels_ms[kind]: the host's time to queue a network.

    Kinds of kernels are those of predictors/latency/launches.py: block, excitation, hard_swish.
    """

    fixed_ms: float = Field(ge=0)
    kernels_ms: dict[str, Annotated[float, Field(ge=0)]]


class Calibration(_Sparse):
    """c(α) = max(work(α), launch(α)), or work(α) alone where `launch` is None.

    work(α) = intercept_ms + Σ_ops latency(op) · Σ_{g ∈ groups(op)} factors[g]; groups are those
    of profiler/tables/op_factors.py: "all", sizes, kernels, single op keys.
    """

    intercept_ms: float
    factors: dict[str, float]  # "all" is always among them
    n_networks: int = Field(ge=3)
    residual_mape_pct: float = Field(ge=0)  # leave-one-out
    # coverage -> half-width of the conformal interval as a fraction of c(α)
    relative_quantiles: dict[
        Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(ge=0)]
    ] = {}
    # coverage -> how far above c(α) at most: a fraction of it, and ms; none: the half-width counts
    margins: dict[
        Annotated[float, Field(gt=0, lt=1)],
        tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]],
    ] = {}
    launch: Launches | None = None  # where the host's launches bound some networks
    n_picked: int = Field(default=0, ge=0)  # of the networks, by a search
    n_sessions: int = Field(default=0, ge=0)  # whose drift is in the interval; 0: not known

    _left_out: ClassVar[tuple[str, ...]] = ("margins", "launch", "n_picked", "n_sessions")

    @field_validator("factors")
    @classmethod
    def _has_common(cls, factors: dict[str, float]) -> dict[str, float]:
        if "all" not in factors:
            raise ValueError('the factor "all" is missing')
        if factors["all"] <= 0:
            raise ValueError('the factor "all" must be above 0')
        return factors

    @field_validator("relative_quantiles")
    @classmethod
    def _widen(cls, quantiles: dict[float, float]) -> dict[float, float]:
        widths = [quantiles[coverage] for coverage in sorted(quantiles)]
        if widths != sorted(widths):
            raise ValueError("an interval that covers more must not be narrower")
        return quantiles

    @field_validator("margins")
    @classmethod
    def _grow(cls, margins: dict[float, tuple[float, float]]) -> dict[float, tuple[float, float]]:
        found = [margins[coverage] for coverage in sorted(margins)]
        for (share, fixed_ms), more in pairwise(found):
            if more != (share, fixed_ms) and more[0] <= share and more[1] <= fixed_ms:
                raise ValueError("a margin that covers more must not be less")
        return margins


class TransferBase(_Strict):
    """One table that a transfer began from."""

    device_model: str
    runtime: str
    space: SpaceRef
    created: str


class TransferSample(_Strict):
    """A measured number that a transfer was fitted to: of a block (`key`) or a network (`arch`)."""

    key: str | None = None
    arch: str | None = None
    width_mult: float | None = None  # of a network; None: the table's own
    resolution_px: int | None = None
    latency_ms: float = Field(gt=0)
    source: str
    left_out_ms: float | None = None  # what the transfer says that has not seen this number


class Transfer(_Strict):
    """Where the latencies of a transferred table are from (predictors/latency/transfer.py)."""

    base: tuple[TransferBase, ...]
    samples: tuple[TransferSample, ...]
    scale_of: str  # the source that the table's latencies are like
    factor: float  # median ratio of the measured numbers to the base
    sources: dict[str, float]  # by source, its numbers as a multiple of the table's
    from_regression: tuple[str, ...] = ()  # ops that the base lacks
    mape_pct: float = Field(ge=0)  # leave-one-out, as the next two
    worst_pct: float = Field(ge=0)
    # coverage -> half-width for one number like the samples, as a fraction of what is predicted
    relative_quantiles: dict[float, float] = {}


class LatencyTable(_Sparse):
    """Latencies of the ops of one space on one device. Keys are Once-for-All's."""

    schema_: Literal["pnag.latency-table/1"] = Field(
        default=SCHEMA, validation_alias="schema", serialization_alias="schema"
    )
    space: SpaceRef
    device: DeviceInfo
    protocol: dict[str, Any]
    unit: Literal["ms"] = "ms"
    statistic: Statistic = Statistic.LATENCY  # that `latency_ms` of ops and networks is
    load: Load | None = None  # how the device bore it, where that was asked for
    ops: dict[str, Entry]
    networks: tuple[NetworkEntry, ...] = ()
    calibration: Calibration | None = None
    transfer: Transfer | None = None  # of a table that was not measured
    failures: dict[str, str] = {}
    noise_floor: NoiseFloor | None = None
    sessions: tuple[SessionLevel, ...] = ()  # launches that measured networks
    # what the runtime ran, of the space "kernels": of each op and network the kernels in order,
    # each with its share of the latency where the runtime tells it
    kernels: dict[str, tuple[tuple[str, float | None], ...]] = {}
    created: str
    tool: str

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    _left_out: ClassVar[tuple[str, ...]] = ("kernels", "transfer", "load", "sessions", "statistic")

    @field_validator("device")
    @classmethod
    def _has_threads_and_images(cls, device: DeviceInfo) -> DeviceInfo:
        if device.threads < 1 or device.batch_size < 1:
            raise ValueError("threads and batch_size must be at least 1")
        return device

    @property
    def search_space(self) -> NetworkSpace:
        return self.space.open()

    def to_json(self) -> str:
        """The file's text, keys sorted so that two tables can be compared by diff."""
        document = self.model_dump(mode="json", by_alias=True)
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_text_atomic(path, self.to_json())


def transfer_in_words(table: LatencyTable) -> list[str]:
    """What a reader of a transferred table should know; nothing of another one."""
    made = table.transfer
    if made is None:
        return []
    n_networks = sum(sample.arch is not None for sample in made.samples)
    counts = ((n_networks, "network"), (len(made.samples) - n_networks, "block"))
    numbers = " and ".join(f"{n} measured {what}{'s' * (n != 1)}" for n, what in counts if n)
    names = ", ".join(dict.fromkeys(base.device_model for base in made.base))
    sources = ", ".join(dict.fromkeys(sample.source for sample in made.samples))
    lines = [
        f"not measured: transferred from {names}, corrected on {numbers} ({sources}); "
        f"{made.factor:.3g} times the base",
        f"leave-one-out error {made.mape_pct:.2g} %, the worst {made.worst_pct:.2g} %",
    ]
    lines += [
        f"on the scale of {made.scale_of}; those of {name} are {factor:.3g} times that"
        for name, factor in made.sources.items()
        if name != made.scale_of
    ]
    if made.from_regression:
        lines.append(f"{len(made.from_regression)} ops are from the base's regression")
    return lines


def table_json_schema() -> str:
    """The published JSON Schema of the file (docs/schemas/latency-table-1.json)."""
    schema = LatencyTable.model_json_schema(mode="validation")
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA}
    schema["required"] = sorted({*schema["required"], "schema"})
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def load_table(
    path: Path, *, space: NetworkSpace | None = None, partial: bool = False
) -> LatencyTable:
    """Read a latency table that covers its space; with `space`, refuse a table of another one.

    Args:
        partial: read any table, also one that lacks ops or is of a space unknown here.

    Raises:
        InvalidInputError: unreadable, truncated, or of an unknown schema; or of another space,
            or lacking ops of its space.
    """
    table = _parsed(path)
    if not partial:
        check_space(table, space or table.search_space, path)
    return table


def no_table(alternative: str = "") -> InvalidInputError:
    """Of a command that was given none; names the two ways to one."""
    return InvalidInputError(
        "give --latency-table, which pnag profile measures and pnag table import takes from "
        f"others{alternative}"
    )


def refuse_missing(path: Path) -> None:
    """Raise InvalidInputError, with the two ways to a table, where there is none."""
    try:
        path.stat()
    except FileNotFoundError:
        out = shlex.quote(str(path))
        raise InvalidInputError(
            f"there is no latency table {path}; measure one: pnag profile --device cpu --space "
            f"mbv3 --out {out}, or import what others measured: pnag table import FILE --format "
            f"ofa-yaml --out {out}"
        ) from None
    except OSError:
        return  # its reader says why


def _parsed(path: Path) -> LatencyTable:
    refuse_missing(path)
    document = read_json(path, allow_nan=False)
    check_schema(document, SCHEMA, path)
    return validated(LatencyTable, document, path)


def check_space(table: LatencyTable, space: NetworkSpace, path: Path) -> None:
    """Refuse a table of another space, or one that lacks ops of its own space."""
    wanted = SpaceRef.of(space)
    if table.space != wanted:
        raise InvalidInputError(f"{path} is a table of {table.space}, not of {wanted}")
    ops = distinct_ops(space)
    missing = sorted(ops.keys() - table.ops.keys())
    if missing:
        imported = any(entry.verdict is Verdict.IMPORTED for entry in table.ops.values())
        advice = "add them and import again" if imported else "go on with pnag profile --resume"
        raise InvalidInputError(
            f"{path} lacks {len(missing)} of {len(ops)} ops, e.g. {missing[0]}; {advice}"
        )
