import pytest

from profiler.printable import MAX_SHOWN, printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ± 中文 $x$\n\tline", "plain ± 中文 $x$\n\tline"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten\b\x7f\x00", "over\\rwritten\\x08\\x7f\\x00"),
        ("\x9b31m", "\\x9b31m"),  # one byte that begins a command of old terminals
        ("gpj\u202e.exe", "gpj\\u202e.exe"),  # right to left from here on
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text, expected):
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("fast", "'fast'"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        ({"a": [1, "x\x1b"]}, "{'a': [1, 'x\\x1b']}"),
    ],
)
def test_values_are_shown_as_python_writes_them(value, expected):
    assert shown(value) == expected


def test_a_number_that_python_does_not_write_out_is_shown_by_its_size():
    assert shown(-(16**5000)) == "a number of 20001 bits"


def test_a_value_is_short_however_large_it_is():
    many: object = "x" * 10**6
    for _ in range(9):  # 10 ** 9 references to one text
        many = [many] * 10
    for value in (many, "x" * 10**6, [[[[[[[[1]]]]]]]], dict.fromkeys(range(1000), "y" * 1000)):
        assert len(shown(value)) <= MAX_SHOWN
