"""Architectures from files: lines, lists, and what the commands write."""

import json
from pathlib import Path

import pytest

from profiler.errors import InvalidInputError
from profiler.spaces.architecture_files import read_architectures
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space()
SMALL, LARGE = SPACE.extremes()
OFA = {"wid": None} | SMALL.to_ofa() | {"r": [224]}


def read(path: Path, text: str) -> list[tuple[str, str]]:
    """Each architecture in our own notation, and where it stands."""
    path.write_text(text)
    return [
        (str(SPACE.parse_architecture(one.text)), one.where.removeprefix(f"{path} "))
        for one in read_architectures(path)
    ]


ENTRIES = [{"arch": str(SMALL), "latency_ms": 1.0}, {"arch": LARGE.to_ofa()}]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (f"# two\n{SMALL}\n\n {json.dumps(LARGE.to_ofa())}\n", ["line 2", "line 4"]),
        (f"{OFA}\n{LARGE.to_ofa()}\n", ["line 1", "line 2"]),
        (str([OFA, LARGE.to_ofa()]), ["entry 1", "entry 2"]),
        (json.dumps([str(SMALL), LARGE.to_ofa()], indent="\t"), ["entry 1", "entry 2"]),
        (json.dumps({"points": ENTRIES, "space": "mbv3"}, indent=1), ["entry 1", "entry 2"]),
        (json.dumps({"results": ENTRIES}), ["entry 1", "entry 2"]),
        (
            json.dumps({"results": [{"budget_ms": 1.0, "feasible": False}, *ENTRIES]}),
            ["entry 2", "entry 3"],
        ),
        (json.dumps({"frontier": ENTRIES}), ["entry 1", "entry 2"]),
        (json.dumps({"rows": ENTRIES}), ["entry 1", "entry 2"]),
        (f'arch,latency_ms,top1\n"{SMALL}",1,0.5\n\n"{LARGE}",2,0.6\n', ["line 2", "line 4"]),
        (f'name,arch\na,"{SMALL}"\nb,"{LARGE}"\n', ["line 2", "line 3"]),
    ],
)  # fmt: skip
def test_each_form_gives_the_same_architectures(
    tmp_path: Path, text: str, places: list[str]
) -> None:
    assert read(tmp_path / "f", text) == list(zip(map(str, (SMALL, LARGE)), places, strict=True))


@pytest.mark.parametrize("text", [json.dumps(OFA, indent=2), f"{OFA}\n"])
def test_one_dict_is_one_architecture(tmp_path: Path, text: str) -> None:
    assert [arch for arch, _ in read(tmp_path / "f", text)] == [str(SMALL)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "holds no architectures"),
        ("[]", "holds no architectures"),
        ('{"results": []}', "holds no architectures"),
        ("[1, ", "is not JSON"),
        (f"['a', 0x{'f' * 5000}]", "f entry 2: "),
        ("[b'bytes']", "f entry 1: "),
        ('{"points": [\n', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"arch": 1, "arch": 2}', "key 'arch' is given twice"),
        (f"arch,top1\n{SMALL},0.5\n", "line 2: 44 of 2 cells; put quotes"),
        ("arch,top1\n,0.5\n", "line 2: arch is empty"),
    ],
)
def test_what_holds_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read(tmp_path / "f", text)


def test_what_is_wrong_with_one_is_said_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "archs.txt"
    path.write_text(f"{SMALL}\n2,2:3\n")
    wrong = read_architectures(path)[1]
    assert str(wrong.refused(InvalidInputError("malformed"))) == f"{path} line 2: malformed"
