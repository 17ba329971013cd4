"""What a campaign tells of readers that are known to be bad, and how it goes on behind them."""

import argparse
import json
import os
import signal
import time

import numpy as np
import pytest

from profiler.errors import InvalidInputError
from tests.fuzz import __main__ as command
from tests.fuzz import campaign as rules
from tests.fuzz import readers as registry
from tests.fuzz import trials
from tests.fuzz.__main__ import Campaign, begun
from tests.fuzz.campaign import Reader, bounded, input_of, tried
from tests.fuzz.mutations import flip
from tests.fuzz.trials import seeded

# a process with threads is forked where trials run; Python 3.12 and later warn of it
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def no_seeds(folder):
    return []


def refused(data):
    raise InvalidInputError("no")


def in_silence(data):
    raise InvalidInputError


def endless(data):
    while True:
        time.sleep(0.01)


BAD = {
    "ZeroDivisionError at test_campaign.py": lambda data: 1 / len(data),
    "AssertionError at campaign.py": lambda data: [{"x": float("nan")}],
    "a message of 0 lines": in_silence,
    "took over 0.05 s": endless,
    "took over 500 MB": lambda data: bytearray(10**9),
}


@pytest.mark.parametrize(("why", "read"), BAD.items())
def test_what_breaks_the_rule_is_said(why, read, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "MAX_S", 0.05)
    with bounded():
        told, _ = tried(Reader("bad", no_seeds, [], lambda data, folder: read(data)), b"", tmp_path)
    assert told is not None and told.startswith(why)


@pytest.mark.parametrize(
    "read", [refused, lambda data: 1.5, lambda data: [np.arange(3.0), {"x": (1, None)}]]
)
def test_a_value_and_one_line_keep_it(read, tmp_path):
    reader = Reader("good", no_seeds, [], lambda data, folder: read(data))
    assert tried(reader, b"", tmp_path)[0] is None


def test_what_is_sound_is_not_refused(tmp_path):
    reader = Reader("bad", no_seeds, [], lambda data, folder: refused(data))
    assert tried(reader, b"", tmp_path, sound=True)[0] == "refused what is sound: no"


def crashing(data, folder):
    """Of 1 seed byte with one bit flipped, the process ends at one, and another one is refused."""
    if data == b"\x41":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"\x42":
        raise ValueError(f"{data!r}")


def given(tmp_path, **others):
    return argparse.Namespace(
        **{"engine": "seeded", "seed": 0, "inputs": 60, "seconds": 1e9, "minutes": 1e9, "jobs": 2,
           "findings": tmp_path / "found", "out": tmp_path / "out.json", **others}
    )  # fmt: skip


def test_an_input_that_ends_the_process_is_found_and_passed(tmp_path, monkeypatch, capsys):
    """Both findings are kept once, as often as they come; a second campaign goes on from there."""
    reader = Reader("crashing", lambda folder: [b"\x40"], [flip], crashing)
    other = Reader("sound", lambda folder: [b"x"], [flip], lambda data, folder: len(data))
    monkeypatch.setattr(registry, "readers", lambda: {"crashing": reader, "sound": other})
    for inputs in (60, 90):
        arguments = given(tmp_path, inputs=inputs)
        campaign = Campaign(seeded(0), arguments, begun(arguments))
        campaign.run(["crashing", "sound"])
    document = json.loads(arguments.out.read_text())
    tried_inputs = [input_of(reader, [b"\x40"], 0, index) for index in range(90)]
    assert {b"\x41", b"\x42"} <= set(tried_inputs)
    figures = document["readers"]
    assert {name: one["inputs"] for name, one in figures.items()} == {"crashing": 90, "sound": 90}
    assert document["total"]["inputs"] == 180 and document["total"]["findings"] == 2
    assert figures["sound"]["findings"] == {}
    found = figures["crashing"]["findings"]
    assert {kind.partition(" at ")[0] for kind in found} == {
        "ValueError", f"the process ended with {-signal.SIGKILL}"
    }  # fmt: skip
    kept = {path.read_bytes() for path in (tmp_path / "found" / "crashing").iterdir()}
    assert kept == {b"\x41", b"\x42"}
    with pytest.raises(SystemExit, match="another engine or seed"):
        begun(given(tmp_path, seed=1))


def test_an_input_that_hangs_beyond_signals_is_found(tmp_path, monkeypatch, capsys):
    """As a library's own code may: its process is stopped, and the next one goes on behind it."""

    def hanging(data, folder):
        if data == b"\x41":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(60)

    reader = Reader("hanging", lambda folder: [b"\x40", b"\x41", b"\x42"], [flip], hanging)
    monkeypatch.setattr(registry, "readers", lambda: {"hanging": reader})
    monkeypatch.setattr(command, "LOOK_S", 0.05)
    monkeypatch.setattr(trials, "MAX_S", 0.05)
    campaign = Campaign(seeded(0), given(tmp_path, inputs=3), {})
    campaign.run(["hanging"])
    (figures,) = campaign.figures.values()
    assert figures.inputs == 3 and list(figures.findings) == ["the process hung"]
    assert [path.read_bytes() for path in (tmp_path / "found" / "hanging").iterdir()] == [b"\x41"]
