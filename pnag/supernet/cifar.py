"""CIFAR-10 (Krizhevsky 2009) in the two versions it is published in.

The python version is a pickle. It is not unpickled: its opcodes are read as data, and none of
the functions it names is called.
"""

from __future__ import annotations

import pickletools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.system.user_files import read_bytes

SIDE_PX = 32
_IMAGE_BYTES = 3 * SIDE_PX * SIDE_PX
_TRAIN_BATCHES = range(1, 6)

# images uint8 [n, 3, 32, 32], labels int64 [n]
Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_cifar_binary(folder: Path) -> tuple[Images, Images]:
    """Train and test images of `data_batch_1..5.bin` and `test_batch.bin`."""
    train = [_binary_batch(folder / f"data_batch_{i}.bin") for i in _TRAIN_BATCHES]
    return _joined(train), _binary_batch(folder / "test_batch.bin")


def read_cifar_python(folder: Path) -> tuple[Images, Images]:
    """Train and test images of `data_batch_1..5` and `test_batch`."""
    train = [_python_batch(folder / f"data_batch_{i}") for i in _TRAIN_BATCHES]
    return _joined(train), _python_batch(folder / "test_batch")


def _binary_batch(path: Path) -> Images:
    """Records of one label byte and 3072 pixels, channel by channel."""
    data = np.frombuffer(read_bytes(path), np.uint8)
    if not len(data) or len(data) % (1 + _IMAGE_BYTES):
        raise InvalidInputError(f"{path} is not a CIFAR-10 batch of {1 + _IMAGE_BYTES}-byte rows")
    rows = data.reshape(-1, 1 + _IMAGE_BYTES)
    return _images(rows[:, 1:]), rows[:, 0].astype(np.int64)


def _python_batch(path: Path) -> Images:
    """The dict's `labels` (a list of integers) and `data` (the raw buffer of an [n, 3072] array).

    A numpy array is pickled as its shape, a flag whether it is in Fortran order, then its bytes.
    """
    labels: list[int] = []
    pixels, fortran, key, flag = b"", False, "", False
    try:
        for opcode, argument in _opcodes(read_bytes(path)):
            if opcode.name in ("NEWTRUE", "NEWFALSE"):
                flag = opcode.name == "NEWTRUE"
            elif isinstance(argument, (str, bytes)):
                text = _latin1(argument)
                if len(text) > len(pixels) and len(text) >= _IMAGE_BYTES:
                    pixels, fortran = text, flag
                elif opcode.name != "GLOBAL":
                    key = text.decode("latin-1")
            elif key == "labels" and opcode.name in ("BININT", "BININT1", "BININT2"):
                labels.append(int(str(argument)))
    except ValueError as error:
        raise InvalidInputError(f"{path} is not a CIFAR-10 python batch: {error}") from None
    if not labels or len(pixels) != len(labels) * _IMAGE_BYTES:
        raise InvalidInputError(
            f"{path}: {len(labels)} labels for {len(pixels) / _IMAGE_BYTES:g} images; "
            "use the binary version of CIFAR-10"
        )
    array = np.frombuffer(pixels, np.uint8)
    rows = array.reshape(_IMAGE_BYTES, -1).T if fortran else array.reshape(-1, _IMAGE_BYTES)
    return _images(rows), np.array(labels, np.int64)


def _opcodes(data: bytes) -> list[tuple[pickletools.OpcodeInfo, Any]]:
    """Raises ValueError: no pickle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of escapes that text does not have
        return [(opcode, argument) for opcode, argument, _ in pickletools.genops(data)]


def _latin1(argument: Any) -> bytes:
    return argument if isinstance(argument, bytes) else argument.encode("latin-1", "replace")


def _images(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(rows.reshape(-1, 3, SIDE_PX, SIDE_PX))  # writable, as torch wants it


def _joined(batches: list[Images]) -> Images:
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)
