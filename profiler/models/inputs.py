"""What a model takes: its inputs, the shapes of a run, and values for it.

A runtime says what the inputs are; nothing here reads a model file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.models.refusal import one_line
from profiler.numerals import whole_number
from profiler.system.user_files import opened

Values = Mapping[str, NDArray[Any]]  # by input
Shapes = Mapping[str, tuple[int, ...]]  # by input

BFLOAT16 = "bfloat16"  # no numpy type: its values are the upper halves of float32, as uint16
FLOATS = ("float16", "float32", "float64")
NARROW_INTEGERS = ("int8", "uint8", "int16", "uint16")
WIDE_INTEGERS = ("int32", "uint32", "int64", "uint64")
ELEMENTS = ("bool", BFLOAT16, *FLOATS, *NARROW_INTEGERS, *WIDE_INTEGERS)

# what exporters call the number of images, or leave without a name of its own
_BATCH = re.compile(r"|.*batch.*|n|b|bs|s0|\?|-1|none|unk.*|dynamicdimension.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input as the runtime declares it: a free axis is its name, "" where it has none."""

    name: str
    element: str  # one of ELEMENTS, or what the runtime calls it
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        axes = [axis if isinstance(axis, int) else axis or "?" for axis in self.shape]
        return f"{self.name} ({self.element}, {'x'.join(map(str, axes)) or 'scalar'})"


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``NAME=1x3x224x224``; names may hold any character.

    >>> parse_shape("images:0=1x3x224x224")
    ('images:0', (1, 3, 224, 224))

    Raises:
        InvalidInputError: malformed.
    """
    name, equals, sizes = text.rpartition("=")
    shape = tuple(size for size in map(whole_number, sizes.split("x")) if size)
    if not equals or not name or len(shape) <= sizes.count("x"):
        raise InvalidInputError(f"malformed shape {text!r}; expected NAME=1x3x224x224")
    return name, shape


def resolve_shapes(
    inputs: Sequence[ModelInput], shapes: Shapes, *, batch_size: int, model: str
) -> dict[str, tuple[int, ...]]:
    """The shape of each input in a run.

    A free axis takes its size from `shapes`, or from any other axis of the same name that has
    one; the first axis, where its name does not say that it is something else, is the batch.

    Args:
        model: its name, for errors.

    Raises:
        InvalidInputError: a shape does not fit its input, or axes are still free.
    """
    sizes: dict[str, int] = {}
    for one in inputs:
        if one.name in shapes:
            _check_shape(one, shapes[one.name], model)
            sizes |= {
                axis: size
                for axis, size in zip(one.shape, shapes[one.name], strict=True)
                if isinstance(axis, str) and axis
            }
    for one in inputs:
        first = one.shape[0] if one.shape else 0
        if isinstance(first, str) and first and _BATCH.fullmatch(first):
            sizes.setdefault(first, batch_size)

    def size_of(at: int, axis: int | str) -> int | None:
        if isinstance(axis, int) or axis in sizes:
            return axis if isinstance(axis, int) else sizes[axis]
        return batch_size if at == 0 and not axis else None

    known: dict[str, tuple[int | None, ...]] = {
        one.name: shapes.get(one.name)
        or tuple(size_of(at, axis) for at, axis in enumerate(one.shape))
        for one in inputs
    }
    free = [one for one in inputs if None in known[one.name]]
    if free:
        raise _still_free(free, known, model)
    return {name: tuple(n for n in axes if n is not None) for name, axes in known.items()}


def _check_shape(one: ModelInput, shape: tuple[int, ...], model: str) -> None:
    fits = len(shape) == len(one.shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(one.shape, shape, strict=True)
    )
    if not fits:
        given = "x".join(map(str, shape)) or "scalar"
        raise InvalidInputError(f"{model}: the shape {given} does not fit the input {one}")


def _still_free(
    inputs: Sequence[ModelInput], known: Mapping[str, tuple[int | None, ...]], model: str
) -> InvalidInputError:
    options = " ".join(
        f"--shape {one.name}={'x'.join('N' if n is None else str(n) for n in known[one.name])}"
        for one in inputs
    )
    return InvalidInputError(
        f"{model}: axes are free: {', '.join(map(str, inputs))}; give sizes for N in {options}"
    )


def check_elements(inputs: Sequence[ModelInput], model: str) -> None:
    """Refuse inputs that no tensor of numbers can fill.

    Raises:
        InvalidInputError: strings, sequences, optional inputs, packed numbers.
    """
    for one in inputs:
        if one.element not in ELEMENTS:
            raise InvalidInputError(
                f"{model}: the input {one.name} is {one.element}; only tensors of "
                "plain numbers can be given"
            )


def draw_values(one: ModelInput, shape: tuple[int, ...], *, seed: int) -> NDArray[Any]:
    """Seeded random values in the range that the element type allows.

    Floats are standard normal. Integers of 8 and 16 bits hold quantised data and span their
    type. Wider ones are indices, masks and lengths, of which 0 and 1 are valid in every model;
    one alone is 1, since a length of 0 leaves nothing to compute.
    """
    rng = np.random.default_rng([seed, zlib.crc32(one.name.encode())])
    if one.element == "bool":
        return rng.integers(2, size=shape).astype(np.bool_)
    if one.element in WIDE_INTEGERS:
        if np.prod(shape, dtype=int) == 1:
            return np.ones(shape, one.element)
        return rng.integers(2, size=shape, dtype=one.element)
    if one.element in NARROW_INTEGERS:
        span = np.iinfo(one.element)
        return rng.integers(span.min, span.max, size=shape, dtype=one.element, endpoint=True)
    normal = np.asarray(rng.standard_normal(shape), np.float32)
    if one.element == BFLOAT16:
        return (normal.view(np.uint32) >> 16).astype(np.uint16)
    return normal.astype(one.element)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file; nothing in it is unpickled.

    Raises:
        InvalidInputError: unreadable, or not such a file.
    """
    with opened(path) as file:
        try:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                arrays = {name: loaded[name] for name in loaded.files}
                for name, array in arrays.items():
                    if not isinstance(array, np.ndarray):  # numpy gives the bytes of other files
                        raise ValueError(f"{name} is none")
                return arrays
        except Exception as error:  # numpy, zipfile and zlib each raise many kinds
            raise InvalidInputError(
                f"{path} is not an .npz file of plain arrays: {one_line(error)}"
            ) from None
    raise InvalidInputError(f"{path} holds one array without a name; use numpy.savez")


def given_values(one: ModelInput, array: NDArray[Any], model: str) -> NDArray[Any]:
    """A user's array for an input, of its type; float32 also stands for bfloat16.

    Raises:
        InvalidInputError: of another type.
    """
    wanted = "float32" if one.element == BFLOAT16 else one.element
    if array.dtype != wanted:
        raise InvalidInputError(
            f"{model}: the input {one} cannot take the given array of {array.dtype}"
        )
    array = np.ascontiguousarray(array).reshape(array.shape)
    return (array.view(np.uint32) >> 16).astype(np.uint16) if one.element == BFLOAT16 else array
