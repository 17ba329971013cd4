import json

from profiler.terminal import Terminal


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
