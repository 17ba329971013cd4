"""An Android phone over adb, measured by TFLite's own `benchmark_model`.

One process of that program is one sample: it loads the model, warms up, and reports the mean of
at least half a second of inferences.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import cast

from profiler.devices.android.attached import discover
from profiler.devices.android.benchmark_binary import check_abi, load_binary, probe_flags
from profiler.devices.android.benchmark_output import (
    BenchmarkTimings,
    check_result_proto,
    parse_benchmark_output,
)
from profiler.devices.android.benchmark_profile import NodeTiming, parse_profile_csv
from profiler.devices.android.errors import LinkError
from profiler.devices.android.facts import PhoneState, read_identity, read_state
from profiler.devices.android.job import RESULT_FILE, JobResult, run_job
from profiler.devices.android.link import AdbLink
from profiler.devices.android.options import AndroidTiming
from profiler.devices.android.session import PhoneSession
from profiler.devices.android.syntax import TEMPORARY, parse_spec
from profiler.devices.base import DeviceBase, DeviceInfo, DeviceState, ModelWorkload, Workload
from profiler.devices.seeded import seeded_tflite
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.graph.to_tflite import PRECISIONS, Precision
from profiler.models.cold_start import N_STARTS, ColdStart
from profiler.models.file import RunnableModel
from profiler.models.op_profile import OpShare, shares
from profiler.system.lock import device_lock

__all__ = ["AndroidDevice", "AndroidWorkload", "discover"]

FREE_KIB = 1024 * 1024  # a sweep keeps all of its models on the phone


class AndroidDevice(DeviceBase):
    """A phone for the length of a `with` block; it is left as it was found.

    Args:
        spec: `adb`, `adb:SERIAL` or `adb://HOST:PORT/SERIAL`.
        benchmark_binary: a benchmark_model for the phone's ABI.

    Raises:
        InvalidInputError: malformed spec, or not a program for this phone.
        DeviceUnavailableError: the phone cannot be used now; says what to do.
    """

    uses_canary = False  # it would heat the phone beside the target

    def __init__(
        self,
        spec: str,
        *,
        benchmark_binary: Path | None = None,
        threads: int = 1,
        batch_size: int = 1,
        precision: str = "float32",
        timing: AndroidTiming | None = None,
    ) -> None:
        target, binary = parse_spec(spec), load_binary(benchmark_binary)
        if precision not in PRECISIONS:
            raise InvalidInputError(
                f"{spec} measures {' and '.join(PRECISIONS)}, not precision {precision!r}"
            )
        self._timing = timing or AndroidTiming()
        self._model_numbers = count()
        self._link = AdbLink(
            target, reconnect_s=self._timing.reconnect_s, backoff_s=self._timing.backoff_s
        )
        self._phone = read_identity(self._link)
        check_abi(binary, self._phone.abis)
        self._check_tools()
        cores = self._phone.big_cores(threads) if "taskset" in self._phone.tools else None
        with ExitStack() as undo:
            # before the session, which cleans up after visits that are over
            undo.enter_context(device_lock(f"phone {self._link.serial}"))
            self._session = PhoneSession(self._link)
            undo.callback(self._session.close)
            self._session.keep_awake()
            self._program = f"{self._session.folder}/benchmark_model"
            self._link.push(binary.content, self._program, mode=0o755)
            self._flags = probe_flags(self._link, self._program)
            self._undo = undo.pop_all()
        self.info = DeviceInfo(
            spec=spec,
            platform="adb",
            model=" ".join(filter(None, (self._phone.model, self._phone.platform))),
            runtime="benchmark_model",
            runtime_version=f"sha256:{hashlib.sha256(binary.content).hexdigest()[:16]}",
            threads=threads,
            precision=precision,
            batch_size=batch_size,
            n_cores=len(self._phone.max_clocks_khz) or None,
            affinity=cores,
            max_clock_mhz=max((k for k in self._phone.max_clocks_khz if k), default=0) / 1e3
            or None,
            os_release=f"Android {self._phone.android_release}, Linux {self._phone.kernel}",
            boot_id=self._phone.boot_id,
            options=(("abi", binary.abi), ("delegate", "XNNPACK"), ("serial", self._link.serial)),
        )

    @property
    def min_sample_ms(self) -> float:
        """benchmark_model repeats a short model by itself, so that any count of runs will do."""
        return 0.0

    def prepare(self, workload: Workload) -> AndroidWorkload:
        model = seeded_tflite(workload, cast(Precision, self.info.precision))
        # XNNPACK runs every float op of our models; of int8 ops it may leave some
        full = {"require_full_delegation": "true"} if self.info.precision == "float32" else {}
        return self._pushed(model, full)

    def prepare_model(self, workload: ModelWorkload) -> AndroidWorkload:
        """A user's file: XNNPACK runs what it can of it, and the program draws the inputs."""
        flags = {"num_threads": str(workload.threads)} | shape_flags(workload.model)
        missing = sorted(flags.keys() - self._flags)
        if missing:
            raise MeasurementError(
                f"this benchmark_model has no flag --{missing[0]}", reason="unknown_flag"
            )
        return self._pushed(workload.model.file.path.read_bytes(), flags)

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        """By what the program says of itself; each of its processes starts afresh."""
        with closing(self.prepare_model(workload)) as prepared:
            starts = [prepared.benchmark(1) for _ in range(N_STARTS)]
        memory = [one.memory_mb for one in starts if one.memory_mb is not None]
        return ColdStart(
            median(one.init_ms for one in starts),
            median(one.first_ms for one in starts),
            median(memory) if memory else None,
        )

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        with closing(self.prepare_model(workload)) as prepared:
            plain_ms = prepared.sample_ms(1)
            nodes = prepared.profile()
        times_ms = {
            (node.name, node.node_type): (node.per_run_ms, node.times_called) for node in nodes
        }
        return shares(times_ms, plain_ms=plain_ms)

    def _pushed(self, model: bytes, flags: Mapping[str, str]) -> AndroidWorkload:
        # a file of its own: a hidden repeat is the same model, and may end first
        path = f"{self._session.folder}/model-{next(self._model_numbers)}.tflite"
        self._link.push(model, path)
        return AndroidWorkload(self, path, flags)

    def state(self) -> DeviceState:
        phone = self._read_state()
        hot = (f"thermal_{phone.thermal_name}",) if phone.thermal_status else ()
        return DeviceState(
            load_1min=phone.load_1min,
            clock_mhz=phone.clock_mhz,
            temperature_c=phone.battery_c,
            throttle_reasons=hot,
        )

    def blockers(self) -> Sequence[str]:
        return self._read_state().blockers()

    def close(self) -> None:
        """Leave the phone as it was found. Raises DeviceUnavailableError if it is gone."""
        self._undo.close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc, traceback)
        except DeviceUnavailableError:
            if exc is None:  # else the error that ended the block says more
                raise

    def benchmark(self, model: AndroidWorkload, runs: int) -> BenchmarkTimings:
        """One process of benchmark_model, when the phone is quiescent.

        Raises:
            MeasurementError: the run gives no number.
            DeviceUnavailableError: the phone is gone, rebooted, or does not come to rest.
        """
        self._wait_until_quiescent()
        flags = self._command_flags(model, runs)
        if "result_file_path" in self._flags:
            flags["result_file_path"] = RESULT_FILE
        job = self._run(flags)
        timings = parse_benchmark_output(
            _text(job), runs=runs, require_full_delegation=model.fully_delegated
        )
        if "result_file_path" in self._flags:
            check_result_proto(job.result_file, timings)
        return timings

    def profile(self, model: AndroidWorkload, runs: int) -> tuple[NodeTiming, ...]:
        """Time of every executed node, from a run apart: profiling slows the whole down."""
        flags = self._command_flags(model, runs) | {"enable_op_profiling": "true"}
        if "op_profiling_output_file" in self._flags:
            flags |= {"op_profiling_output_mode": "csv", "op_profiling_output_file": RESULT_FILE}
        elif "profiling_output_csv_file" in self._flags:
            flags["profiling_output_csv_file"] = RESULT_FILE
        else:
            raise MeasurementError(
                "this benchmark_model cannot write an op profile", reason="missing_profile"
            )
        job = self._run(flags)
        parse_benchmark_output(_text(job), runs=runs, require_full_delegation=model.fully_delegated)
        return parse_profile_csv(job.result_file.decode(errors="replace"))

    def remove(self, path: str) -> None:
        """What cannot be removed now goes with the session's folder."""
        with suppress(LinkError):
            self._link.shell(["rm", "-f", path])

    def _check_tools(self) -> None:
        missing = sorted({"setsid", "sha256sum"} - self._phone.tools)
        if missing:
            raise DeviceUnavailableError(
                f"{self._link.serial} has no {missing[0]} command; Android 8 or newer is needed"
            )
        if self._link.free_kib() < FREE_KIB:
            raise DeviceUnavailableError(
                f"{self._link.serial} has less than 1 GiB free in {TEMPORARY}; free some"
            )

    def _wait_until_quiescent(self) -> None:
        """The thermal gate; a screen that went off is lit again."""
        deadline, said = time.monotonic() + self._timing.max_cool_down_s, ""
        while blockers := (phone := self._read_state()).blockers():
            if phone.awake is False:
                self._session.keep_awake()
            if time.monotonic() > deadline:
                raise DeviceUnavailableError(
                    f"{self._link.serial} does not come to rest: {'; '.join(blockers)}; go on "
                    "with --resume"
                )
            reasons = "; ".join(blockers)
            if reasons != said:
                said = reasons
                self.say(f"waiting for {self._link.serial}: {reasons}")
            time.sleep(self._timing.cool_down_s)

    def _read_state(self) -> PhoneState:
        state = read_state(self._link, self.info.affinity)
        if state.boot_id not in (None, self._phone.boot_id):
            raise self._rebooted()
        return state

    def _rebooted(self) -> DeviceUnavailableError:
        return DeviceUnavailableError(
            f"{self._link.serial} rebooted; what it measures from now on is another epoch: go on "
            "with --resume"
        )

    def _command_flags(self, model: AndroidWorkload, runs: int) -> dict[str, str]:
        wanted = {
            "graph": model.path,
            "num_runs": str(runs),
            "min_secs": f"{self._timing.sample_s:g}",
            "max_secs": f"{self._timing.deadline_s:g}",
            "warmup_runs": "1",
            "warmup_min_secs": f"{self._timing.warmup_s:g}",
            "num_threads": str(self.info.threads),
            "use_xnnpack": "true",
            **model.flags,
        }
        return {name: value for name, value in wanted.items() if name in self._flags}

    def _run(self, flags: dict[str, str]) -> JobResult:
        program = [self._program, *(f"--{name}={value}" for name, value in flags.items())]
        if self.info.affinity:
            mask = sum(1 << core for core in self.info.affinity)
            program = ["taskset", f"{mask:x}", *program]
        try:
            job = run_job(
                self._link,
                self._session.folder,
                program,
                deadline_s=self._timing.deadline_s,
                boot_id=self._phone.boot_id,
            )
        except MeasurementError as error:
            raise self._rebooted() if error.reason == "rebooted" else error from None
        if job.exit_code != 0:
            raise _failed_exit(job)
        return job


class AndroidWorkload:
    """A model file on the phone, with flags of the program that are its own."""

    def __init__(self, device: AndroidDevice, path: str, flags: Mapping[str, str]) -> None:
        self._device, self.path, self.flags = device, path, flags

    @property
    def fully_delegated(self) -> bool:
        return "require_full_delegation" in self.flags

    def sample_ms(self, runs: int) -> float:
        """Mean latency in ms of one process: at least `runs` inferences and `sample_s`."""
        return self.benchmark(runs).latency_ms

    def benchmark(self, runs: int) -> BenchmarkTimings:
        return self._device.benchmark(self, runs)

    def profile(self, runs: int = 10) -> tuple[NodeTiming, ...]:
        return self._device.profile(self, runs)

    def close(self) -> None:
        self._device.remove(self.path)


def shape_flags(model: RunnableModel) -> dict[str, str]:
    """How the program is told the shapes of a model whose axes are free.

    Raises:
        MeasurementError: real values, which it cannot take.
    """
    if model.given:
        raise MeasurementError(
            "benchmark_model draws its inputs itself; leave out --input", reason="unknown_flag"
        )
    inputs = model.file.inputs
    if all(isinstance(axis, int) for one in inputs for axis in one.shape):
        return {}
    sizes = [",".join(map(str, model.values[one.name].shape)) for one in inputs]
    return {
        "input_layer": ",".join(one.name for one in inputs),
        "input_layer_shape": ":".join(sizes),
    }


def _text(job: JobResult) -> str:
    return job.stdout.decode(errors="replace") + "\n" + job.stderr.decode(errors="replace")


def _failed_exit(job: JobResult) -> MeasurementError:
    """Its own words when they explain the failure, else the status and the last line."""
    lines = [line for line in _text(job).splitlines() if line.startswith(("ERROR", "FATAL"))]
    if any("delegat" in line or "CPU fallback" in line for line in lines):
        return MeasurementError(
            f"benchmark_model did not run the whole model in XNNPACK: {lines[-1]}",
            reason="delegate_not_applied",
        )
    lines += [line for line in job.stderr.decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it said nothing"
    return MeasurementError(
        f"benchmark_model ended with status {job.exit_code}: {last}", reason="nonzero_exit"
    )
