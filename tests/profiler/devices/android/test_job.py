"""Detached jobs: a lost link loses nothing, and only the verdict file is believed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from profiler.devices.android.errors import LinkError
from profiler.devices.android.job import JobResult, read_boot_id, run_job
from profiler.devices.android.link import AdbLink
from profiler.errors import MeasurementError
from tests.adbd import Adbd, Fault
from tests.profiler.devices.android.conftest import settled

FOLDER = "/data/local/tmp/session"


@pytest.fixture
def folder(link: AdbLink) -> Iterator[str]:
    link.shell(["mkdir", FOLDER])
    yield FOLDER
    assert link.shell(["ls", FOLDER]).stdout == b""
    link.shell(["rmdir", FOLDER])


Run = Callable[..., JobResult]


@pytest.fixture
def run(link: AdbLink, folder: str) -> Run:
    boot_id = read_boot_id(link)

    def run_here(program: Sequence[str], deadline_s: float = 20) -> JobResult:
        return run_job(link, folder, program, deadline_s=deadline_s, boot_id=boot_id)

    return run_here


def reason_of(run: Run, program: Sequence[str], deadline_s: float = 20) -> MeasurementError:
    with pytest.raises(MeasurementError) as caught:
        run(program, deadline_s)
    return caught.value


def started(adbd: Adbd) -> int:
    return len(adbd.phone.get("runs").split()) if (adbd.phone.root / "state/runs").exists() else 0


COUNTED = 'echo x >>"$PHONE/state/runs"; '  # so that a second start would show


def test_result_of_a_job(run: Run) -> None:
    result = run(["sh", "-c", "printf 'a\\r\\nb'; printf c >&2; printf d >result.pb; exit 3"])
    assert result == JobResult(3, b"a\r\nb", b"c", b"d")


def test_words_with_spaces_and_quotes(run: Run) -> None:
    words = ["a b", "c'd", 'e"f', "$(g)", "h\ni", ""]
    assert run(["printf", "%s|", *words]).stdout == "".join(f"{w}|" for w in words).encode()


@pytest.mark.parametrize(
    ("kind", "times"),
    [("drop", 3), ("drop_after", 1), ("drop_after", 3), ("truncate", 2), ("hang", 1)],
)
def test_a_lost_link_loses_nothing(run: Run, adbd: Adbd, kind: str, times: int) -> None:
    """The job runs once, through drops at its start and while it is waited for."""
    adbd.faults = [Fault(kind, "setsid", times=times)]
    program = ["sh", "-c", COUNTED + "sleep 0.6; echo done"]
    result = run(program, deadline_s=1.0 if kind == "hang" else 20)
    assert (result.exit_code, result.stdout) == (0, b"done\n")
    assert started(adbd) == 1


def test_garbage_is_not_a_verdict(run: Run, adbd: Adbd) -> None:
    adbd.faults = [Fault("garbage", "setsid")]
    assert reason_of(run, ["true"]).reason == "broken_verdict"


def test_a_forged_verdict_is_not_believed(run: Run) -> None:
    """Whoever does not know the nonce cannot write the verdict."""
    error = reason_of(run, ["sh", "-c", "echo 0 0 0 0 0 >rc; sleep 60"], deadline_s=1)
    assert error.reason in ("broken_verdict", "timeout")


def test_a_hanging_job_is_killed_with_its_children(run: Run, adbd: Adbd) -> None:
    error = reason_of(run, ["sh", "-c", "sleep 300 & sleep 301"], deadline_s=0.5)
    assert (error.reason, error.transient) == ("timeout", False)
    deadline = time.monotonic() + 5
    while adbd.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert adbd.processes() == []


def test_an_interrupted_job_is_killed(run: Run, adbd: Adbd) -> None:
    """Ctrl-C while a benchmark runs: without its folder nothing could find it any more."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "300"])
    timer.join()
    assert settled(adbd.processes) == []


def test_a_reboot_is_named(run: Run, adbd: Adbd) -> None:
    timer = threading.Timer(0.5, adbd.reboot)
    timer.start()
    error = reason_of(run, ["sleep", "60"])
    timer.join()
    assert (error.reason, error.transient) == ("rebooted", True)


LMKD = (
    "11-24 08:00:01.123   412   412 I lowmemorykiller: Kill 'benchmark_model' (4242), uid 2000, "
    "oom_adj 0 to free 734208kB\n"
)


@pytest.mark.parametrize(("log", "reason"), [(LMKD, "out_of_memory"), ("nothing", "killed")])
def test_sigkill(run: Run, adbd: Adbd, log: str, reason: str) -> None:
    adbd.phone.put("logcat", log)
    error = reason_of(run, ["sh", "-c", "kill -KILL $$"])
    assert (error.reason, error.transient) == (reason, reason == "killed")


def test_a_vanished_job(run: Run, adbd: Adbd) -> None:
    timer = threading.Timer(0.5, adbd.kill_processes)
    timer.start()
    error = reason_of(run, ["sleep", "60"])
    timer.join()
    assert (error.reason, error.transient) == ("job_lost", True)


def test_a_full_disk_explains_a_vanished_job(run: Run, adbd: Adbd) -> None:
    adbd.phone.set_free_kib(12)
    timer = threading.Timer(0.5, adbd.kill_processes)
    timer.start()
    error = reason_of(run, ["sleep", "60"])
    timer.join()
    assert error.reason == "out_of_space"


def test_a_phone_that_stays_away(link: AdbLink, adbd: Adbd) -> None:
    """The link gives up; the job ends by itself and its folder waits for the next session."""
    link.shell(["mkdir", FOLDER])
    boot_id = read_boot_id(link)
    adbd.faults = [Fault("drop_after", "setsid", times=1), Fault("drop", "", times=9999)]
    with pytest.raises(LinkError) as caught:
        run_job(link, FOLDER, ["sleep", "0.3"], deadline_s=5, boot_id=boot_id)
    assert caught.value.reason == "dropped"
    adbd.faults = []
    time.sleep(0.5)
    (run_folder,) = (adbd.phone.temporary / "session").iterdir()
    assert (run_folder / "rc").read_text().split()[1:] == ["0", "0", "0", "0"]
    link.shell(["rm", "-rf", FOLDER])
