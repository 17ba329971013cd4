"""The command line: one app from the commands of all three packages, and its exit codes."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from pnag.cli.commands import ImportedGroup
from profiler.errors import PnagError
from profiler.printable import printable
from profiler.system.atomic import lacks_room
from profiler.system.memory import is_shortage
from profiler.system.streams import open_streams

EXIT_USAGE = 2
LONGEST_MESSAGE = 2000  # characters
EXIT_INTERRUPTED = 130
RESUMED: dict[tuple[str, ...], tuple[str, ...]] = {  # commands that go on, by these options
    ("profile",): (),
    ("train",): ("--resume",),
    ("demo",): (),
    ("supernet", "train"): (),
    ("supernet", "evaluate"): (),
}


def build_app() -> typer.Typer:
    """The whole command tree."""
    app = typer.Typer(
        name="pnag",
        cls=ImportedGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Measure latency, predict it, and generate architectures for any budget.",
        epilog="Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 infeasible budget, "
        "4 device unavailable, 130 interrupted. --debug shows tracebacks. pnag help TOPIC shows "
        "a page of the documentation.",
    )

    @app.callback(invoke_without_command=True)
    def top(
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            from importlib.metadata import version as installed

            print(f"pnag {installed('pnag')}")
            raise typer.Exit

    return app


def run(arguments: Sequence[str], signals: Sequence[int] = ()) -> int:
    """Run one command; errors become one line on stderr and an exit code.

    Args:
        signals: those that have come so far. An error after that is told as the interrupt, of
            which libraries make errors of their own.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]  # click's, wherever it lives
    try:
        result = build_app()(list(arguments), standalone_mode=False, prog_name="pnag")
        sys.stdout.flush()
        if result == EXIT_INTERRUPTED:  # what typer makes of Ctrl-C
            return _interrupted(arguments)
        return result if isinstance(result, int) else 0
    except PnagError as error:
        if debug:
            raise
        return _interrupted(arguments) if signals else _fail(str(error), error.exit_code)
    except usage_error as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return EXIT_USAGE
        return _fail(message, EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(arguments)
    except Exception as error:
        if debug:
            raise
        if signals:
            return _interrupted(arguments)
        if is_shortage(error):
            return _fail("not enough memory; ask for less at once, or give it more", 1)
        if lacks_room(error):
            return _fail(f"no room for temporary files (TMPDIR names another place): {error}", 1)
        return _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1)


def _interrupted(arguments: Sequence[str]) -> int:
    """Say what is kept, and the command that goes on."""
    options = RESUMED.get(tuple(arguments[:1]), RESUMED.get(tuple(arguments[:2])))
    if options is None:
        return _fail("interrupted", EXIT_INTERRUPTED)
    same = [argument for argument in arguments if argument != "--fresh"]
    again = shlex.join(["pnag", *same, *(option for option in options if option not in same)])
    return _fail(f"interrupted; what was done is kept, and goes on with: {again}", EXIT_INTERRUPTED)


def _fail(message: str, code: int) -> int:
    line = printable(" ".join(message.split()))
    if len(line) > LONGEST_MESSAGE:  # a file's own text, which may be of any length
        line = f"{line[: LONGEST_MESSAGE // 2]} ... {line[-LONGEST_MESSAGE // 2 :]}"
    print(f"pnag: {line}", file=sys.stderr, flush=True)
    return code


def main() -> None:
    """Entry point `pnag`."""
    sys.exit(_run_to_the_end(sys.argv[1:]))


def profile_main() -> None:
    """Entry point `pnag-profile`, the same as `pnag profile`."""
    sys.exit(_run_to_the_end(["profile", *sys.argv[1:]]))


def train_main() -> None:
    """Entry point `pnag-train`, the same as `pnag train`."""
    sys.exit(_run_to_the_end(["train", *sys.argv[1:]]))


def _run_to_the_end(arguments: Sequence[str]) -> int:
    """`run`, whatever becomes of those who read stdout and stderr.

    SIGTERM interrupts as Ctrl-C does, so that devices are left as they were found; the process then
    ends by it, as who sent it expects.
    """
    open_streams()
    signals: list[int] = []
    try:
        _note(signals)
        code = run(arguments, signals)
        _ended_by_signals()
    except KeyboardInterrupt:  # before the command had begun, or after its end
        _ended_by_signals()
        code = _interrupted(arguments)
    if signal.SIGTERM in signals and code == EXIT_INTERRUPTED:
        signal.raise_signal(signal.SIGTERM)
    lost = getattr(sys.stdout, "lost", None)
    return code or (_fail(f"cannot write the output: {lost.strerror}", 1) if lost else 0)


def _note(signals: list[int]) -> None:
    """Signals that interrupt, as they come; not those that whoever began this process ignores."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


def _ended_by_signals() -> None:
    """All is done and said: what comes now ends the process, where Python, as it shuts down, would
    print a traceback and go on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):  # not ignored
            signal.signal(number, signal.SIG_DFL)
