import errno
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from profiler.errors import InvalidInputError
from profiler.system.atomic import refuse_unwritable, replacing, write_text_atomic


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
    for path in (tmp_path, tmp_path / "file" / "t.json", tmp_path / ("n" * 300)):
        with pytest.raises(InvalidInputError, match=f"cannot write {path}"):
            write_text_atomic(path, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_whether_a_file_can_be_written_is_asked_without_a_trace(tmp_path):
    (tmp_path / "kept").mkdir()
    for name in ("new/deep/file", "kept/file", "no/../new/file", f"new/{'x' * 300}/file"):
        with suppress(InvalidInputError):
            refuse_unwritable(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    path = tmp_path / "table.json"
    write_text_atomic(path, "x")
    reference = tmp_path / "plain"
    reference.write_text("x")
    assert path.stat().st_mode == reference.stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "table.json"
    path.write_text("old")
    path.chmod(mode)
    write_text_atomic(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


@pytest.mark.parametrize("length", [200, 240, 255])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, length):
    path = tmp_path / ("n" * length)
    write_text_atomic(path, "text")
    assert path.read_text() == "text"


# --- Links and what is no file ------------------------------------------------------------


def test_files_are_written_through_links(tmp_path):
    """Relative, absolute, one after the other, by way of a folder, and to a file yet to come."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "t.json").write_text("old")
    links = {
        "relative": "store/t.json", "absolute": str(store / "t.json"), "second": "relative",
        "folder": "store", "new": "store/new/n.json",
    }  # fmt: skip
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    for place in ("relative", "absolute", "second", "folder/t.json"):
        write_text_atomic(tmp_path / place, place)
        assert (store / "t.json").read_text() == place
    write_text_atomic(tmp_path / "new", "new")
    assert (store / "new" / "n.json").read_text() == "new"
    assert {name for name in links if (tmp_path / name).is_symlink()} == set(links)


@pytest.fixture(params=["fifo", "socket", "device", "link", "loop", "pipe"])
def no_file(request, tmp_path):
    """Something to write to that is no file; its name and what it is."""
    path = tmp_path / request.param
    if request.param == "pipe":  # as /dev/stdout in `pnag ... | head`
        ends = os.pipe()
        yield Path(f"/dev/fd/{ends[1]}")
        for end in ends:
            os.close(end)
        return
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif request.param == "loop":
        path.symlink_to(path.name)
    else:  # a link, since only root makes devices
        path.symlink_to("/dev/null" if request.param == "device" else "fifo")
        os.mkfifo(tmp_path / "fifo")
    yield path


def test_nothing_but_a_file_is_ever_replaced(no_file):
    before = (no_file.lstat().st_mode, no_file.lstat().st_ino)
    for write in (refuse_unwritable, lambda path: write_text_atomic(path, "text")):
        with pytest.raises(InvalidInputError, match=f"cannot write {no_file}: it is "):
            write(no_file)
    assert (no_file.lstat().st_mode, no_file.lstat().st_ino) == before


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "out.txt"])
def test_the_file_that_stdout_goes_to_is_not_replaced(tmp_path, place):
    code = (
        "import sys; from pathlib import Path; from profiler.system.atomic import *\n"
        "try: write_text_atomic(Path(sys.argv[1]), 'text')\n"
        "except InvalidInputError as error: print(error)"
    )
    with (tmp_path / "out.txt").open("w") as out:
        subprocess.run([sys.executable, "-c", code, place], stdout=out, cwd=tmp_path, check=True)
    said = (tmp_path / "out.txt").read_text()
    assert said == f"cannot write {place}: it is not a file that can be replaced\n"


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    write_text_atomic(path, "old")
    with (
        pytest.raises(InvalidInputError, match=r"table\.json: No space left"),
        replacing(path) as half,
    ):
        half.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("table.json", "old")]
