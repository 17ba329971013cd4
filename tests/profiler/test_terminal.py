import io
import json

from rich import progress as rich_progress
from rich.console import Console

from profiler.terminal import BarProgress, Terminal


def test_json_results_are_alone_on_stdout(capsys):
    terminal = Terminal(json_output=True)
    terminal.note("working")
    terminal.result({"a": 1}, "a is 1")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err == "working\n"


def test_quiet_silences_notes_and_progress_but_not_results(capsys):
    terminal = Terminal(quiet=True)
    terminal.note("working")
    with terminal.progress("job", 2) as progress:
        progress.advance()
    terminal.result({"a": 1}, "a is 1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a is 1\n", "")


def test_without_a_terminal_progress_is_a_line_each_tenth_with_the_time_left(capsys):
    with Terminal().progress("job", 100) as progress:
        for _ in range(100):
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("job: 50 % after 0 s, about 0 s left")


def test_what_an_earlier_run_did_does_not_shorten_the_estimate(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 20.0])  # s: the start, then one every 5 steps
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Terminal().progress("job", 100) as progress:
        progress.skip(79)
        progress.advance(5)
        progress.advance(6)
    assert capsys.readouterr().err.splitlines() == [
        "job: 80 % after 10 s, about 32 s left ",  # 16 steps at 2 s
        "job: 90 % after 20 s, about 18 s left ",  # 10 steps at 20 s / 11
    ]


def test_a_bar_shows_what_an_earlier_run_did_but_takes_its_rate_from_this_one(monkeypatch):
    now_s = 0.0
    bars = rich_progress.Progress(get_time=lambda: now_s, console=Console(file=io.StringIO()))
    progress = BarProgress(bars, bars.add_task("job", total=100, note=""))
    progress.skip(79)
    for now_s in (1.0, 2.0, 3.0):  # noqa: B007 - read by the clock above
        progress.advance(1)
    assert bars.tasks[0].completed == 82
    assert bars.tasks[0].time_remaining == 18
