import pytest

from profiler.atomic import replacing, write_text_atomic


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "sub" / "table.json"
    write_text_atomic(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.json"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    path = tmp_path / "table.json"
    write_text_atomic(path, "x")
    reference = tmp_path / "plain"
    reference.write_text("x")
    assert path.stat().st_mode == reference.stat().st_mode
