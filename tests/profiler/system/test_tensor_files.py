"""Tensors and what is said of them, as they come back from files."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.system.tensor_files import (
    described,
    description_of,
    is_tensor_file,
    read_arrays,
    read_metadata,
    read_tensors,
    write_arrays,
    write_tensors,
)

SCHEMA = "pnag.thing/1"
DESCRIPTION = {"schema": SCHEMA, "sizes": [1, 2], "name": "α"}
ARRAYS: dict[str, NDArray[Any]] = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "tokens": np.array([-1, 2], np.int8),
    "nothing": np.empty((0, 4)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "thing.safetensors"
    write_arrays(path, ARRAYS, described("thing", DESCRIPTION))
    return path


def test_metadata_in_another_order_are_the_same_bytes(tmp_path: Path) -> None:
    entries = {name: f"{name} \n\x7f" for name in ("space", "arch", "α", "resolution_px", "width")}
    files = []
    for at in range(8):
        names = [*entries][at % 5 :] + [*entries][: at % 5]
        metadata = {name: entries[name] for name in names}
        write_tensors(tmp_path / "a", {"t": torch.arange(3)}, metadata)
        files.append((tmp_path / "a").read_bytes())
    assert set(files) == {files[0]}
    tensors, metadata = read_tensors(tmp_path / "a")
    assert metadata == entries
    assert tensors["t"].tolist() == [0, 1, 2]


def test_arrays_come_back_as_they_were(path: Path) -> None:
    arrays, metadata = read_arrays(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert description_of(metadata, "thing", SCHEMA, path) == DESCRIPTION
    assert read_metadata(path) == metadata


def test_numpy_and_torch_write_and_read_one_format(path: Path, tmp_path: Path) -> None:
    tensors, metadata = read_tensors(path)
    assert tensors["weights"].tolist() == [[0, 1, 2], [3, 4, 5]]
    again = tmp_path / "again.safetensors"
    write_tensors(again, tensors, metadata)
    assert again.read_bytes() == path.read_bytes()


def test_the_layout_is_the_published_one(path: Path) -> None:
    """8 bytes of length, a header in JSON, then the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header.pop("__metadata__")["thing"]) == DESCRIPTION
    begin, end = header["weights"]["data_offsets"]
    stored = np.frombuffer(data[8 + length :][begin:end], "<f4")
    assert stored.tolist() == [0, 1, 2, 3, 4, 5]


def test_views_are_written_in_their_own_order(tmp_path: Path) -> None:
    path, array = tmp_path / "view.safetensors", np.arange(6).reshape(2, 3).T
    write_arrays(path, {"x": array}, {})
    np.testing.assert_array_equal(read_arrays(path)[0]["x"], array)
    write_tensors(path, {"x": torch.from_numpy(array)}, {})
    np.testing.assert_array_equal(read_tensors(path)[0]["x"].numpy(), array)


def test_torch_has_numbers_that_numpy_lacks(path: Path) -> None:
    write_tensors(path, {"x": torch.ones(3, dtype=torch.bfloat16)}, {"format": "pt"})
    assert read_metadata(path) == {"format": "pt"}
    assert read_tensors(path)[0]["x"].dtype == torch.bfloat16


@pytest.mark.parametrize("read", [read_arrays, read_tensors, read_metadata])
def test_what_cannot_be_read_is_said_in_one_line(read, path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:30], b"\x80\x04K*.", b"a,b\n1,2\n" * 9):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="not a safetensors file") as refusal:
            read(path)
        assert str(refusal.value).startswith(f"cannot read {path}: ")
        assert "\n" not in str(refusal.value)
    with pytest.raises(InvalidInputError) as refusal:
        read(tmp_path / "none")
    assert str(refusal.value) == f"cannot read {tmp_path / 'none'}: No such file or directory"
    with pytest.raises(InvalidInputError, match="cannot read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "x has schema None, expected 'pnag.thing/1'"),
        ({"format": "pt"}, "x has schema None"),
        ({"thing": "[]"}, "x has schema 'list'"),
        ({"thing": '{"schema": "pnag.thing/2"}'}, "x has schema 'pnag.thing/2'"),
        ({"thing": '{"schema'}, "x is damaged: its thing is not JSON"),
    ],
)
def test_descriptions_of_others_are_refused(metadata, message) -> None:
    with pytest.raises(InvalidInputError, match=message.replace("[", r"\[")):
        description_of(metadata, "thing", SCHEMA, Path("x"))


def test_a_file_of_tensors_is_told_from_a_pytorch_checkpoint(path: Path, tmp_path: Path) -> None:
    assert is_tensor_file(path)
    torch.save({"x": torch.ones(1)}, tmp_path / "x.pth")
    assert not is_tensor_file(tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match="cannot read"):
        is_tensor_file(tmp_path / "none")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value, dtype):
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"fine": np.ones(2), "lost": np.array([1, value], dtype)}, {})
    for read in (read_arrays, read_tensors):
        with pytest.raises(InvalidInputError, match="tensor lost holds numbers that are not"):
            read(path)
