"""A program that runs detached on the phone, so that a lost link loses nothing.

The job lives in its own session and folder (`run-ID`) and leaves its pid, stdout, stderr and, at
the very end and by a rename, its verdict `rc`: a nonce, the exit status and the sizes of what it
printed. Only that file is believed. Starting is safe to repeat: `mkdir` admits one starter.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from profiler.devices.android.errors import LinkError
from profiler.devices.android.link import AdbLink, ShellResult
from profiler.errors import MeasurementError
from profiler.numerals import whole_number

RESULT_FILE = "result.pb"  # a job may leave one binary file of this name in its folder
POLL_S = 0.5
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_RUNNING, _GONE, _NO_FOLDER = 76, 77, 78
_SIGKILL_STATUS = 128 + 9

# $1 nonce, then the program; in the run's folder.
_JOB = """
echo $$ >pid
nonce=$1; shift
"$@" </dev/null >stdout 2>stderr
rc=$?
[ -e result.pb ] || : >result.pb
echo "$nonce $rc $(wc -c <stdout) $(wc -c <stderr) $(wc -c <result.pb)" >rc.part
mv rc.part rc
"""
# $1 folder: prints boot id, verdict, stdout and result; the job's stderr goes to stderr.
_COLLECT = f"""
cd "$1" 2>/dev/null || exit {_NO_FOLDER}
if [ ! -e rc ]; then
  grep -q '^State:[[:space:]]*[^ZX]' "/proc/$(cat pid)/status" 2>/dev/null && exit {_RUNNING}
  [ -e rc ] || exit {_GONE}
fi
cat rc stdout result.pb
cat stderr >&2
"""
# $1 folder, $2 nonce, $3 _JOB, then the program. setsid: the link's end does not reach the job.
_START = f"""
folder=$1 nonce=$2 job=$3; shift 3
trap '' HUP
if mkdir "$folder" 2>/dev/null; then
  (cd "$folder" && exec setsid sh -c "$job" job "$nonce" "$@") </dev/null >/dev/null 2>&1 &
  wait $!
fi
set -- "$folder"
{_COLLECT}
"""
# $@ folders of runs: stop the session of each, if it is still that run's (ids are used again).
KILL = """
for run in "$@"; do
  cd "$run" 2>/dev/null && pid=$(cat pid 2>/dev/null) &&
  [ "$(readlink "/proc/$pid/cwd")" = "$(pwd -P)" ] && kill -KILL "-$pid"
done
cd /
"""


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that ended by itself."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    result_file: bytes


def run_job(
    link: AdbLink, folder: str, program: Sequence[str], *, deadline_s: float, boot_id: str
) -> JobResult:
    """Run `program` in a new folder below `folder`, and remove that folder.

    Args:
        deadline_s: for the whole job; then it is killed.
        boot_id: of the boot in which the session began.

    Raises:
        MeasurementError: timeout, out_of_memory, killed, rebooted, out_of_space, job_lost or
            broken_verdict.
        LinkError: the phone is gone; the job may still run there.
    """
    run_folder = f"{folder}/run-{secrets.token_hex(8)}"
    nonce = secrets.token_hex(16)
    try:
        result = _run(link, run_folder, nonce, program, time.monotonic() + deadline_s)
    except _JobGoneError:
        raise _explain_loss(link, boot_id) from None
    finally:
        _end(link, run_folder)
    if result.exit_code == _SIGKILL_STATUS:
        raise _explain_kill(link)
    return result


def read_boot_id(link: AdbLink) -> str:
    """Changes when the phone reboots."""
    return link.shell(["cat", BOOT_ID]).text.strip()


class _JobGoneError(Exception):
    """Neither a process nor a verdict is left."""


def _run(
    link: AdbLink, run_folder: str, nonce: str, program: Sequence[str], deadline: float
) -> JobResult:
    def left_s() -> float:
        return deadline - time.monotonic()

    try:
        shown = link.shell(
            ["sh", "-c", _START, "pnag", run_folder, nonce, _JOB, *program], deadline=deadline
        )
        while shown.exit_code == _RUNNING:
            if left_s() <= 0:
                raise LinkError("", reason="timeout")
            time.sleep(POLL_S)
            shown = link.script(_COLLECT, run_folder)
    except LinkError as error:
        if error.reason != "timeout" or left_s() > 0:
            raise
        raise MeasurementError(
            "the job did not end in time and was killed", reason="timeout"
        ) from None
    if shown.exit_code != 0:
        raise _JobGoneError
    return _read_verdict(shown, nonce)


def _read_verdict(shown: ShellResult, nonce: str) -> JobResult:
    line, _, rest = shown.stdout.partition(b"\n")
    fields = line.decode("ascii", errors="replace").split()
    numbers = [number for field in fields[1:] if (number := whole_number(field)) is not None]
    if len(fields) != 5 or fields[0] != nonce or len(numbers) != 4:
        raise MeasurementError("the job's verdict is unreadable", reason="broken_verdict")
    exit_code, n_stdout, n_stderr, n_result = numbers
    if len(rest) != n_stdout + n_result or len(shown.stderr) != n_stderr:
        raise MeasurementError(
            f"{len(rest)} bytes of the job's output arrived, {n_stdout + n_result} were written",
            reason="broken_verdict",
        )
    return JobResult(exit_code, rest[:n_stdout], shown.stderr, rest[n_stdout:])


def _end(link: AdbLink, run_folder: str) -> None:
    """Stop what still runs (after a timeout, after Ctrl-C) and remove the folder.

    Both also happen with the session's folder, so a lost link is no reason to fail.
    """
    with suppress(LinkError):
        link.script(f'{KILL}rm -rf "$1"', run_folder)


def _explain_loss(link: AdbLink, boot_id: str) -> MeasurementError:
    if read_boot_id(link) != boot_id:
        return MeasurementError("the phone rebooted", reason="rebooted", transient=True)
    if link.free_kib() < 1024:
        return MeasurementError(
            "the phone has no space left for the job's output", reason="out_of_space"
        )
    return MeasurementError("the job vanished without a verdict", reason="job_lost", transient=True)


def _explain_kill(link: AdbLink) -> MeasurementError:
    """Exit 137 is SIGKILL; the low-memory killer says so in the log."""
    log = link.shell(["logcat", "-d", "-b", "all", "-t", "500"]).text.splitlines()
    for line in reversed(log):
        if ("lmkd" in line or "lowmemorykiller" in line) and "kill" in line.lower():
            return MeasurementError(
                f"Android's low-memory killer ended the benchmark: {line.strip()}",
                reason="out_of_memory",
            )
    return MeasurementError("something killed the benchmark", reason="killed", transient=True)
