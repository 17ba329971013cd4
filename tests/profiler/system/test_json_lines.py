"""Records that are appended: whole, or not there."""

from pathlib import Path

import pytest

from profiler.errors import InvalidInputError
from profiler.system.json_lines import JsonLines
from profiler.system.user_files import read_json_lines

RECORDS = [{"arch": "2,3", "top1": 0.5}, {"arch": "é", "top1": 0.25}, {"step": 3}]
NEXT = {"arch": "next"}


def write(path, records):
    with JsonLines(path) as file:
        for record in records:
            file.append(record)


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "deep" / "a.jsonl"
    write(path, RECORDS[:1])
    write(path, RECORDS[1:])
    assert read_json_lines(path) == RECORDS
    assert path.read_bytes().count(b"\n") == 3


def test_cut_off_anywhere_it_loses_the_last_record_alone_and_goes_on(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, RECORDS)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        write(path, [NEXT])
        complete = [record for record, end in zip(RECORDS, ends(whole), strict=True) if end <= at]
        assert read_json_lines(path) == [*complete, NEXT]


def ends(data):
    """How many bytes each record takes with those before it, without its line's end."""
    return [at for at, byte in enumerate(data) if byte == ord("\n")]


def test_a_full_disk_and_a_folder_that_is_a_file_are_one_line(tmp_path):
    with (
        JsonLines(Path("/dev/full")) as file,
        pytest.raises(InvalidInputError, match="cannot write /dev/full: No space left"),
    ):
        file.append(NEXT)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot write"):
        JsonLines(tmp_path / "file" / "a.jsonl")
