"""An Android phone over adb, measured by TFLite's or LiteRT's own `benchmark_model`.

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
from profiler.devices.android.benchmark_binary import probe
from profiler.devices.android.benchmark_lines import BenchmarkTimings
from profiler.devices.android.benchmark_profile import NodeTiming, parse_profile_csv
from profiler.devices.android.benchmark_result import check_result_proto
from profiler.devices.android.errors import LinkError
from profiler.devices.android.facts import PhoneState, read_state
from profiler.devices.android.job import RESULT_FILE, JobResult, run_job
from profiler.devices.android.options import RECORDED_AS, AndroidTiming, Delegate
from profiler.devices.android.preflight import prepared
from profiler.devices.android.session import PhoneSession, phone_lock
from profiler.devices.android.syntax import parse_spec
from profiler.devices.android.workload import (
    AndroidWorkload,
    failed_exit,
    shape_flags,
    text_of,
)
from profiler.devices.base import DeviceBase, DeviceInfo, DeviceState, ModelWorkload, Workload
from profiler.devices.seeded import seeded_tflite
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.flags import Flag
from profiler.graph.to_tflite import PRECISIONS, Precision
from profiler.models.cold_start import N_STARTS, ColdStart
from profiler.models.op_profile import OpShare, shares

__all__ = ["AndroidDevice", "AndroidWorkload", "discover"]


class AndroidDevice(DeviceBase):
    """A phone for the length of a `with` block; it is left as it was found.

    Args:
        spec: `adb`, `adb:SERIAL` or `adb://HOST:PORT/SERIAL`.
        benchmark_binary: a benchmark_model for the phone's ABI, of either kind.
        delegate: where the models run.
        allow_partial_delegation: also those of which it runs a part only; they are flagged.
        fixed_performance: hold Android's fixed performance mode meanwhile.
        rests: wait until the phone is cool, before each sample.

    Raises:
        InvalidInputError: malformed spec, not a program for this phone, or one without the
            delegate.
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
        delegate: Delegate = "cpu",
        allow_partial_delegation: bool = False,
        fixed_performance: bool = False,
        timing: AndroidTiming | None = None,
        rests: bool = True,
    ) -> None:
        target = parse_spec(spec)
        if precision not in PRECISIONS:
            raise InvalidInputError(
                f"{spec} measures {' and '.join(PRECISIONS)}, not precision {precision!r}"
            )
        self._timing = timing or AndroidTiming()
        self._delegate, self._allow_partial = delegate, allow_partial_delegation
        self._fixed_performance, self._rests = fixed_performance, rests
        self._partly = False  # the last model was allowed to run in part elsewhere, and did
        self._model_numbers = count()
        self._link, self._phone, binary = prepared(target, benchmark_binary, self._timing)
        cores = self._phone.big_cores(threads) if "taskset" in self._phone.tools else None
        with ExitStack() as undo:
            # before the session, which cleans up after visits that are over
            undo.enter_context(phone_lock(self._link.serial, self._phone))
            self._session = PhoneSession(self._link)
            undo.callback(self._session.close)
            self._session.keep_awake()
            if fixed_performance:
                self._session.fix_performance(self._timing.lease_s)
            self._program = f"{self._session.folder}/benchmark_model"
            self._link.push(binary.content, self._program, mode=0o755)
            self._tool, self._flags = probe(self._link, self._program)
            self._tool.flags(delegate, self._flags, partial=True)  # refused before any work
            self._undo = undo.pop_all()
        self.info = DeviceInfo(
            spec=spec,
            platform="adb",
            model=" ".join(filter(None, (self._phone.model, self._phone.platform))),
            runtime=self._tool.runtime,
            runtime_version=f"sha256:{hashlib.sha256(binary.content).hexdigest()[:16]}",
            threads=threads,
            precision=precision,
            batch_size=batch_size,
            n_cores=len(self._phone.max_clocks_khz) or None,
            affinity=cores,
            max_clock_mhz=self._phone.max_clock_mhz,
            os_release=f"Android {self._phone.android_release}, Linux {self._phone.kernel}",
            boot_id=self._phone.boot_id,
            options=self._options(binary.abi),
        )

    def _options(self, abi: str) -> tuple[tuple[str, str], ...]:
        partial = (("partial_delegation", "allowed"),) if self._allow_partial else ()
        fixed = (("performance", "fixed"),) if self._fixed_performance else ()
        return (
            ("abi", abi),
            ("delegate", RECORDED_AS[self._delegate]),
            *partial,
            *fixed,
            ("serial", self._link.serial),
        )

    @property
    def min_sample_ms(self) -> float:
        """benchmark_model repeats a short model by itself, so that any count of runs will do."""
        return 0.0

    def prepare(self, workload: Workload) -> AndroidWorkload:
        model = seeded_tflite(workload, cast(Precision, self.info.precision))
        # XNNPACK runs every float op of our models; of int8 ops it may leave some to the CPU's
        # other kernels
        on_cpu = self._delegate == "cpu" and self.info.precision != "float32"
        return self._pushed(model, {}, partial=on_cpu or self._allow_partial)

    def prepare_model(self, workload: ModelWorkload) -> AndroidWorkload:
        """A user's file: on the CPU XNNPACK runs what it can; the program draws the inputs."""
        flags = {"num_threads": str(workload.threads)} | shape_flags(workload.model)
        missing = sorted(flags.keys() - self._flags)
        if missing:
            raise MeasurementError(
                f"this {self._tool.runtime} has no flag --{missing[0]}", reason="unknown_flag"
            )
        partial = self._delegate == "cpu" or self._allow_partial
        return self._pushed(workload.model.file.path.read_bytes(), flags, partial=partial)

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

    def _pushed(self, model: bytes, flags: Mapping[str, str], *, partial: bool) -> AndroidWorkload:
        # a file of its own: a hidden repeat is the same model, and may end first
        path = f"{self._session.folder}/model-{next(self._model_numbers)}.tflite"
        self._link.push(model, path)
        return AndroidWorkload(self, path, flags, partial=partial)

    def state(self) -> DeviceState:
        phone = self._read_state()
        hot = (f"thermal_{phone.thermal_name}",) if phone.thermal_status else ()
        return DeviceState(
            load_1min=phone.load_1min,
            clock_mhz=phone.clock_mhz,
            temperature_c=phone.battery_c,
            throttle_reasons=hot,
            warnings=(Flag.PARTIAL_DELEGATION,) if self._partly else (),
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
        timings = self._read(job, model, runs)
        if "result_file_path" in self._flags:
            check_result_proto(job.result_file, timings)
        self._partly = timings.partly and self._allow_partial
        return timings

    def _read(self, job: JobResult, model: AndroidWorkload, runs: int) -> BenchmarkTimings:
        return self._tool.parse(
            text_of(job),
            runs=runs,
            delegate=self._delegate,
            require_full_delegation=not model.partial,
        )

    def profile(self, model: AndroidWorkload, runs: int) -> tuple[NodeTiming, ...]:
        """Time of every executed node, from a run apart: profiling slows the whole down."""
        flags = self._command_flags(model, runs) | {"enable_op_profiling": "true"}
        if "op_profiling_output_file" in self._flags:
            flags |= {"op_profiling_output_mode": "csv", "op_profiling_output_file": RESULT_FILE}
        elif "profiling_output_csv_file" in self._flags:
            flags["profiling_output_csv_file"] = RESULT_FILE
        else:
            raise MeasurementError(
                f"this {self._tool.runtime} cannot write an op profile", reason="missing_profile"
            )
        job = self._run(flags)
        self._read(job, model, runs)
        return parse_profile_csv(job.result_file.decode(errors="replace"))

    def remove(self, path: str) -> None:
        """What cannot be removed now goes with the session's folder."""
        with suppress(LinkError):
            self._link.shell(["rm", "-f", path])

    def _wait_until_quiescent(self) -> None:
        """The thermal gate; a screen that went off is lit again."""
        deadline, said = time.monotonic() + self._timing.max_cool_down_s, ""
        self._session.renew()
        while blockers := (phone := self._read_state()).blockers(hot_too=self._rests):
            self._session.renew()
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
            **model.flags,
            **self._tool.flags(self._delegate, self._flags, partial=model.partial),
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
            raise failed_exit(job, self._delegate)
        return job
