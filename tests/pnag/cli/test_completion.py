"""What the shell gets after Tab."""

import subprocess
import sys

import pytest

from pnag.cli.app import run
from pnag.cli.train import REWARD_NAMES
from pnag.learning.rewards import REWARDS
from pnag.learning.settings import STRATEGIES
from profiler.cli.options import SPACE_NAMES
from profiler.spaces.registry import OPENERS

DEVICES = ["cpu", "cuda", "fake", "replay:", "tflite", "adb:", "adb://"]


@pytest.fixture
def offered(monkeypatch, capsys):
    """Answers to bash, which sends the line and the number of the word at the cursor."""

    def ask(line):
        monkeypatch.setenv("_PNAG_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"pnag {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(f"pnag {line}".split(" ")) - 1))
        with pytest.raises(SystemExit):
            run([])
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("profile --device ", DEVICES),
        ("profile --device c", ["cpu", "cuda"]),
        ("demo --device t", ["tflite"]),
        ("generate --verify-on a", ["adb:", "adb://"]),
        ("profile --delegate ", ["cpu", "gpu", "nnapi"]),
        ("profile --space ", [*OPENERS, "kernels"]),
        ("space describe --space mbv3-", ["mbv3-cifar"]),
        ("table import --space p", ["proxyless"]),
        ("train --space t", ["tabular:"]),
        ("supernet train --space mbv3", ["mbv3-cifar", "mbv3"]),
        ("train --reward ", [*REWARDS]),
        ("train --reward pareto-", ["pareto-no-accuracy"]),
        ("train --strategy ", [*STRATEGIES]),
        ("help own_", ["own_device", "own_model", "own_space"]),
        ("prof", ["profile"]),
    ],
)
def test_names_are_completed(line, words, offered):
    assert offered(line) == words


def test_names_that_are_known_without_loading_are_those_that_are_there():
    assert tuple(OPENERS) == SPACE_NAMES
    assert tuple(REWARDS) == REWARD_NAMES


def test_completion_loads_nothing_heavy():
    code = (
        "import os, sys; from pnag.cli.app import run\n"
        "os.environ |= {'_PNAG_COMPLETE': 'complete_bash', 'COMP_CWORD': '3',"
        " 'COMP_WORDS': 'pnag train --reward '}\n"
        "try: run([])\n"
        "finally: print([m for m in ('numpy', 'torch', 'adbutils') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*REWARDS, "[]"]
