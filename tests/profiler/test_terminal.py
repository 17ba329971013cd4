import io
import json

import pytest
from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

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


def test_a_job_that_turns_out_longer_is_told_of_every_half_minute(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 40.0, 60.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Terminal().progress("job", 10) as progress:
        progress.advance(5)
        progress.advance(4)
        progress.expect(10.5)
        progress.advance(0.25)
        progress.advance(0.25, note="finishing: 2 unconverged")
    assert capsys.readouterr().err.splitlines() == [
        "job: 50 % after 10 s, about 10 s left ",
        "job: 90 % after 20 s, about 2 s left ",
        "job: 90 % after 60 s, about 6 s left finishing: 2 unconverged",
    ]


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


def test_names_of_others_command_no_terminal(capsys):
    table = Table()
    table.add_column("op")
    table.add_row("[red]\x1b[2J[/nothing] :smile:")
    terminal = Terminal()
    terminal.note("\x1b]0;title\x07")
    terminal.result({}, "\x1b[31m$x$")
    terminal.result({}, table)
    with terminal.progress("job\x1b", 1) as progress:
        progress.advance(note="\x9b")
    captured = capsys.readouterr()
    assert "[red]\\x1b[2J[/nothing] :smile:" in captured.out
    assert "\\x1b[31m$x$" in captured.out
    for text in captured:
        assert not {"\x1b", "\x07", "\x9b"} & set(text)


def test_a_bar_shows_names_as_they_are():
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    with rich_progress.Progress(
        rich_progress.TextColumn("{task.fields[note]}", markup=False), console=console
    ) as bars:
        BarProgress(bars, bars.add_task("", total=1, note="")).advance(note="[b]\x1b[2J")
    assert "[b]\\x1b[2J" in stream.getvalue()


def test_styles_of_our_own_stay(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard")
    monkeypatch.setattr(Terminal, "_console", lambda self, *, stderr: console)
    Terminal().result({}, Text("stable", "green"))
    assert stream.getvalue() == "\x1b[32mstable\x1b[0m\n"


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_nothing_is_folded_in_a_pipe(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    table = Table("op", "verdict")
    table.add_row("x" * 150, "a long verdict of several words")
    Terminal().result({}, table)
    assert f"{'x' * 150} | a long verdict" in capsys.readouterr().out.replace("│", "|")


def test_a_job_that_turns_out_longer_says_so(capsys, monkeypatch):
    clock = iter([0.0, *range(10, 1000, 10)])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Terminal().progress("job", 10) as progress:
        progress.advance(10)
        progress.expect(40)
        progress.say("it is hot")
        progress.advance(10, note="finishing: 3 unconverged")
    assert capsys.readouterr().err.splitlines() == [
        "job: 100 % after 10 s, about 0 s left ",
        "it is hot",
        "job: 50 % after 20 s, about 20 s left finishing: 3 unconverged",
    ]


def test_a_bar_takes_lines_and_another_total():
    out = io.StringIO()
    bars = rich_progress.Progress(console=Console(file=out, width=40))
    progress = BarProgress(bars, bars.add_task("job", total=10, note=""))
    progress.advance(5)
    progress.expect(50)
    progress.say("[phone] is hot, and this line is longer than the terminal is wide")
    assert bars.tasks[0].percentage == 10
    assert "[phone] is hot, and this line is longer than the terminal is wide\n" in out.getvalue()


@pytest.mark.parametrize(
    "document",
    [{}, {"rows": []}, {"a": None, "rows": [{"b": [1, "é"]}, 2.5], "c": {"d": []}, "e": [[]]}],
)
def test_a_document_written_in_parts_is_that_written_at_once(capsys, document):
    Terminal(json_output=True).result(document)
    assert capsys.readouterr().out == json.dumps(document) + "\n"
