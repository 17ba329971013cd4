"""The command line from outside: exit codes, one-line errors, start-up."""

import re
import shlex
import subprocess
import sys
from errno import ENOMEM, ENOSPC
from signal import SIGINT, SIGTERM

import pytest
from google.protobuf.message import EncodeError

from pnag.cli.app import run
from profiler.errors import DeviceUnavailableError, InfeasibleBudgetError, InvalidInputError
from tests.docs_commands import all_commands, option_names, parsed, resolve

SMALLEST = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


@pytest.mark.parametrize(
    "arguments",
    [
        ["space", "inspect", "--arch", "1:2"],
        ["space", "inspect"],
        ["space", "nonsense"],
        ["space", "describe", "--width-mult", "1.3"],
        ["space", "describe", "--resolution", "321"],
        ["space", "describe", "--space", "resnet"],
        ["space", "export", "--arch", SMALLEST, "--export", "coreml", "--out", "never"],
        ["--no-such-option"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pnag: ")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "train --latency-table 'no such.json'",
        "predict --latency-table 'no such.json' --arch x",
        "table show 'no such.json'",
        "train",
        "predict --arch x",
    ],
)
def test_a_missing_latency_table_names_the_two_ways_to_get_one(
    command, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(command)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pnag profile" in line and "pnag table import" in line
    for written in re.findall(r"pnag (?:profile|table import) --?\S.*?'no such.json'", line):
        resolved, own = resolve(shlex.split(written)[1:])
        parsed(resolved, "", list(own))
    assert ("'no such.json'" in line) == ("--latency-table" in command or "show" in command)
    assert list(tmp_path.iterdir()) == []


SEEDED = {
    "profile", "train", "generate", "report", "serve", "demo", "space export",
    "supernet train", "supernet evaluate", "supernet extract",
}  # fmt: skip


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_command_has_the_shared_options(name, command):
    assert {"--json", "--quiet"} <= option_names(command)
    assert ("--seed" in option_names(command)) == (name.removeprefix("pnag ") in SEEDED)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InfeasibleBudgetError("x"), 3),
        (DeviceUnavailableError("x"), 4),
        (KeyboardInterrupt(), 130),
        (ValueError("two\nlines"), 1),
        (MemoryError("Unable to allocate 31.2 KiB"), 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1),
        (RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"), 1),
        (EncodeError("Failed to serialize proto"), 1),
        (RuntimeError("could not execute a primitive"), 1),
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), 1),
        (OSError(ENOMEM, "Cannot allocate memory"), 1),
        (OSError(ENOSPC, "No space left on device", "/tmp/x/0.onnx"), 1),
    ],
)
def test_errors_become_exit_codes(error, code, monkeypatch, capsys):
    def raise_error() -> None:
        raise error

    monkeypatch.setattr("pnag.cli.app.build_app", raise_error)
    assert run(["space"]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    lacks = any(words in str(error) for words in ("llocate", "serialize", "execute"))
    assert ("not enough memory" in said) == lacks
    assert ("TMPDIR" in said) == ("No space" in str(error))
    assert "OSError" not in said


def test_a_message_is_one_readable_line_whatever_a_file_puts_into_it(monkeypatch, capsys):
    def raise_error() -> None:
        raise InvalidInputError("a.json: \x1b[2J" + "9" * 10**6 + " is no latency")

    monkeypatch.setattr("pnag.cli.app.build_app", raise_error)
    assert run(["space"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("pnag: a.json: \\x1b[2J999")
    assert line.endswith("999 is no latency\n")
    assert len(line) < 2100


def test_help_loads_nothing_heavy():
    heavy = ["torch", "sklearn", "ray", "matplotlib", "onnx", "onnxruntime", "pydantic"]
    code = (
        "import sys; from pnag.cli.app import run; run(['--help']); "
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "space" in done.stdout


INTERRUPTED = """
import os, signal, sys
from pnag.cli.app import main
name, number = sys.argv.pop(1), int(sys.argv.pop(1))
module, _, function = name.rpartition(".")
__import__(module)
def interrupting(*_, **__):  # Ctrl-C while it works
    try:
        os.kill(os.getpid(), number)
        raise AssertionError("not interrupted")
    finally:
        open("tidied", "w").close()
setattr(sys.modules[module], function, interrupting)
main()
"""
AT_WORK = {
    "profile": "profiler.measuring.several_devices.profile_devices",
    "train": "pnag.runs.inputs.open_inputs",
    "report": "pnag.report.contents.gather",
    "supernet": "pnag.supernet.checkpoint.compress_supernet",
}


@pytest.mark.parametrize(
    ("arguments", "number", "message"),
    [
        (["profile", "--device", "fake", "--fresh"], SIGINT, "pnag profile --device fake"),
        (["train", "--space", "s", "--out", "a b"], SIGTERM,
         "pnag train --space s --out 'a b' --resume"),
        (["train", "--space", "s", "--resume"], SIGINT, "pnag train --space s --resume"),
        (["report", "--run", "r", "--out", "o"], SIGTERM, None),
        (["supernet", "compress", "--checkpoint", "c", "--out", "o.safetensors"], SIGINT, None),
    ],
)  # fmt: skip
def test_an_interrupted_command_tidies_up_and_says_what_goes_on(
    arguments, number, message, tmp_path
):
    """By a real signal: typer makes an exit of the interrupt before we see it. Who sends SIGTERM
    waits for a process that the signal ended."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, AT_WORK[arguments[0]], str(int(number)), *arguments],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == (130 if number == SIGINT else -SIGTERM)
    assert (tmp_path / "tidied").exists()
    kept = f"; what was done is kept, and goes on with: {message}" if message else ""
    assert done.stderr == f"pnag: interrupted{kept}\n"


def test_a_signal_before_the_command_begins_is_an_interrupt():
    early = "import os, pnag.cli.app as app; app.run = lambda *_: os.kill(os.getpid(), 15)"
    done = subprocess.run(
        [sys.executable, "-c", f"{early}; app.main()"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (-SIGTERM, "pnag: interrupted\n")


def test_an_interrupt_of_which_a_library_makes_an_error_is_one(tmp_path):
    """As PyTorch does, that asks a storage for its length, and pydantic, that writes a model."""
    instead = "    except KeyboardInterrupt:\n        raise ValueError('no shape') from None\n"
    library = INTERRUPTED.replace("    finally:", f"{instead}    finally:")
    done = subprocess.run(
        [sys.executable, "-c", library, AT_WORK["report"], str(int(SIGINT)), "report", "--run",
         "r", "--out", "o"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "pnag: interrupted\n")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_a_signal_after_all_is_said_ends_the_process_without_a_traceback(number):
    late = f"import atexit, os; atexit.register(os.kill, os.getpid(), {int(number)})"
    done = subprocess.run(
        [sys.executable, "-c", f"{late}; from pnag.cli.app import main; main()", "--version"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("pnag ")
    assert (done.returncode, done.stderr) == (-number, "")
