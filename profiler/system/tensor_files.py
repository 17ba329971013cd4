"""Tensors in files, with text that says what they are (safetensors): nothing is executed.

A file begins with the length of its header and the header in JSON
(https://github.com/huggingface/safetensors#format). Arrays are numpy's, tensors torch's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.system.atomic import write_bytes_atomic
from profiler.system.user_files import check_schema, opened

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, NDArray[Any]]
Tensors = Mapping[str, "Tensor"]
Metadata = Mapping[str, str]


def described(entry: str, description: object) -> dict[str, str]:
    """Metadata that hold a JSON document under one name."""
    return {entry: json.dumps(description, sort_keys=True)}


def description_of(metadata: Metadata, entry: str, schema: str, source: Path) -> dict[str, Any]:
    """The JSON object that `described` wrote.

    Raises:
        InvalidInputError: none, damaged, or of another schema.
    """
    try:
        description: dict[str, Any] = json.loads(metadata.get(entry, "{}"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{source} is damaged: its {entry} is not JSON: {error}") from None
    check_schema(description, schema, source)
    return description


def write_arrays(path: Path, arrays: Arrays, metadata: Metadata) -> None:
    """Write atomically; the same arrays and metadata give the same bytes."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes_atomic(path, _in_order(save(contiguous, dict(metadata))))


def write_tensors(path: Path, tensors: Tensors, metadata: Metadata) -> None:
    """As `write_arrays`."""
    write_bytes_atomic(path, tensors_to_bytes(tensors, metadata))


def tensors_to_bytes(tensors: Tensors, metadata: Metadata) -> bytes:
    """The content of the file that `write_tensors` writes."""
    from safetensors.torch import save

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return _in_order(save(contiguous, dict(metadata)))


def _in_order(data: bytes) -> bytes:
    """With its metadata in order: safetensors writes several in one of its own each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.get("__metadata__", {})
    if len(metadata) < 2:
        return data
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays by name, and the metadata.

    Raises:
        InvalidInputError: unreadable, truncated, not a safetensors file, or numbers that are
            not finite.
    """
    with _opened(path, "numpy") as file:
        arrays = _contents(file)
        for name, array in arrays.items():
            _check_finite(array.dtype.kind != "f" or bool(np.isfinite(array).all()), name, path)
        return arrays, file.metadata() or {}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `read_arrays`."""
    with _opened(path, "pt") as file:
        tensors = _contents(file)
        refuse_infinite(tensors, path)
        return tensors, file.metadata() or {}


def refuse_infinite(tensors: Tensors, path: Path) -> None:
    """What a training that diverged leaves behind computes nothing, in silence.

    Raises:
        InvalidInputError: a tensor with NaN or infinite numbers.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            _check_finite(bool(tensor.isfinite().all()), name, path)


def _check_finite(is_finite: bool, name: str, path: Path) -> None:
    if not is_finite:
        raise InvalidInputError(
            f"{path} is damaged: tensor {name} holds numbers that are not finite"
        )


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone; tensors are not read.

    Raises:
        InvalidInputError: unreadable, truncated, or not a safetensors file.
    """
    with _opened(path, "numpy") as file:
        return file.metadata() or {}


def is_tensor_file(path: Path) -> bool:
    """Whether the file has a header as safetensors have it, after 8 bytes of length.

    Raises:
        InvalidInputError: unreadable.
    """
    with opened(path) as file:
        return file.read(9)[8:] == b"{"


@contextmanager
def _opened(path: Path, framework: Literal["numpy", "pt"]) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except OSError as error:
        why = error.strerror or str(error).removesuffix(f": {path}")
        raise InvalidInputError(f"cannot read {path}: {why}") from None
    except TypeError as error:  # a type of number that numpy lacks
        raise InvalidInputError(f"cannot read {path}: {error}") from None
    except SafetensorError as error:
        raise InvalidInputError(
            f"cannot read {path}: not a safetensors file (truncated?): {error}"
        ) from None


def _contents(file: Any) -> dict[str, Any]:
    names = file.keys()
    return {name: file.get_tensor(name) for name in names}
