"""Published accuracies of all architectures of a space, looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from predictors.base import Floats
from predictors.enumerated import n_numbers, numbers_of
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.networks import NetworkSpace
from profiler.system.tensor_files import read_arrays, read_metadata

METADATA: Final = "accuracies"
SCALE: Final = 1e7  # files hold whole numbers, so that published decimals stay what they are


@dataclass(frozen=True)
class EnumeratedAccuracy:
    """Accuracies by number of the architecture.

    Attributes:
        values: [C_1 · C_2 · ...] fractions.
    """

    space: SearchSpace
    values: Floats = field(repr=False)

    def top1(self, tokens: Tokens) -> Floats:
        """[n] fractions of tokens [n, L]."""
        found: Floats = self.values[numbers_of(self.space, tokens)]
        return found


def shipped_file(space: SearchSpace) -> Traversable | None:
    """What is shipped for a space; None for most."""
    file = files("predictors").joinpath("data", f"{space.name}.safetensors")
    return file if file.is_file() else None


def is_enumeration(path: Path) -> bool:
    """Whether a tensor file holds the accuracies of all architectures of a space."""
    return METADATA in read_metadata(path)


def load_enumeration(path: Path, space: NetworkSpace) -> EnumeratedAccuracy:
    """Accuracies on the data set of the space's networks.

    Raises:
        InvalidInputError: unreadable, damaged, or of another space.
    """
    dataset = space.facts.get("dataset")
    if dataset is None:
        raise InvalidInputError(f"{path} holds accuracies by data set, none of {space}")
    return _read(path, space, dataset)


def enumerated_accuracy(space: SearchSpace, dataset: str) -> EnumeratedAccuracy:
    """What is shipped for a space: test accuracies on `dataset`.

    Raises:
        InvalidInputError: nothing is.
    """
    file = shipped_file(space)
    if file is None:
        raise InvalidInputError(f"no accuracies of all of {space.name} are built in")
    with as_file(file) as path:
        return _read(path, space, dataset)


def _read(path: Path, space: SearchSpace, dataset: str) -> EnumeratedAccuracy:
    arrays, _ = read_arrays(path)
    if dataset not in arrays:
        raise InvalidInputError(f"no accuracies on {dataset!r}; there are: {', '.join(arrays)}")
    values, expected = arrays[dataset], n_numbers(space)
    if values.shape != (expected,):
        raise InvalidInputError(
            f"{path} has accuracies of shape {values.shape}, not of the {expected} of {space.name}"
        )
    if values.dtype.kind != "u" or values.max() > SCALE:
        raise InvalidInputError(f"{path} is damaged: accuracies on {dataset} that are no fractions")
    return EnumeratedAccuracy(space, values / SCALE)
