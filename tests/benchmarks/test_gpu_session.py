"""The session on a leased GPU: every step once, in the time there is, whatever fails."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import Outcome, Step, main, run


def python(name: str, code: str, *, limit_s: float = 30.0, needs: Path | None = None) -> Step:
    return Step(name, limit_s, (sys.executable, "-c", code), needs)


def soon() -> float:
    return time.monotonic() + 60


def test_step_that_ended_well_is_not_run_again(tmp_path: Path) -> None:
    count = python("count", f"open({str(tmp_path / 'n')!r}, 'a').write('x'); print('counted')")
    assert run(count, tmp_path, soon()).outcome == "done"
    assert run(count, tmp_path, soon()) == Outcome("count", "done before")
    assert (tmp_path / "n").read_text() == "x"
    assert (tmp_path / "count.out").read_text() == "counted\n"


def test_failed_step_is_tried_again_and_keeps_its_log(tmp_path: Path) -> None:
    fail = python("fail", "import sys; sys.exit('no GPU')")
    assert run(fail, tmp_path, soon()).outcome == "failed"
    assert run(fail, tmp_path, soon()).outcome == "failed"
    assert (tmp_path / "fail.log").read_text() == "no GPU\nno GPU\n"


def test_absent_program_is_a_failed_step(tmp_path: Path) -> None:
    absent = Step("absent", 30, ("nvidia-smi-of-nobody",))
    assert run(absent, tmp_path, soon()).outcome == "failed"
    assert "nvidia-smi-of-nobody" in (tmp_path / "absent.log").read_text()


def test_step_without_what_it_needs_or_without_time_is_not_begun(tmp_path: Path) -> None:
    needy = python("needy", "", needs=tmp_path / "table.json")
    assert run(needy, tmp_path, soon()) == Outcome("needy", "not begun")
    assert run(python("late", ""), tmp_path, time.monotonic() + 1) == Outcome("late", "not begun")
    assert not list(tmp_path.iterdir())


def test_step_at_its_limit_is_interrupted_as_a_user_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_session, "SHORTEST_STEP_S", 0.0)
    code = (
        "import time\n"
        "try: time.sleep(60)\n"
        f"except KeyboardInterrupt: open({str(tmp_path / 'kept')!r}, 'w').write('journal')\n"
    )
    outcome = run(python("long", code, limit_s=2.0), tmp_path, soon())
    assert outcome.outcome == "cut off"
    assert (tmp_path / "kept").read_text() == "journal"
    assert not (tmp_path / "long.done").exists()


def test_session_goes_on_after_failures_and_says_how_each_step_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = [python("first", "raise SystemExit(4)"), python("second", "print(2)")]
    monkeypatch.setattr(gpu_session, "steps", lambda _: iter(planned))
    monkeypatch.setattr(sys, "argv", ["gpu_session", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    steps = json.loads((tmp_path / "summary.json").read_text())["steps"]
    assert [(step["step"], step["outcome"]) for step in steps] == [
        ("first", "failed"),
        ("second", "done"),
    ]
    assert "second: done" in capsys.readouterr().out
