"""`pnag profile` and `pnag devices`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from profiler.cli.options import ResolutionOption, SpaceOption, WidthOption, shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

DeviceOption = Annotated[
    list[str],
    typer.Option(
        "--device",
        help="cpu, cuda[:I], tflite, adb:SERIAL, adb://HOST:PORT/SERIAL, fake[:SEED] or "
        "replay:TABLE; repeat it for several devices.",
    ),
]

MAX_NETWORKS = 10_000
CUDA_DEFAULTS = {"launch": "graph", "l2": "hot", "channels_last": False, "lock_clocks_mhz": None}


def register(app: typer.Typer) -> None:
    app.command("profile")(profile)
    app.command("devices")(devices)


@shared_options
def profile(
    device: DeviceOption,
    space: SpaceOption = "mbv3",
    width_mult: WidthOption = 1.0,
    resolution: ResolutionOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per run.")] = 1,
    threads: Annotated[int, typer.Option("--threads", help="Threads of the runtime.")] = 1,
    precision: Annotated[
        str, typer.Option("--precision", help="float32, or what else the device has.")
    ] = "float32",
    benchmark_binary: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-binary", help="TFLite's benchmark_model for the phone (docs/android.md)."
        ),
    ] = None,
    launch: Annotated[
        str, typer.Option("--launch", help="cuda: graph (the GPU's time) or eager (torch's).")
    ] = "graph",
    l2: Annotated[str, typer.Option("--l2", help="cuda: L2 cache hot or cold.")] = "hot",
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="cuda: tensors as NHWC.")
    ] = False,
    lock_clocks: Annotated[
        int | None,
        typer.Option("--lock-clocks", help="cuda: hold the SM clock at MHz meanwhile (root)."),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option("--fleet", help="Ray cluster that offers the devices: HOST:PORT or auto."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Table to write; by default tables/DEVICE_SPACE_SETTINGS.json.",
        ),
    ] = None,
    networks: Annotated[
        int | None,
        typer.Option("--networks", help="Whole networks to measure too (30; quick: 12)."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The same protocol with wider limits.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with the journal, or begin anew.")
    ] = True,
    *,
    terminal: Terminal,
    seed: int,
) -> list[Path]:
    """Measure every op of a space, and some whole networks, into a latency table."""
    from profiler.measuring.campaign import ProfileRequest, default_out
    from profiler.measuring.protocol import protocol_for
    from profiler.measuring.several_devices import profile_devices
    from profiler.spaces.mobilenetv3 import open_space

    if out is not None and len(device) > 1:
        raise InvalidInputError("--out names one table; leave it out with several devices")
    if networks is not None and not 0 <= networks <= MAX_NETWORKS:
        raise InvalidInputError(f"--networks must be from 0 to {MAX_NETWORKS}, got {networks}")
    chosen = open_space(space, width_mult, resolution)
    if benchmark_binary is not None and not any(spec.startswith("adb") for spec in device):
        raise InvalidInputError("--benchmark-binary is for adb devices only")
    cuda_options = {
        "launch": launch,
        "l2": l2,
        "channels_last": channels_last,
        "lock_clocks_mhz": lock_clocks,
    }
    if cuda_options != CUDA_DEFAULTS and not any(spec.startswith("cuda") for spec in device):
        raise InvalidInputError(
            "--launch, --l2, --channels-last and --lock-clocks are for cuda devices only"
        )
    backend_options: dict[str, dict[str, Any]] = {
        "adb": {"benchmark_binary": benchmark_binary},
        "cuda": cuda_options,
        "replay": {"space": chosen},
    }
    requests = [
        ProfileRequest(
            spec=spec,
            space=chosen,
            out=out
            or default_out(
                spec,
                chosen,
                quick=quick,
                settings=_unusual(
                    threads, batch_size, precision, cuda_options if spec.startswith("cuda") else {}
                ),
            ),
            protocol=protocol_for(spec, quick=quick),
            n_networks=networks,
            threads=threads,
            batch_size=batch_size,
            precision=precision,
            seed=seed,
            resume=resume,
            fleet=fleet,
            device_options=backend_options.get(spec.partition(":")[0], {}),
        )
        for spec in device
    ]
    paths = profile_devices(requests, terminal)
    terminal.result(*describe_tables(paths))
    return paths


def _unusual(
    threads: int, batch_size: int, precision: str, cuda_options: Mapping[str, object]
) -> list[str]:
    """Settings other than the defaults: part of a table's default name, so that tables measured
    under different ones do not replace each other."""
    found = [f"t{threads}"] * (threads != 1) + [f"b{batch_size}"] * (batch_size != 1)
    found += [precision] * (precision != "float32")
    return found + [
        f"{name}-{value}" for name, value in cuda_options.items() if value != CUDA_DEFAULTS[name]
    ]


def describe_tables(paths: list[Path]) -> tuple[dict[str, object], str]:
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
    return {"tables": tables}, "\n".join(lines)


@shared_options
def devices(*, terminal: Terminal) -> None:
    """List what is attached, whether it can be measured now, and what would disturb it."""
    from dataclasses import asdict

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
