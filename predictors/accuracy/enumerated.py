"""Published accuracies of all architectures of a space, looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from typing import Final

import numpy as np

from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.system.tensor_files import read_arrays

SCALE: Final = 1e7  # files hold whole numbers, so that published decimals stay what they are


@dataclass(frozen=True)
class EnumeratedAccuracy:
    """Accuracies by number of the architecture, as `np.ravel_multi_index` counts its tokens.

    Attributes:
        values: [C_1 · C_2 · ...] fractions.
    """

    space: SearchSpace
    values: Floats = field(repr=False)

    def top1(self, tokens: Tokens) -> Floats:
        """[n] fractions of tokens [n, L]."""
        shape = [len(position.choices) for position in self.space.positions]
        columns = np.asarray(tokens, np.int64).T
        found: Floats = self.values[np.ravel_multi_index(tuple(columns), shape)]
        return found


def enumerated_accuracy(space: SearchSpace, dataset: str) -> EnumeratedAccuracy:
    """What is shipped for a space: test accuracies on `dataset`.

    Raises:
        InvalidInputError: nothing is.
    """
    file = files("predictors").joinpath("data", f"{space.name}.safetensors")
    if not file.is_file():
        raise InvalidInputError(f"no accuracies of all of {space.name} are built in")
    with as_file(file) as path:
        arrays, _ = read_arrays(path)
    if dataset not in arrays:
        raise InvalidInputError(f"no accuracies on {dataset!r}; there are: {', '.join(arrays)}")
    return EnumeratedAccuracy(space, arrays[dataset] / SCALE)
