import pytest

from profiler.errors import InvalidInputError
from profiler.system.atomic import replacing, write_text_atomic


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "sub" / "table.json"
    write_text_atomic(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.json"]


def test_what_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "t.json"):
        with pytest.raises(InvalidInputError, match=f"cannot write {path}"):
            write_text_atomic(path, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    path = tmp_path / "table.json"
    write_text_atomic(path, "x")
    reference = tmp_path / "plain"
    reference.write_text("x")
    assert path.stat().st_mode == reference.stat().st_mode
