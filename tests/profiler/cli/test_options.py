"""What the shared options make of a command."""

import pytest
import typer
from typer.testing import CliRunner

from profiler.cli.options import shared_options

app = typer.Typer()


@app.command()
@shared_options
def double(number: int, *, terminal, seed):
    terminal.note("doubling")
    terminal.result({"twice": 2 * number, "seed": seed}, str(2 * number))


@app.command()
@shared_options
def fixed(*, terminal):
    terminal.result({"always": 1}, "one")


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "stdout", "stderr"),
    [
        (["double", "4"], "8\n", "doubling\n"),
        (["double", "4", "--quiet"], "8\n", ""),
        (["double", "4", "--json"], '{"twice": 8, "seed": 0}\n', "doubling\n"),
        (["double", "4", "--json", "-q", "--seed", "3"], '{"twice": 8, "seed": 3}\n', ""),
        (["fixed", "--json"], '{"always": 1}\n', ""),
    ],
)
def test_json_and_quiet_decide_where_a_command_speaks(arguments, stdout, stderr):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, stdout, stderr)


@pytest.mark.parametrize(
    "arguments",
    [["fixed", "--seed", "0"], ["double", "4", "--seed", "-1"], ["double", "4", "--seed", "2**32"]],
)
def test_a_seed_that_means_nothing_is_refused(arguments):
    assert invoke(*arguments).exit_code == 2


def test_own_options_come_first_in_the_help():
    lines = invoke("double", "--help").stdout
    assert lines.index("number") < lines.index("--json") < lines.index("--quiet")
    assert lines.index("--quiet") < lines.index("--seed")
