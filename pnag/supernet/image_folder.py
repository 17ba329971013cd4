"""Folders of image files, one per class, decoded when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from profiler.errors import InvalidInputError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_CENTRE_SHARE = 0.875  # of the shorter side: the usual ImageNet evaluation crop
_MIN_AREA, _MAX_LOG_ASPECT = 0.08, math.log(4 / 3)  # Szegedy et al., CVPR 2015

Box = tuple[float, float, float, float]
Size = tuple[int, int]


def read_image_folder(root: Path, resolution_px: int) -> tuple[FolderSplit, FolderSplit, int]:
    """`root/train/CLASS/*` and `root/val/CLASS/*` (or test/): (train, test, number of classes).

    Classes are numbered in alphabetical order of the training folders.
    """
    evaluation = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if evaluation is None:
        raise InvalidInputError(f"{root} has train/ but neither val/ nor test/")
    classes = sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
    train, test = (
        FolderSplit.of(folder, classes, resolution_px) for folder in (root / "train", evaluation)
    )
    return train, test, len(classes)


@dataclass(frozen=True)
class FolderSplit:
    """Image files, cropped and scaled to `resolution_px` as they are decoded by `n_threads`."""

    paths: tuple[Path, ...]
    labels: Tensor
    resolution_px: int
    n_threads: int = field(default_factory=torch.get_num_threads)

    @classmethod
    def of(cls, folder: Path, classes: list[str], resolution_px: int) -> FolderSplit:
        unknown = sorted({f.name for f in folder.iterdir() if f.is_dir()} - set(classes))
        if unknown:
            raise InvalidInputError(f"{folder} has class {unknown[0]!r}, which train/ has not")
        paths, labels = [], []
        for index, name in enumerate(classes):
            for path in sorted((folder / name).glob("*")):
                if path.suffix.lower() in _SUFFIXES:
                    paths.append(path)
                    labels.append(index)
        if not paths:
            raise InvalidInputError(f"no image files in {folder}")
        return cls(tuple(paths), torch.tensor(labels), resolution_px)

    def plain(self, indices: NDArray[np.int64]) -> Tensor:
        return self._decoded((self.paths[i], centre_box, False) for i in indices)

    def augmented(self, indices: NDArray[np.int64], draws: NDArray[np.float64]) -> Tensor:
        """A random crop of 8 to 100 % of the area, aspect ratio 3/4 to 4/3, and a flip."""
        return self._decoded(
            (self.paths[i], partial(random_box, draws=row), bool(row[4] < 0.5))
            for i, row in zip(indices, draws, strict=True)
        )

    def _decoded(self, jobs: Iterable[tuple[Path, Callable[[Size], Box], bool]]) -> Tensor:
        arrays = list(self._pool.map(lambda job: self._decode(*job), jobs))
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def _decode(self, path: Path, box: Callable[[Size], Box], flip: bool) -> NDArray[np.uint8]:
        try:
            with Image.open(path) as image:
                side = (self.resolution_px, self.resolution_px)
                crop = box(image.size)
                scaled = image.convert("RGB").resize(side, Image.Resampling.BILINEAR, crop)
        except Exception as error:  # of a damaged file, Pillow raises whatever its decoders do
            raise InvalidInputError(f"cannot read image {path}: {error}") from None
        pixels = np.asarray(scaled)
        return pixels[:, ::-1] if flip else pixels

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.n_threads, thread_name_prefix="decode")


def centre_box(size: Size) -> Box:
    """The central square of 87.5 % of the shorter side.

    >>> centre_box((100, 80))
    (15.0, 5.0, 85.0, 75.0)
    """
    width, height = size
    side = _CENTRE_SHARE * min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_box(size: Size, draws: NDArray[np.float64]) -> Box:
    """A random crop; `draws` [4]: area, aspect ratio, and where."""
    width, height = size
    area = width * height * (_MIN_AREA + (1 - _MIN_AREA) * draws[0])
    aspect = math.exp(_MAX_LOG_ASPECT * (2 * draws[1] - 1))
    crop_width = min(width, math.sqrt(area * aspect))
    crop_height = min(height, math.sqrt(area / aspect))
    left, top = draws[2] * (width - crop_width), draws[3] * (height - crop_height)
    return float(left), float(top), float(left + crop_width), float(top + crop_height)
