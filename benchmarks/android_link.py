"""Does a whole table survive a bad link to the phone?

Profiles every op of a space, and whole networks, through the real adb server on a test phone
(the device side of adb, and LiteRT on this machine as its benchmark_model), first over a steady
link and then with the cable pulled at every n-th service. Counts what was lost, left or wrong.

    python -m benchmarks.android_link --networks 20 --out android_link.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from profiler.devices.android.options import AndroidTiming
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.measuring.protocol import QUICK, MeasuringProtocol
from profiler.spaces.mobilenetv3 import open_space
from profiler.tables.table import LatencyTable, load_table
from profiler.terminal import Terminal
from tests.adb_server import AdbServer
from tests.adbd import Adbd
from tests.phone import REPOSITORY, executable_of

TIMING = AndroidTiming(sample_s=0.02, warmup_s=0.02, deadline_s=60, reconnect_s=30, backoff_s=0.1)


def protocol(samples: int) -> MeasuringProtocol:
    """A fixed count of processes for each configuration: the link is judged, not the noise."""
    sampling = replace(QUICK.sampling, op_samples_per_block=1, network_samples_per_block=1)
    stopping = replace(QUICK.stopping, min_blocks=samples, op_cap_s=0.0, network_cap_s=0.0)
    return replace(QUICK, sampling=sampling, stopping=stopping)


def profile_over(
    server: AdbServer, folder: Path, arguments: argparse.Namespace, *, drop_every: int
) -> tuple[LatencyTable, dict[str, Any]]:
    adbd = Adbd(folder / f"phone-{drop_every}")
    server.adb("connect", adbd.serial)
    adbd.drop_every = drop_every
    binary = folder / "benchmark_model"
    standin = REPOSITORY / f"tests/profiler/devices/android/{arguments.tool}_model_standin.py"
    binary.write_bytes(executable_of(standin))
    request = ProfileRequest(
        spec=f"adb://127.0.0.1:{server.port}/{adbd.serial}",
        space=open_space(arguments.space, 1.0, arguments.resolution),
        out=folder / f"table-{drop_every}.json",
        protocol=protocol(arguments.samples),
        n_networks=arguments.networks,
        device_options={
            "benchmark_binary": binary,
            "fixed_performance": arguments.fixed_performance,
            "timing": TIMING,
        },
    )
    begin = time.monotonic()
    try:
        table = load_table(profile_device(request, Terminal()), partial=True)
        return table, {
            "link": f"a drop every {drop_every} services" if drop_every else "steady",
            "ops": len(table.ops),
            "networks": len(table.networks),
            "failures": dict(Counter(m.partition(":")[0] for m in table.failures.values())),
            "services": len(adbd.received),
            "drops": len(adbd.received) // drop_every if drop_every else 0,
            "wall_s": round(time.monotonic() - begin, 1),
            "leaked_processes": len(adbd.processes()),
            "leaked_files": len(list(adbd.phone.temporary.iterdir())),
            "changed_settings": int(adbd.phone.setting("stay_on_while_plugged_in") is not None)
            + int(adbd.phone.fixed_performance),
        }
    finally:
        adbd.close()


def latencies_ms(table: LatencyTable) -> dict[str, float]:
    return {key: entry.latency_ms for key, entry in table.ops.items()} | {
        entry.arch: entry.latency_ms for entry in table.networks
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="mbv3")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2, help="processes of each configuration")
    parser.add_argument("--drop-every", type=int, default=10)
    parser.add_argument(
        "--tool", choices=["benchmark", "compiled"], default="benchmark",
        help="TFLite's benchmark_model, or LiteRT's of its CompiledModel",
    )  # fmt: skip
    parser.add_argument("--fixed-performance", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = AdbServer(folder)
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(server.port)
        try:
            steady, first = profile_over(server, folder, arguments, drop_every=0)
            dropped, second = profile_over(
                server, folder, arguments, drop_every=arguments.drop_every
            )
        finally:
            server.stop()
    before, after = latencies_ms(steady), latencies_ms(dropped)
    ratios = np.array([after[key] / before[key] for key in before if key in after])
    for row in (first, second):
        print("\n".join(f"{key:18} {value}" for key, value in row.items()), end="\n\n")
    agreement = {
        "configurations": len(ratios),
        "median_ratio": round(float(np.median(ratios)), 4),
        "p5_ratio": round(float(np.quantile(ratios, 0.05)), 4),
        "p95_ratio": round(float(np.quantile(ratios, 0.95)), 4),
        "off_by_factor_2": int(np.sum((ratios > 2) | (ratios < 0.5))),
    }
    print("with drops / without:", agreement)
    if arguments.out:
        document = {"runs": [first, second], "agreement": agreement}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
