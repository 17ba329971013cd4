"""Once-for-All's accuracy predictors: MLPs over one-hot choices and resolution.

Choices are the kernels and expands of MobileNetV3; of ResNet50 the stem's depth, then widths and
expands. Two layouts of its PyTorch checkpoint exist (github.com/mit-han-lab/once-for-all):
- `ofa/tutorial/accuracy_predictor.py`, the published file: 128-400-400-400-1, features are
  kernels [60], expands [60], then 8 resolution bins of 16 px from 112 px;
- `ofa/nas/accuracy_predictor`: resolutions first, last layer without bias, `base_acc` added.
Both predict fractions: they were trained on percentages divided by 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.models.inputs import read_npz
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.networks import NetworkSpace
from profiler.spaces.resolutions import RESOLUTION
from profiler.system.user_files import opened

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
OneHot = tuple[tuple[int, ...], int]  # token positions, and how many choices each has

BIN_PX = 16
FIRST_BIN_PX = 112
N_BINS = 8
CHUNK_ROWS = 4096
# Image sizes by their number, for the layout whose files do not name them: the encoder's
# default, the accuracy data set's default, the tutorial's bins, and the supernet's own sizes.
IMAGE_SIZES_PX = {
    1: range(224, 225),
    4: range(128, 225, 32),
    8: range(FIRST_BIN_PX, 225, BIN_PX),
    25: range(128, 225, 4),
}
# the published predictor of ResNet50, by its number of inputs (tutorial/ofa_resnet50_example)
SIZES_OF_INPUTS_PX = {82: (128, 144, 160, 176, 192, 224, 240, 256)}
# endings of names of positions, in the order in which predictors have them; depths show in expands
ENCODED = (("stem.depth",), ("stem.mid", ".width"), (".kernel",), (".expand",))


@dataclass(frozen=True)
class OfaAccuracyPredictor:
    """The MLP, ReLU between layers.

    Attributes:
        choices: where those of each kind stand.
        layers: weights [out, in] and biases [out].
        resolutions: one-hot rows, of each size that the space has.
        resolution_first: whether it precedes the choices.
    """

    choices: tuple[OneHot, ...]
    layers: tuple[tuple[Array, Array], ...]
    resolutions: Array
    resolution_at: int | None  # the position that chooses one of several
    resolution_first: bool
    base: float = 0.0

    def top1(self, tokens: Tokens) -> Floats:
        """[n] fractions of tokens [n, L], as the network gives them."""
        tokens = np.asarray(tokens)
        values = np.empty(len(tokens))
        for start in range(0, len(tokens), CHUNK_ROWS):
            x = self._features(tokens[start : start + CHUNK_ROWS])
            for weight, bias in self.layers[:-1]:
                x = np.maximum(x @ weight.T + bias, 0)
            weight, bias = self.layers[-1]
            values[start : start + CHUNK_ROWS] = (x @ weight.T + bias)[:, 0]
        return values + self.base

    def _features(self, tokens: Tokens) -> Array:
        at = self.resolution_at
        resolution = self.resolutions[np.zeros(len(tokens), int) if at is None else tokens[:, at]]
        parts = [_one_hot(tokens[:, list(at)], n) for at, n in self.choices]
        parts.append(resolution)
        if self.resolution_first:
            parts = [parts[-1], *parts[:-1]]
        return np.concatenate(parts, axis=1)


def load_ofa_accuracy(path: Path, space: NetworkSpace) -> OfaAccuracyPredictor:
    """Read a checkpoint, or its tensors in an .npz file; no code of the file is run.

    The file names neither width nor supernet: that it fits `space` is for the user to know.

    Raises:
        InvalidInputError: unreadable, of another architecture, without the resolution of
            `space`, or not predicting fractions.
    """
    predictor = predictor_of_state(_read_state(path), space, path)
    sample = predictor.top1(space.sample(1000, np.random.default_rng(0)))
    if not (np.isfinite(sample).all() and 0 < np.median(sample) < 1):
        raise InvalidInputError(
            f"{path} predicts {np.median(sample):.4g} for the median architecture; "
            "expected a fraction between 0 and 1"
        )
    return predictor


def _read_state(path: Path) -> dict[str, Array]:
    if _holds_arrays(path):
        arrays = read_npz(path)
        for name, array in arrays.items():
            if array.dtype.kind != "f":
                raise InvalidInputError(f"{path}: {name} holds {array.dtype}, not real numbers")
        return {name: array.astype(np.float32) for name, array in arrays.items()}
    import torch

    with opened(path) as file:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises its own, pickle's and zip's errors
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InvalidInputError(
                f"{path} is not a PyTorch checkpoint of tensors: {reason}"
            ) from None
    state: Mapping[str, Tensor] = (
        loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    )
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InvalidInputError(f"{path} holds no state dict")
    return {key: value.detach().float().numpy() for key, value in state.items()}


def _holds_arrays(path: Path) -> bool:
    """Whether it is an .npz file, by what is in it: runs keep it under another name."""
    with opened(path) as file:
        if not is_zipfile(file):
            return False
        try:
            names = ZipFile(file).namelist()
        except Exception:  # of a damaged one zipfile raises many kinds; torch says what it is
            return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def predictor_of_state(
    state: dict[str, Array], space: NetworkSpace, path: Path
) -> OfaAccuracyPredictor:
    """The predictor whose weights a checkpoint holds; `path` names it in errors.

    Raises:
        InvalidInputError: of another architecture, or without the resolution of `space`.
    """
    resolution_first = "base_acc" in state
    names = [f"layers.{i}.0" for i in range(3)] + ["layers.3"]
    if not resolution_first:
        names = [str(2 * i) for i in range(4)]
    layers = []
    try:
        for name in names:
            weight = state.pop(f"{name}.weight")
            bias = state.pop(f"{name}.bias", np.zeros(len(weight), np.float32))
            layers.append((weight, bias))
        base = float(state.pop("base_acc").item()) if resolution_first else 0.0
    except KeyError as error:
        raise InvalidInputError(
            f"{path} is no Once-for-All accuracy predictor: it lacks {error.args[0]}"
        ) from None
    except (ValueError, TypeError):  # of a scalar, of several numbers
        raise InvalidInputError(
            f"{path} is no Once-for-All accuracy predictor: {name} is of another shape"
        ) from None
    shapes = [weight.shape for weight, _ in layers]
    if any(weight.ndim != 2 or bias.shape != weight.shape[:1] for weight, bias in layers):
        raise InvalidInputError(f"{path} is no Once-for-All accuracy predictor: layers {shapes}")
    chained = all(a[0] == b[1] for a, b in pairwise(shapes))
    choices = tuple(_positions(space, endings) for endings in ENCODED)
    n_sizes = shapes[0][1] - sum(len(at) * n for at, n in choices)
    if state or not chained or shapes[-1][0] != 1 or n_sizes < 1:
        raise InvalidInputError(f"{path} is no Once-for-All accuracy predictor: layers {shapes}")
    sizes = SIZES_OF_INPUTS_PX.get(shapes[0][1], IMAGE_SIZES_PX.get(n_sizes, ()))
    names = [position.name for position in space.positions]
    at = names.index(RESOLUTION) if RESOLUTION in names else None
    wanted = [space.facts.get(RESOLUTION, 0)] if at is None else space.positions[at].choices
    rows = [
        _resolution(n_sizes, sizes, int(px), exact=resolution_first, path=path) for px in wanted
    ]
    return OfaAccuracyPredictor(choices, tuple(layers), np.array(rows), at, resolution_first, base)


def _resolution(
    n_sizes: int, sizes: Sequence[int], resolution_px: int, *, exact: bool, path: Path
) -> Array:
    """One-hot row; the tutorial's bins hold the sizes up to the next, others one size each."""
    found = resolution_px if exact else resolution_px // BIN_PX * BIN_PX
    if found not in sizes:
        raise InvalidInputError(
            f"{path} does not say how it encodes {resolution_px} px "
            f"({n_sizes} image sizes{f', {sizes[0]}-{sizes[-1]} px' if sizes else ''})"
        )
    row = np.zeros(n_sizes, np.float32)
    row[sizes.index(found)] = 1
    return row


def _positions(space: SearchSpace, endings: tuple[str, ...]) -> OneHot:
    at = [i for i, position in enumerate(space.positions) if position.name.endswith(endings)]
    return tuple(at), max((len(space.positions[i].choices) for i in at), default=0)


def _one_hot(choices: Tokens, n_choices: int) -> Array:
    """[n, m · C] of choices [n, m]; dead blocks are all zero."""
    hot = choices[:, :, None] == np.arange(n_choices, dtype=np.int8)
    one_hot: Array = hot.reshape(len(choices), -1).astype(np.float32)
    return one_hot
