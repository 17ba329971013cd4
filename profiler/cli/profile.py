"""`pnag profile` and `pnag devices`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from profiler.cli.profiled import describe_tables, unstable, unstable_table
from profiler.devices.backend import Backend, Settings
from profiler.devices.registry import backend_of, backends, options_of
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

if TYPE_CHECKING:
    from profiler.measuring.campaign import Choose, Doubts, ProfileRequest
    from profiler.measuring.protocol import MeasuringProtocol
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
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="tail: p50, p90, p99 of single runs. sustained: --minutes of load, and what is left.",
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="At most: then of what there is. Of kernels, about (10); of a sustained load (30).",
    ),
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

KERNELS = "kernels"
MAX_NETWORKS = 10_000
DEFAULT_SAMPLES = 30


@dataclass(frozen=True)
class Predicting:
    """What predictors/ adds to measuring.

    Attributes:
        complete: of the table of --like, or None, and of a measured one: what the latter becomes
            before it is written.
        doubts: says which kernels are to be measured more.
        choose: says what to measure beside the table of --like.
    """

    complete: Callable[[LatencyTable | None, LatencyTable], LatencyTable]
    doubts: Doubts
    choose: Choose


def register(app: typer.Typer, predicting: Predicting | None = None) -> None:
    """Add the commands."""

    @functools.wraps(profile)
    def command(*args: Any, **options: Any) -> None:
        failure = profile(*args, predicting=predicting, **options)
        if failure is not None:
            raise failure

    app.command("devices")(devices)
    app.command("profile")(command)


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
    protocol: ProtocolOption = None,
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
    predicting: Predicting | None,
) -> Exception | None:
    """Measure a space into a latency table, every op and some whole networks; or model files."""
    used = [backend_of(spec) for spec in device]
    device_options.refuse_others(used, "{} devices")
    rules, minutes = _protocols(used, quick, protocol, minutes, like or space == KERNELS)
    counts, images = threads or [1], batch_size or [1]
    facts = {
        "width_mult": width_mult, "resolution_px": resolution, "dataset": dataset,
        "resolutions_px": parse_resolutions(resolutions),
    }  # fmt: skip
    if model or shape or arrays:
        of_spaces = (space, *facts.values(), networks, fleet, minutes, like, samples, cold_start)
        with_space = any(of_spaces) or precision != "float32"
        verdicts = measure_files(model_request(
            device, model, shape, arrays, counts, with_space, batch_sizes=images, out=out,
            protocol=rules[0], seed=seed, resume=resume, device_options=device_options.of(used[0]),
        ), terminal)  # fmt: skip
        return unstable("", verdicts) if require_stable else None
    settings = _each_setting(counts, images, precision)
    _check_counts(device, out, networks, settings)
    if like is None or predicting is None:
        base = None
        measured = _space("mbv3" if space is None else space, facts, minutes, samples)
    else:
        base = _base(like, settings, any((space, *facts.values(), networks, minutes)))
        measured = base.search_space
    return _profile(space_requests(
        device, measured, out, settings, device_options, rules, quick, seed=seed, resume=resume,
        n_networks=networks, fleet=fleet, cold_start=cold_start, minutes=minutes,
        **_predicted(predicting, base, samples or DEFAULT_SAMPLES, seed),
    ), terminal, require_stable)  # fmt: skip


def _predicted(
    predicting: Predicting | None, base: LatencyTable | None, samples: int, seed: int
) -> dict[str, Any]:
    """What each request holds of predictors/."""
    if predicting is None:
        return {}
    return {
        "chosen": base and predicting.choose(base, samples, seed),
        "complete": functools.partial(predicting.complete, base),
        "doubts": predicting.doubts,
    }


def _protocols(
    used: Sequence[Backend], quick: bool, kind: str | None, minutes: float | None,
    latencies_only: object,
) -> tuple[list[MeasuringProtocol], float | None]:  # fmt: skip
    """Of each device; and the minutes, unless they are of the kind that is asked for."""
    from profiler.measuring.protocol import protocol_of

    if kind is None:
        return [protocol_of(one, quick=quick) for one in used], minutes
    if latencies_only:
        raise InvalidInputError("--like and --space kernels are of latencies, without --protocol")
    return [protocol_of(one, quick=quick, kind=kind, minutes=minutes) for one in used], None


def _profile(
    requests: Sequence[ProfileRequest], terminal: Terminal, require_stable: bool
) -> Exception | None:
    from profiler.measuring.several_devices import profile_devices

    profiled = profile_devices(requests, terminal)
    if profiled.tables:
        terminal.result(*describe_tables(profiled.tables))
    failed = unstable_table(profiled.tables) if require_stable else None
    return profiled.failure or failed


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
    return open_space(name, **facts)


def space_requests(
    device: Sequence[str], space: NetworkSpace | SingleKernels, out: Path | None,
    settings: Sequence[Settings], device_options: DeviceOptions,
    protocols: Sequence[MeasuringProtocol], quick: bool, *,
    minutes: float | None = None, **shared: Any,
) -> list[ProfileRequest]:  # fmt: skip
    """What each device is asked for by its protocol, once with each of the settings."""
    from profiler.measuring.campaign import ProfileRequest, default_out

    requests = []
    at_most = None if space.name == KERNELS else minutes  # of kernels, they say how many
    for (spec, protocol), one in product(zip(device, protocols, strict=True), settings):
        backend = backend_of(spec)
        options = device_options.of(backend, space=space)
        names = unusual(one, backend, options)
        names += ["like"] * (shared.get("chosen") is not None)  # beside a table of everything
        names += [name for name in ("tail", "sustained") if getattr(protocol, name)]
        place = out or default_out(spec, space, quick=quick, settings=names)
        given = {**asdict(one), **shared, "minutes": at_most, "device_options": options}
        requests.append(ProfileRequest(spec, space, place, protocol, **given))
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
