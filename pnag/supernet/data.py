"""Labelled images for training and evaluation; pixels stay uint8 until they are normalised.

Layouts, told apart by what a path holds: CIFAR-10 in its binary and its python version, a .npz
of JPEG images, and folders of image files (one per class). Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.supernet.cifar import read_cifar_binary, read_cifar_python
from profiler.errors import InvalidInputError
from profiler.spaces.networks import NetworkSpace, input_px, n_classes

CROP_PADDING_PX = 4
_FINGERPRINTED = 64
N_DRAWS = 5  # uniform random numbers that augment one image

# mean and standard deviation of RGB in [0, 1] over the training images
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_NORMALISATION = {"mbv3-cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))}


class ImageSplit(Protocol):
    """Images that are read by index, as uint8 [b, 3, h, w]."""

    @property
    def labels(self) -> Tensor:
        """[n] int64 class indices."""
        ...

    def plain(self, indices: NDArray[np.int64]) -> Tensor:
        """Images as they are evaluated."""
        ...

    def augmented(self, indices: NDArray[np.int64], draws: NDArray[np.float64]) -> Tensor:
        """Images as they are trained on; `draws` [b, 5] in [0, 1) decide the augmentation."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Training images, and the images that accuracies are measured on."""

    name: str
    train: ImageSplit
    test: ImageSplit
    n_classes: int


@dataclass(frozen=True)
class ArraySplit:
    """All images in memory: `images` uint8 [n, 3, h, w], `labels` int64 [n]."""

    images: Tensor
    labels: Tensor

    def plain(self, indices: NDArray[np.int64]) -> Tensor:
        return self.images[torch.from_numpy(indices)]

    def augmented(self, indices: NDArray[np.int64], draws: NDArray[np.float64]) -> Tensor:
        """A random crop after padding by 4 px, and a flip of every second image."""
        images = self.plain(indices)
        height, width = images.shape[2:]
        padded = torch.nn.functional.pad(images, [CROP_PADDING_PX] * 4)
        # [b, 3, 9, 9, h, w]: a view of every crop, of which one is copied
        crops = padded.unfold(2, height, 1).unfold(3, width, 1)
        offsets = torch.from_numpy((draws[:, :2] * (2 * CROP_PADDING_PX + 1)).astype(np.int64))
        cropped = crops[torch.arange(len(images)), :, offsets[:, 0], offsets[:, 1]]
        flip = torch.from_numpy(draws[:, 2] < 0.5)[:, None, None, None]
        return torch.where(flip, cropped.flip(3), cropped)


@dataclass(frozen=True)
class Subset:
    """Some images of another split, by index."""

    split: ImageSplit
    chosen: NDArray[np.int64]

    @property
    def labels(self) -> Tensor:
        return self.split.labels[torch.from_numpy(self.chosen)]

    def plain(self, indices: NDArray[np.int64]) -> Tensor:
        return self.split.plain(self.chosen[indices])

    def augmented(self, indices: NDArray[np.int64], draws: NDArray[np.float64]) -> Tensor:
        return self.split.augmented(self.chosen[indices], draws)


def open_dataset(path: Path, space: NetworkSpace) -> Dataset:
    """Read the data at `path` for training at the resolution of `space`.

    Raises:
        InvalidInputError: no known layout, or images or classes that do not fit the space.
    """
    dataset = _read(path, input_px(space))
    if dataset.n_classes != n_classes(space):
        raise InvalidInputError(
            f"{path} has {dataset.n_classes} classes, space {space.name} has {n_classes(space)}"
        )
    for split in (dataset.train, dataset.test):
        _check(split, path, space)
    return dataset


def _check(split: ImageSplit, path: Path, space: NetworkSpace) -> None:
    classes, side_px = n_classes(space), input_px(space)
    labels = split.labels
    if labels.ndim != 1:
        raise InvalidInputError(
            f"{path} has labels of shape {list(labels.shape)}, not one number each"
        )
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InvalidInputError(f"{path} has label {int(wrong[0])}, of 0 to {classes - 1}")
    if not isinstance(split, ArraySplit):
        return
    if len(split.images) != len(labels):
        raise InvalidInputError(f"{path} has {len(labels)} labels for {len(split.images)} images")
    height_px, width_px = split.images.shape[2:]
    if (height_px, width_px) != (side_px, side_px):
        raise InvalidInputError(
            f"{path} has images of {height_px} x {width_px} px, the space takes {side_px} px"
        )


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of all labels and of up to 64 evenly spaced images of either split, as evaluated."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        n = len(split.labels)
        digest.update(split.labels.numpy().astype("<i8").tobytes())
        chosen = np.unique(np.linspace(0, n - 1, min(n, _FINGERPRINTED)).astype(np.int64))
        digest.update(split.plain(chosen).contiguous().numpy().tobytes())
    return digest.hexdigest()


def hold_out(dataset: Dataset, n_images: int, *, seed: int) -> tuple[Dataset, Dataset]:
    """Keep `n_images` random training images aside: (what is trained on, what was held out).

    The second one's test images are the held-out ones.
    """
    n = len(dataset.train.labels)
    if not 0 <= n_images < n:
        raise InvalidInputError(f"cannot hold out {n_images} of {n} training images")
    order = np.random.default_rng(seed).permutation(n)
    kept = Subset(dataset.train, np.sort(order[n_images:]))
    held_out = Subset(dataset.train, np.sort(order[:n_images]))
    return (
        Dataset(dataset.name, kept, dataset.test, dataset.n_classes),
        Dataset(f"{dataset.name} held-out", kept, held_out, dataset.n_classes),
    )


def normalise(images: Tensor, space: NetworkSpace) -> Tensor:
    """uint8 [b, 3, h, w] to float32, each channel to mean 0 and deviation 1, channels last."""
    scale, shift = (
        torch.tensor(values, device=images.device)[:, None, None] for values in normalisation(space)
    )
    images = images.to(torch.float32, memory_format=torch.channels_last)
    return torch.addcmul(shift, images, scale)


def normalisation(space: NetworkSpace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(scale, shift) per channel: network input = pixel · scale + shift, pixels 0-255."""
    mean, deviation = _NORMALISATION.get(space.name, _IMAGENET)
    scale = tuple(1 / (255 * d) for d in deviation)
    shift = tuple(-m / d for m, d in zip(mean, deviation, strict=True))
    return scale, shift


def _read(path: Path, resolution_px: int) -> Dataset:
    if path.suffix == ".npz" and path.is_file():
        return _read_jpeg_npz(path)
    for folder, first, reader in (
        ("cifar-10-batches-bin", "data_batch_1.bin", read_cifar_binary),
        ("cifar-10-batches-py", "data_batch_1", read_cifar_python),
    ):
        for candidate in (path, path / folder):
            if (candidate / first).is_file():
                splits = [
                    ArraySplit(torch.from_numpy(images), torch.from_numpy(labels))
                    for images, labels in reader(candidate)
                ]
                return Dataset("CIFAR-10", splits[0], splits[1], 10)
    if (path / "train").is_dir():
        from pnag.supernet.image_folder import read_image_folder

        train, test, n_classes = read_image_folder(path, resolution_px)
        return Dataset(path.name, train, test, n_classes)
    raise InvalidInputError(
        f"no images at {path}: expected CIFAR-10 (data_batch_1.bin or data_batch_1), a .npz of "
        "JPEG images, or a folder with train/CLASS/ and val/CLASS/"
    )


def _read_jpeg_npz(path: Path) -> Dataset:
    """`{split}_bytes`, `{split}_off`, `{split}_y`: image i is the JPEG bytes[off[i]:off[i+1]]."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            splits = {split: _jpeg_split(arrays, split) for split in ("train", "test")}
    except Exception as error:  # numpy, zipfile and Pillow each raise many kinds
        raise InvalidInputError(f"{path} is not a .npz of JPEG images: {error}") from None
    n_classes = 1 + int(max(split.labels.max() for split in splits.values()))
    return Dataset(path.stem, splits["train"], splits["test"], n_classes)


def _jpeg_split(arrays: Mapping[str, NDArray[Any]], split: str) -> ArraySplit:
    """Raises whatever arrays that do not fit lead to."""
    from PIL import Image

    data, offsets = arrays[f"{split}_bytes"].tobytes(), arrays[f"{split}_off"]
    labels = arrays[f"{split}_y"]
    if not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(f"{split}_y holds {labels.size} labels of type {labels.dtype}")
    images = [
        np.asarray(Image.open(io.BytesIO(data[start:end])).convert("RGB"))
        for start, end in pairwise(offsets.tolist())
    ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return ArraySplit(pixels, torch.from_numpy(labels.astype(np.int64)))
