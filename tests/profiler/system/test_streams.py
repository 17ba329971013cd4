"""Streams that are closed, full or without a reader: work goes on, results stay whole."""

import json
import os
import subprocess
import sys

import pytest

from pnag.cli.app import main

WORK = """
import sys
from pathlib import Path
from profiler.system.streams import open_streams
from profiler.terminal import Terminal
open_streams()
terminal = Terminal(json_output="--json" in sys.argv)
for number in range(3000):
    terminal.note(f"note {number}")
with open("opened.txt", "w") as file:  # must not get the number of a closed stream
    terminal.note("another note")
    terminal.result({"text": "ms \\u00b1 \\udcff"}, "ms \\u00b1 \\udcff")
Path("done.txt").write_text(repr(sys.stdout.lost))
"""


@pytest.fixture
def work(tmp_path):
    """Run it in a shell with `redirections`; what came out at the end of the pipe."""

    def run(redirections, *arguments, **environment):
        command = [sys.executable, "-c", WORK, *arguments]
        done = subprocess.run(
            ["bash", "-c", f'"$@" {redirections}; exit ${{PIPESTATUS[0]}}', "-", *command],
            check=False, capture_output=True, env=os.environ | environment, cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, (tmp_path / "opened.txt").read_text()) == (0, "")
        return done.stdout

    return run


@pytest.mark.parametrize(
    "redirections",
    [
        "2>&-",
        ">&-",
        "<&-",
        "<&- >&- 2>&-",
        "2>&1 | head -1",
        "2>/dev/full",
        "2> >(exit)",
    ],
)
def test_work_goes_on_whatever_becomes_of_its_readers(work, tmp_path, redirections):
    work(redirections)
    assert (tmp_path / "done.txt").read_text() == "None"


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "2>/dev/null", "2> >(exit)"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_stays_json(work, redirections, encoding):
    out = work(redirections, "--json", PYTHONIOENCODING=encoding)
    assert json.loads(out.decode("ascii")) == {"text": "ms ± \udcff"}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "ms ± \\udcff\n".encode()),
        ("latin-1", b"ms \xb1 \\udcff\n"),
        ("ascii", b"ms \\xb1 \\udcff\n"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(work, encoding, expected):
    assert work("2>&-", PYTHONIOENCODING=encoding) == expected


def test_a_result_that_could_not_be_written_is_a_failure(tmp_path):
    """A full disk, unlike a reader that has seen enough."""
    command = [sys.executable, "-c", f"from {main.__module__} import main; main()", "--version"]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "pnag: cannot write the output: No space left on device\n"
