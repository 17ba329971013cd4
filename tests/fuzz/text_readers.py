"""Readers of text that people, phones and tools write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pnag.search.budget import parse_amount, parse_budget_ms
from profiler.cli.options import parse_resolutions
from profiler.devices.android.benchmark_binary import elf_abi
from profiler.devices.android.benchmark_lines import BenchmarkTimings, known_flags
from profiler.devices.android.benchmark_output import parse_benchmark_output
from profiler.devices.android.benchmark_profile import parse_profile_csv
from profiler.devices.android.benchmark_result import check_result_proto
from profiler.devices.android.compiled_output import parse_compiled_output
from profiler.devices.android.facts import read_identity, read_state
from profiler.devices.android.link import ShellResult
from profiler.devices.android.syntax import parse_spec
from profiler.devices.host import monitor
from profiler.devices.registry import backend_of
from profiler.graph.op import Op
from profiler.models.inputs import parse_shape
from profiler.models.kernel import parse_kernel
from profiler.models.litert_profiler import parse_summary
from profiler.numerals import decimal_number, port_number, whole_number
from profiler.printable import printable, shown
from profiler.spaces.export import parse_formats
from profiler.spaces.networks import NetworkSpace, distinct_ops, key_reader
from profiler.spaces.registry import open_space
from tests.fuzz.campaign import Reader
from tests.fuzz.mutations import BYTES, JSON, TEXT
from tests.pnag.landscapes import grid_space
from tests.predictors.synthetic_kernels import convolution
from tests.profiler.devices.android.benchmark_model_standin import profile_csv, result_proto, usage
from tests.profiler.devices.android.test_benchmark_output import NODES, PUBLISHED, printed
from tests.profiler.devices.android.test_compiled_output import PLACED
from tests.profiler.models.test_litert_profiler import SUMMARY

FAMILIES = ("mbv3", "proxyless", "resnet50", "nasbench201")
TIMINGS = BenchmarkTimings(2.5, 3, 2.0, 1, 18.5, 2.0, 109.8)
IDENTITY = """\
[ro.product.model]: [Pixel]
[ro.board.platform]: [msm8996]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.build.version.release]: [10]
[pnag.boot_id]: [f3a3b7c4-6f0e-4c1b-9d57-0a2b5f1f0c11]
[pnag.kernel]: [4.9.210]
[pnag.tool.taskset]: [1]
[pnag.max_khz.0]: [1593600]
[pnag.max_khz.2]: [2150400]
"""
STATE = """\
pnag.boot_id=f3a3b7c4-6f0e-4c1b-9d57-0a2b5f1f0c11
Current Battery Service state:
  level: 87
  temperature: 284
Thermal Status: 0
  mWakefulness=Awake
pnag.low_power=0
pnag.load=0.31 0.25 0.20 1/1200 4242
pnag.clock_khz=1593600
"""
PROC = {
    "cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 7763\n",
    "stat": "cpu  10 0 5 100 1 0 0 2 0 0\ncpu0 10 0 5 100 1 0 0 2 0 0\n",
    "thread-self/schedstat": "123456 789 12\n",
    "sys/kernel/random/boot_id": "f3a3b7c4-6f0e-4c1b-9d57-0a2b5f1f0c11\n",
    "pressure/cpu": "some avg10=0.12 avg60=0.05 avg300=0.01 total=1234\n",
    "cpu0/cpufreq/cpuinfo_max_freq": "2450000\n",
    "cpu0/cpufreq/scaling_cur_freq": "2400000\n",
}


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def of_text(
    name: str, read: Callable[[str], Any], *seeds: str, edits: Any = TEXT
) -> Reader:  # a reader of text in memory
    encoded = [seed.encode() for seed in seeds]
    return Reader(name, lambda folder: encoded, edits, lambda data, folder: read(decoded(data)))


def _numbers(text: str) -> Any:
    whole, port, decimal = whole_number(text), port_number(text), decimal_number(text)
    assert whole is None or 0 <= whole < 10**18
    assert port is None or 0 < port < 2**16
    assert decimal is None or decimal >= 0
    return decimal


def _budget(text: str) -> float:
    value = parse_budget_ms(text)
    assert value > 0
    return value


def _count(text: str) -> float:
    value = parse_amount(text, "madds", what="MAdds")
    assert value > 0
    return value


def _shape(text: str) -> Any:
    name, sizes = parse_shape(text)
    assert name and all(0 < size < 10**18 for size in sizes)
    assert parse_shape(f"{name}={'x'.join(map(str, sizes))}") == (name, sizes)


def _printable(text: str) -> Any:
    for said in (printable(text), printable(shown(text))):
        assert "\x1b" not in said and "\u202e" not in said
        said.encode()


def _architecture(space: Any) -> Callable[[str], Any]:
    """What is read, written and read again is the same."""

    def read(text: str) -> Any:
        tokens = space.parse(text)
        assert np.array_equal(space.parse(space.format(tokens)), tokens)
        return tokens

    return read


def _architecture_reader(name: str, space: Any) -> Reader:
    def seeds(folder: Path) -> Sequence[bytes]:
        rows = space.sample(5, np.random.default_rng(0))
        written = [space.format(row) for row in rows]
        if hasattr(space, "other_forms"):
            forms = [form for row in rows for form in space.other_forms(row).values()]
            written += [json.dumps(form) for form in forms if isinstance(form, dict)]
        return [text.encode() for text in written]

    read = _architecture(space)
    return Reader(f"arch-{name}", seeds, TEXT + JSON, lambda data, folder: read(decoded(data)))


def _key_reader(name: str, space: NetworkSpace) -> Reader:
    read = key_reader(space)

    def op(data: bytes, folder: Path) -> Any:
        found: Op = read(decoded(data))
        assert found.key == decoded(data)
        assert found.graph.madds >= 0 and found.graph.params >= 0

    def seeds(folder: Path) -> Sequence[bytes]:
        return [key.encode() for key in list(distinct_ops(space))[::5]]

    return Reader(f"key-{name}", seeds, TEXT, op)


def _kernel(text: str) -> Any:
    kernel = parse_kernel(text)
    assert parse_kernel(kernel.key).key == kernel.key
    assert min(kernel.input_elements, kernel.weight_elements, kernel.output_elements) >= 0


def _timings(parse: Callable[..., BenchmarkTimings], runs: int) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        timings = parse(text, runs=runs)
        assert timings.latency_ms > 0 and timings.runs >= runs
        return timings

    return read


class _Link:
    """Of a phone, what a script prints."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def script(self, text: str, *arguments: str, timeout_s: float = 30.0) -> ShellResult:
        return ShellResult(0, self._data, b"")


def _identity(data: bytes, folder: Path) -> Any:
    link: Any = _Link(data)
    phone = read_identity(link)
    phone.big_cores(2)
    return phone, phone.max_clock_mhz


def _state(data: bytes, folder: Path) -> Any:
    link: Any = _Link(data)
    state = read_state(link, (0,))
    state.blockers()
    return state


def _host(data: bytes, folder: Path) -> Any:
    """One file of /proc or /sys that says something else: its name is the first line."""
    name, _, content = data.partition(b"\n")
    if decoded(name) not in PROC:
        return None
    for known, text in PROC.items():
        path = folder / "proc" / known
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    other = folder / "proc" / decoded(name)
    other.write_bytes(content)
    before = monitor.PROC, monitor.CPUFREQ
    monitor.PROC = monitor.CPUFREQ = folder / "proc"
    try:
        found = monitor.HostMonitor((0,)).state()
        return [found, monitor.cpu_model(), monitor.boot_id(), monitor.max_clock_mhz(),
                monitor.clock_mhz(0), monitor.cpu_pressure_pct(), monitor.governor()]  # fmt: skip
    finally:
        monitor.PROC, monitor.CPUFREQ = before
        other.write_text(PROC[decoded(name)])


def _elf(data: bytes, folder: Path) -> Any:
    return elf_abi(data, Path("benchmark_model"))


def _bytes(name: str, read: Callable[[bytes, Path], Any], *seeds: bytes, edits: Any) -> Reader:
    return Reader(name, lambda folder: seeds, edits, read)


def text_readers() -> list[Reader]:
    spaces: dict[str, Any] = {name: open_space(name) for name in FAMILIES}
    sizes = open_space("mbv3", resolutions_px=(160, 192, 224))
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44)
    return [
        of_text("numbers", _numbers, "5037", "0.035", "2.5e1", "1593600"),
        of_text("budget", _budget, "35ms", "0.8s", "12.5", "350us", "35 ms"),
        of_text("count", _count, "300M", "6M", "1.5G", "300000000", "40k"),
        of_text("shape", _shape, "images:0=1x3x224x224", "x=1", "a=b=2x2"),
        of_text("formats", parse_formats, "onnx,tflite,torch", "onnx"),
        of_text("resolutions", parse_resolutions, "160,192,224", "128,224"),
        of_text("printable", _printable, "red \x1b[31m", "caf\u00e9\u202e\n"),
        of_text("device", lambda text: backend_of(text).name, "cpu", "cuda:1", "fake:3",
                "replay:t.json", "adb:1234", "adb://host:5037/1234"),
        of_text("adb-spec", parse_spec, "adb:emulator-5554", "adb://host:5037/1234", "adb"),
        *(_architecture_reader(name, space) for name, space in spaces.items()),
        _architecture_reader("sizes", sizes),
        _architecture_reader("tabular", grid_space()),
        *(_key_reader(name, space) for name, space in spaces.items()),
        of_text("kernel-key", _kernel, *(convolution(16, 32, side).key for side in (7, 14))),
        of_text("benchmark-output", _timings(parse_benchmark_output, 50), PUBLISHED,
                printed([2000], [2500, 2400] * 25)),
        of_text("compiled-output", _timings(parse_compiled_output, 1000), PLACED),
        of_text("profile-csv", parse_profile_csv, profile_csv(NODES)),
        of_text("litert-summary", parse_summary, SUMMARY),
        of_text("benchmark-help", known_flags, usage()),
        _bytes("result-proto", lambda data, folder: check_result_proto(data, TIMINGS),
               result_proto([2500, 2400, 2600], [2000]), edits=BYTES),
        _bytes("elf", _elf, elf, edits=BYTES),
        _bytes("getprop", _identity, IDENTITY.encode(), edits=TEXT),
        _bytes("dumpsys", _state, STATE.encode(), edits=TEXT),
        _bytes("proc", _host, *(f"{name}\n{text}".encode() for name, text in PROC.items()),
               edits=TEXT),
    ]  # fmt: skip
