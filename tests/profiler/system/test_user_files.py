"""What is said of files that users give."""

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydantic
import pytest

from profiler.errors import InvalidInputError
from profiler.system.user_files import (
    check_schema,
    parse_literal,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
    validated,
)

SOURCE = Path("given.csv")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def refusal(read, *arguments, **options) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, read_yaml])
def test_what_is_not_there_cannot_be_read(read, path: Path) -> None:
    assert refusal(read, path) == f"cannot read {path}: No such file or directory"
    path.mkdir()
    assert refusal(read, path) == f"cannot read {path}: Is a directory"


@pytest.mark.parametrize("read", [read_text, read_json, read_json_lines, read_yaml])
def test_bytes_that_are_no_text_are_named(read, path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00a")
    assert refusal(read, path) == f"{path} is not text"


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_the_mark_of_spreadsheets_is_no_part_of_the_text(read, path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xce\xb1"}')
    assert read(path) == {"a": "α"}
    assert read_text(path) == '{"a": "α"}'


def test_lines_that_are_no_objects_do_not_count(path: Path) -> None:
    path.write_text('{"a": 1}\n{"a": 2, "cu{"a": 3}\n[1]\n\n' + 3000 * "[" + '\n{"a": 4}\n{"a"')
    assert read_json_lines(path) == [{"a": 1}, {"a": 4}]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[" * 100_000, "9" * 5000, "{'a': 1}"])
def test_cut_json_is_named(path: Path, text: str) -> None:
    path.write_text(text)
    assert refusal(read_json, path).startswith(f"{path} is not JSON (truncated?): ")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]'])
def test_a_key_given_twice_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    assert refusal(read_json, path).endswith("key 'a' is given twice")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'wid': None, 'ks': [3, 5], 'e': (4,), 'ok': True}",
         {"wid": None, "ks": [3, 5], "e": (4,), "ok": True}),
        ('{"wid": null, "ks": [3, 5]}', {"wid": None, "ks": [3, 5]}),
        ("[9e-05, -1, 'a']", [9e-05, -1, "a"]),
        ("\t{\n\t'a':\t9e-05}\n", {"a": 9e-05}),
    ],
)  # fmt: skip
def test_json_and_what_python_prints_are_read(text: str, value: object) -> None:
    assert parse_literal(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "{'a': 1, 'a': 2}", '{"a": 1, "a": 2}', "{'a'", "f()", "{**{'a': 1}}", "{[]: 1}",
        "'a' 'b' + 1", "a\0", "[" * 100_000, "(" * 500, "-" * 100_000 + "1", "9" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_no_literal(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_literal(text)


def test_yaml_holds_the_numbers_of_json(path: Path) -> None:
    """As YAML 1.2, not 1.1: there 9e-05 is text, 1:30 is 90 and 010 is 8; tabs are refused."""
    path.write_text("a: 9e-05\nb:\t-.5\nc:\n\td: 010\n\te: 1:30\nf: 7\ng: 1_0\n")
    read = read_yaml(path)
    assert read == {"a": 9e-05, "b": -0.5, "c": {"d": 10, "e": "1:30"}, "f": 7, "g": "1_0"}
    assert isinstance(read["f"], int)
    path.write_text('{\n\t"a": 9e-05,\n\t"b": [1E3, null]\n}\n')
    assert read_yaml(path) == {"a": 9e-05, "b": [1000.0, None]}


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]"])
def test_what_json_lacks_is_refused_where_it_matters(path: Path, text: str) -> None:
    path.write_text(text)
    read_json(path)
    assert "is not a number" in refusal(read_json, path, allow_nan=False)
    path.write_text('{"a": [1e999]}')
    assert "too large a number" in refusal(read_json, path, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "key 'a' is given twice (line 1)"),
        ("a: {b: 1\n", "expected ',' or '}'"),
        ("!!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("a: !!timestamp x2.0\n", "a value does not fit its tag"),
        ("a: !!int ''\n", "a value does not fit its tag"),
        ("a: !!bool 7\n", "a value does not fit its tag"),
        ("a: &a [*a]\n", "its aliases stand for endless data"),
        ("a: &a {b: *a}\n", "its aliases stand for endless data"),
        ("[" * 5000, ""),
    ],
)
def test_yaml_is_data_with_each_key_once(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    assert refusal(read_yaml, path).startswith(f"{path} is not YAML: {message}")


def test_aliases_may_stand_for_a_megabyte_but_not_for_endless_data(path: Path) -> None:
    layers = "abcdefghi"
    for depth, is_read in ((3, True), (9, False)):
        lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
        lines += [
            f"{name}: &{name} [{','.join(['*' + before] * 10)}]"
            for before, name in pairwise(layers[:depth])
        ]
        path.write_text("\n".join(lines))
        if is_read:
            assert np.shape(read_yaml(path)["c"]) == (10, 10, 10)
        else:
            assert "its aliases stand for endless data" in refusal(read_yaml, path)


@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 400, "[" * 10**5, '{"a":' * 10**5])
def test_numbers_and_nesting_without_end_are_one_line(path: Path, text: str) -> None:
    path.write_text(text)
    line = refusal(read_json, path)
    assert line.startswith(f"{path} is not JSON")
    assert len(line) < 300


def test_a_schema_is_asked_for() -> None:
    check_schema({"schema": "a/1"}, "a/1", SOURCE)
    for document, found in (({"schema": "a/2"}, "'a/2'"), ({}, "None"), ([1], "'list'")):
        assert refusal(check_schema, document, "a/1", SOURCE) == (
            f"given.csv has schema {found}, expected 'a/1'"
        )


class Row(pydantic.BaseModel):
    top1: float


class Table(pydantic.BaseModel):
    rows: list[Row]


def test_the_first_wrong_field_is_named() -> None:
    assert validated(Table, {"rows": [{"top1": 1}]}, SOURCE) == Table(rows=[Row(top1=1)])
    message = refusal(validated, Table, {"rows": [{"top1": 1}, {"top1": "x"}, {}]}, SOURCE)
    assert message.startswith("given.csv: rows.1.top1: Input should be a valid number")


def test_text_that_python_would_warn_of_is_refused_in_silence(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as a user's Python, not an error as in these tests
        with pytest.raises(ValueError, match="Expecting"):
            parse_literal("{1if 2 else 3}")
    assert capfd.readouterr().err == ""
