"""Spaces that say positions and stretches, and those in a user's file."""

import os
import py_compile
import re
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictors.cost import additive_cost
from profiler.errors import InvalidInputError
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import square_convolution
from profiler.graph.op import Block
from profiler.spaces import own as own_spaces
from profiler.spaces.base import Condition, TokenPosition
from profiler.spaces.blocks import BlockSpace
from profiler.spaces.networks import (
    NetworkSpace,
    distinct_ops,
    file_stem,
    network_graph,
    network_ops,
)
from profiler.spaces.registry import open_space
from profiler.tables.table import SpaceRef
from profiler.testing import SpaceConformance


def convolution(channels, out, kernel=1, n=1):
    builder = GraphBuilder()
    x = builder.input("input", (n, channels, 4, 4))
    y = builder.add("conv", square_convolution(out, kernel), x)
    return Block.of("conv", builder.graph(y), kernel=kernel)


@dataclass(frozen=True)
class Towers(BlockSpace):
    """A widening, then up to two convolutions of the width that was chosen."""

    name: str = "towers"
    resolution_px: int = 4
    positions = (
        TokenPosition("width", (8, 16)),
        TokenPosition("depth", (0, 1, 2)),
        TokenPosition("kernel1", (1, 3, 5), active_if=Condition(1, (1, 2))),
        TokenPosition("kernel2", (1, 3, 5), active_if=Condition(1, (2,))),
    )

    def stretches(self, batch_size):
        yield self.stretch(lambda width: [convolution(3, width, n=batch_size)], "width")
        for n in (1, 2):  # values come in the order of the names
            yield self.stretch(
                lambda kernel, width: [convolution(width, width, kernel, batch_size)],
                f"kernel{n}", "width",
            )  # fmt: skip


SPACE = Towers()


class TestTowers(SpaceConformance):
    space = Towers


def test_what_a_space_is_called_and_made_of():
    assert isinstance(SPACE, NetworkSpace)
    assert SPACE.facts == {"space": "towers", "resolution_px": 4}
    assert str(SPACE) == "towers at 4 px"
    assert SPACE.segments()[1].positions == (0, 2)
    assert SPACE.segments()[1].ops[1, 2] == (convolution(16, 16, 5),)
    assert distinct_ops(SPACE).keys() == {
        *(f"conv-input:4x4x3-output:4x4x{w}-kernel:1" for w in (8, 16)),
        *(f"conv-input:4x4x{w}-output:4x4x{w}-kernel:{k}" for w in (8, 16) for k in (1, 3, 5)),
    }


def test_written_architectures_leave_out_what_is_not_there():
    tokens = SPACE.parse("16, 1,5,-")
    assert tokens.tolist() == [1, 1, 2, -1]
    assert SPACE.format(tokens) == "16,1,5,-"
    assert network_ops(SPACE, tokens) == [convolution(3, 16), convolution(16, 16, 5)]
    assert network_graph(SPACE, tokens).madds == 16 * (3 * 16 + 25 * 16 * 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("16,1,5", "malformed architecture '16,1,5'; expected width,depth,kernel1,kernel2"),
        ("9,0,-,-", "width is '9'; expected 8 or 16"),
        ("8,1,1,1", "kernel2 is '1'; expected -"),
        ("8,2,1,-", "kernel2 is '-'; expected 1 or 3 or 5"),
    ],
)
def test_what_is_not_of_the_space_is_refused(text, message):
    with pytest.raises(InvalidInputError, match=message):
        SPACE.parse(text)


def test_a_cost_of_choices_that_meet_is_their_exact_sum():
    cost = additive_cost(SPACE, lambda op: op.graph.madds)
    tokens = SPACE.sample(50, np.random.default_rng(0))
    by_hand = [sum(op.graph.madds for op in network_ops(SPACE, row)) for row in tokens]
    assert cost(tokens) == pytest.approx(by_hand, rel=1e-12)


@dataclass(frozen=True)
class Ambiguous(Towers):
    name: str = "ambiguous"

    def stretches(self, batch_size):
        ops = [Block("conv", "conv", convolution(3, out).graph) for out in (8, 16)]
        yield self.stretch(lambda width: [ops[width == 16]], "width")


def test_a_key_stands_for_one_op():
    with pytest.raises(InvalidInputError, match="ambiguous has different ops of the key 'conv'"):
        Ambiguous().segments()


OWN = f"from {__name__} import Towers\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="own.py"):
        (tmp_path / name).write_text(text)

    return write


def test_a_space_is_opened_from_a_users_file(own):
    own(OWN)
    space = open_space("own.py:Towers", resolution_px=4)
    assert space == Towers("own.py:Towers")
    assert space == open_space("own.py:Towers")
    assert file_stem(space) == "Towers"
    with pytest.raises(InvalidInputError, match=r"own\.py:Towers has no dataset to choose"):
        open_space("own.py:Towers", dataset="cifar10")


def test_a_file_that_only_a_table_names_is_not_run(own, monkeypatch):
    """Only what somebody named before, here or in another process, and only as it was then."""
    read: dict[str, Any] = {"name": "own.py:Towers", "resolution_px": 4}
    own("raise SystemExit('run')\n")
    with pytest.raises(InvalidInputError, match="which would be run and which nobody here"):
        SpaceRef(**read)
    own(OWN)
    assert SpaceRef.of(open_space("own.py:Towers")) == SpaceRef(**read)
    monkeypatch.setattr(own_spaces, "_named", set())  # as in another process
    assert SpaceRef(**read).open() == Towers("own.py:Towers")
    monkeypatch.setattr(own_spaces, "_named", set())
    own(OWN + "raise SystemExit('run')\n")
    with pytest.raises(InvalidInputError, match="as it is now: if you trust it, pnag space"):
        SpaceRef(**read)


def test_what_is_run_is_the_file_and_no_bytecode_beside_it(own, tmp_path):
    """Bytecode that claims to be of the file; who trusts the file has not seen it."""
    file, other = tmp_path / "own.py", "raise SystemExit('run')"
    own(other.ljust(len(OWN)))
    planted = Path(cache_from_source(file))
    py_compile.compile(str(file), str(planted), doraise=True)
    as_it_was = file.stat()
    own(OWN)
    os.utime(file, ns=(as_it_was.st_atime_ns, as_it_was.st_mtime_ns))
    assert file.stat().st_size == as_it_was.st_size
    assert open_space("own.py:Towers") == Towers("own.py:Towers")
    planted.unlink()
    own_spaces._module.cache_clear()
    open_space("own.py:Towers")
    assert list(planted.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 / 0\n", r"own.py line 1: ZeroDivisionError: division by zero$"),
        ("import profiler\n\n)\n", r"own.py line 3: SyntaxError: unmatched"),
        ("", "own.py has no class 'Towers' that takes a name"),
        ("Towers = 3\n", "own.py has no class 'Towers' that takes a name"),
        ("class Towers: pass\n", "own.py has no class 'Towers' that takes a name"),
        ("def Towers(name): return 3\n", "own.py:Towers makes int, which is no NetworkSpace"),
        (OWN.replace("Towers", "SPACE") + "def Towers(name): return SPACE\n",
         "own.py:Towers calls itself 'towers'; use the name it is given"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_space_is_refused_in_one_line(own, text, message):
    own(text)
    with pytest.raises(InvalidInputError, match=message) as caught:
        open_space("own.py:Towers")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(own):
    with pytest.raises(InvalidInputError, match="no such Python file"):
        open_space("missing.py:Towers")


@pytest.mark.parametrize("use", [open_space, own_spaces.refuse_untrusted])
@pytest.mark.parametrize("file", ["a" * 300, "a\0", "\udcff\ud800", "a/" * 5000 + "a"], ids=len)
def test_what_can_be_no_file_is_refused_in_one_line(own, use, file):
    with pytest.raises(InvalidInputError, match=r"^(cannot read|no file is named) '") as caught:
        use(f"{file}.py:Towers")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("use", [open_space, own_spaces.refuse_untrusted])
def test_a_file_that_cannot_be_read_is_named(own, monkeypatch, use):
    own(OWN, "closed.py")

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InvalidInputError, match=r"cannot read '.*closed\.py': Permission denied"):
        use("closed.py:Towers")


@pytest.mark.parametrize(("n", "message"), [(127, None), (128, "'width' has 128 choices (> 127)")])
def test_a_space_with_more_choices_than_tokens_tell_is_refused(own, n, message):
    own(
        OWN + "from profiler.spaces.base import TokenPosition\n"
        "class Wide(Towers):\n"
        f"    positions = (TokenPosition('width', tuple(range(1, {n + 1}))),)\n"
    )
    if message is None:
        assert len(open_space("own.py:Wide").positions[0].choices) == n
    else:
        with pytest.raises(InvalidInputError, match=re.escape(message)):
            open_space("own.py:Wide")
