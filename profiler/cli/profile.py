"""`pnag profile` and `pnag devices`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profiler.cli import completion
from profiler.cli.device_options import NONE, DeviceOptions, flagged, takes_device_options
from profiler.cli.model_files import (
    InputOption,
    ModelOption,
    ShapeOption,
    measure_files,
    model_request,
)
from profiler.cli.options import (
    SPACE_NAMES,
    SPACES,
    DatasetOption,
    ResolutionOption,
    ResolutionsOption,
    WidthOption,
    parse_resolutions,
    shared_options,
)
from profiler.devices.backend import Backend, Settings
from profiler.devices.registry import backend_of, backends, options_of
from profiler.errors import DemandError, InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.measuring.campaign import Choose, Doubts, ProfileRequest
    from profiler.spaces.networks import NetworkSpace, SingleKernels
    from profiler.tables.table import LatencyTable

DeviceOption = Annotated[
    list[str],
    typer.Option(
        "--device",
        help=", ".join(form for backend in backends().values() for form in backend.forms)
        + "; repeat it for several devices.",
        autocompletion=completion.devices,
    ),
]

BatchOption = Annotated[
    list[int] | None,
    typer.Option("--batch-size", help="Images per run (1); repeat it for a table of each."),
]
ProfiledSpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        help=f"{SPACES.removesuffix('.')}; or kernels, from which any CNN's file is predicted.",
        autocompletion=completion.one_of(*SPACE_NAMES, "kernels"),
    ),
]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", help="How long to measure kernels, about (10).")
]
ThreadsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--threads",
        help="Threads of the runtime (1); repeat it for a table of each, or to compare a --model.",
    ),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="float32, or what else the device has.")
]
FleetOption = Annotated[
    str | None,
    typer.Option("--fleet", help="Ray cluster that offers the devices: HOST:PORT or auto."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Table to write, by default tables/DEVICE_SPACE_SETTINGS.json; or a --model's result.",
    ),
]
NetworksOption = Annotated[
    int | None, typer.Option("--networks", help="Whole networks to measure too (30; quick: 12).")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="The same protocol with wider limits.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--fresh", help="Go on with the journal, or begin anew.")
]
RequireStableOption = Annotated[
    bool, typer.Option("--require-stable", help="Exit code 1 unless every number is stable.")
]

LikeOption = Annotated[
    Path | None,
    typer.Option(
        "--like",
        help="Table of another device: measure only what tells most beside it, and make the table "
        "from both.",
    ),
]
SamplesOption = Annotated[
    int | None,
    typer.Option("--samples", min=3, max=10_000, help="How much to measure with --like (30)."),
]

ColdStartOption = Annotated[
    bool,
    typer.Option("--cold-start", help="Load, first run and memory of the whole networks, too."),
]

MAX_NETWORKS = 10_000
DEFAULT_SAMPLES = 30


def register(
    app: typer.Typer,
    finish: Callable[[Path, Path | None], object] | None = None,
    doubts: Doubts | None = None,
    choose: Choose | None = None,
) -> None:
    """Add the commands.

    Args:
        finish: is given each table that was measured, and the one of --like.
        doubts: says which kernels are to be measured more.
        choose: says what to measure beside the table of --like.
    """

    @functools.wraps(profile)
    def command(*args: Any, **options: Any) -> None:
        tables, failure = profile(*args, doubts=doubts, choose=choose, **options)
        if finish is not None:
            for table in tables:
                finish(table, options["like"])
        if failure is not None:
            raise failure

    app.command("devices", short_help="What can be measured, and what disturbs it.")(devices)
    app.command("profile", short_help="Measure a space on a device: a latency table.")(command)


@shared_options
@takes_device_options
def profile(
    device: DeviceOption,
    space: ProfiledSpaceOption = None,
    model: ModelOption = None,
    shape: ShapeOption = None,
    arrays: InputOption = None,
    width_mult: WidthOption = None,
    resolution: ResolutionOption = None,
    resolutions: ResolutionsOption = None,
    dataset: DatasetOption = None,
    batch_size: BatchOption = None,
    threads: ThreadsOption = None,
    precision: PrecisionOption = "float32",
    device_options: DeviceOptions = NONE,
    fleet: FleetOption = None,
    out: OutOption = None,
    networks: NetworksOption = None,
    minutes: MinutesOption = None,
    like: LikeOption = None,
    samples: SamplesOption = None,
    cold_start: ColdStartOption = False,
    quick: QuickOption = False,
    resume: ResumeOption = True,
    require_stable: RequireStableOption = False,
    *,
    terminal: Terminal,
    seed: int,
    doubts: Callable[..., Sequence[float]] | None = None,
    choose: Callable[..., Any] | None = None,
) -> tuple[Sequence[Path], Exception | None]:
    """Measure a space into a latency table, every op and some whole networks; or model files."""
    used = [backend_of(spec) for spec in device]
    device_options.refuse_others(used, "{} devices")
    counts, images = threads or [1], batch_size or [1]
    facts = {
        "width_mult": width_mult, "resolution_px": resolution, "dataset": dataset,
        "resolutions_px": parse_resolutions(resolutions),
    }  # fmt: skip
    if model or shape or arrays:
        of_spaces = (space, *facts.values(), networks, fleet, minutes, like, samples, cold_start)
        with_space = any(of_spaces) or precision != "float32"
        request = model_request(
            device, model, shape, arrays, counts, with_space, quick, batch_sizes=images, out=out,
            seed=seed, resume=resume, device_options=device_options.of(used[0]),
        )  # fmt: skip
        verdicts = measure_files(request, terminal)
        return (), _unstable("", verdicts) if require_stable else None
    settings = _each_setting(counts, images, precision)
    _check_counts(device, out, networks, settings)
    if like is None or choose is None:
        measured, chosen = _space("mbv3" if space is None else space, facts, minutes, samples), None
    else:
        base = _base(like, settings, any((space, *facts.values(), networks, minutes)))
        measured, chosen = base.search_space, choose(base, samples or DEFAULT_SAMPLES, seed)
    requests = space_requests(
        device, measured, out, settings, device_options, quick, chosen=chosen,
        n_networks=networks, seed=seed, resume=resume, fleet=fleet, doubts=doubts,
        cold_start=cold_start,
    )  # fmt: skip
    return _profile(requests, terminal, require_stable)


def _profile(
    requests: Sequence[ProfileRequest], terminal: Terminal, require_stable: bool
) -> tuple[Sequence[Path], Exception | None]:
    from profiler.measuring.several_devices import profile_devices

    profiled = profile_devices(requests, terminal)
    if profiled.tables:
        terminal.result(*describe_tables(profiled.tables))
    unstable = _unstable_table(profiled.tables) if require_stable else None
    return profiled.tables, profiled.failure or unstable


def _unstable_table(paths: Sequence[Path]) -> DemandError | None:
    """Of the first table with a number that is not stable, or without one."""
    from profiler.tables.table import load_table

    for path in paths:
        table = load_table(path, partial=True)
        verdicts = [entry.verdict.value for entry in (*table.ops.values(), *table.networks)]
        unstable = _unstable(f"{path}: ", [*verdicts, *["failed"] * len(table.failures)])
        if unstable is not None:
            return unstable
    return None


def _unstable(where: str, verdicts: Sequence[str]) -> DemandError | None:
    from collections import Counter

    counted = Counter(verdict for verdict in verdicts if verdict != "stable")
    if not counted:
        return None
    listed = ", ".join(f"{n} {verdict}" for verdict, n in counted.most_common())
    return DemandError(f"{where}{counted.total()} of {len(verdicts)} are not stable ({listed})")


def _each_setting(
    threads: Sequence[int], batch_sizes: Sequence[int], precision: str
) -> list[Settings]:
    """Each count of threads with each batch size, once."""
    each = dict.fromkeys(product(threads, batch_sizes))
    return [Settings(*counts, precision) for counts in each]


def _check_counts(
    device: Sequence[str], out: Path | None, networks: int | None, settings: Sequence[Settings]
) -> None:
    if out is not None and len(device) * len(settings) > 1:
        raise InvalidInputError(
            "--out names one table; leave it out with several devices or settings"
        )
    if networks is not None and not 0 <= networks <= MAX_NETWORKS:
        raise InvalidInputError(f"--networks must be from 0 to {MAX_NETWORKS}, got {networks}")


def _base(like: Path, settings: Sequence[Settings], says_more: bool) -> LatencyTable:
    """The table of --like, if what is measured can be read beside it."""
    from profiler.tables.table import load_table

    if says_more:
        raise InvalidInputError("--like measures the space of its table, by --samples")
    base = load_table(like)
    theirs = base.device.batch_size
    for ours in (one.batch_size for one in settings if one.batch_size != theirs):
        raise InvalidInputError(f"{like} is of batch size {theirs}, not of {ours}")
    return base


def _space(
    name: str, facts: Mapping[str, Any], minutes: float | None, samples: int | None
) -> NetworkSpace | SingleKernels:
    from profiler.spaces.kernels import KernelSpace
    from profiler.spaces.registry import open_space

    if samples is not None:
        raise InvalidInputError("--samples is for --like")
    if name == KernelSpace.name:
        if any(fact is not None for fact in facts.values()):
            raise InvalidInputError("kernels have no --width-mult, --resolution or --dataset")
        return KernelSpace() if minutes is None else KernelSpace(minutes)
    if minutes is not None:
        raise InvalidInputError("--minutes is for --space kernels")
    return open_space(name, **facts)


def space_requests(
    device: Sequence[str], space: NetworkSpace | SingleKernels, out: Path | None,
    settings: Sequence[Settings], device_options: DeviceOptions, quick: bool, **shared: Any,
) -> list[ProfileRequest]:  # fmt: skip
    """What each device is asked for, once with each of the settings."""
    from profiler.measuring.campaign import ProfileRequest, default_out
    from profiler.measuring.protocol import protocol_of

    requests = []
    for spec, one in product(device, settings):
        backend = backend_of(spec)
        options = device_options.of(backend, space=space)
        names = unusual(one, backend, options)
        names += ["like"] * (shared.get("chosen") is not None)  # beside a table of everything
        place = out or default_out(spec, space, quick=quick, settings=names)
        protocol = protocol_of(backend, quick=quick)
        requests.append(
            ProfileRequest(
                spec, space, place, protocol, **asdict(one), **shared, device_options=options
            )
        )
    return requests


def unusual(settings: Settings, backend: Backend, options: Mapping[str, object]) -> list[str]:
    """Settings other than the defaults: part of a table's default name, so that tables measured
    under different ones do not replace each other.

    Raises:
        InvalidInputError: a value that an option does not have.
    """
    threads, batch_size, precision = settings.threads, settings.batch_size, settings.precision
    found = [f"t{threads}"] * (threads != 1) + [f"b{batch_size}"] * (batch_size != 1)
    found += [precision] * (precision != "float32")
    options_of(backend, options)
    held = {field.name for field in flagged(backend) if field.metadata["recorded"]}
    return found + [f"{name}-{value}" for name, value in options.items() if name in held]


def describe_tables(paths: Sequence[Path]) -> tuple[dict[str, object], str]:
    """The command's result as a JSON document and as text."""
    from collections import Counter

    from profiler.tables.table import load_table

    tables, lines = [], []
    for path in paths:
        table = load_table(path, partial=True)
        entries = [*table.ops.values(), *table.networks]
        verdicts = Counter(entry.verdict.value for entry in entries)
        floor = table.noise_floor
        tables.append(
            {
                "path": str(path),
                "ops": len(table.ops),
                "networks": len(table.networks),
                "failures": len(table.failures),
                "verdicts": dict(verdicts),
                "noise_floor_p95_pct": floor.p95_pct if floor else None,
                "publishable": floor.publishable if floor else None,
                "wall_s": table.protocol.get("wall_s"),
                "measuring_share": table.protocol.get("measuring_share"),
            }
        )
        counted = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
        lines.append(f"{path}: {len(table.ops)} ops, {len(table.networks)} networks ({counted})")
        if floor:
            publishable = "" if floor.publishable else " - not publishable"
            lines.append(
                f"  noise floor (A/A of {floor.n_repeats} hidden repeats): median "
                f"{floor.median_pct:.1f} %, p95 {floor.p95_pct:.1f} %{publishable}"
            )
        if table.failures:
            lines.append(f"  {len(table.failures)} failed, e.g. {next(iter(table.failures))}")
        lines += _advice(verdicts, failed=bool(table.failures))
    return {"tables": tables}, "\n".join(lines)


def _advice(verdicts: Mapping[str, int], *, failed: bool) -> list[str]:
    """What to do about verdicts other than stable; pnag table show says which ops have them."""
    lines = []
    if verdicts.get("unconverged") or failed:
        lines.append("  the same command again goes on with what is unconverged or failed")
    if verdicts.keys() - {"stable", "unconverged"}:
        lines.append(
            "  pnag devices says what disturbs the machine; --fresh measures all of it again"
        )
    return lines


@shared_options
def devices(*, terminal: Terminal) -> None:
    """List what is attached, whether it can be measured now, and what would disturb it."""
    from profiler.devices.discovery import discover_all

    found = discover_all()
    lines = []
    for status in found:
        state = "ready" if status.measurable else f"not now: {status.reason}"
        what = ", ".join(part for part in (status.model, status.runtime) if part)
        lines.append(f"{status.spec:10} {what} - {state}" if what else f"{status.spec:10} {state}")
    findings = dict.fromkeys(finding for status in found for finding in status.findings)
    if findings:
        lines.append("\nwhat makes numbers unsteady now, and what to do:")
    lines += [f"  {finding.problem}\n      {finding.remedy}" for finding in findings]
    terminal.result({"devices": [asdict(status) for status in found]}, "\n".join(lines))
