"""Accuracy of subnets: BatchNorm recalibrated on training images, then top-1 on test images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pnag.supernet.checkpoint import read_facts
from pnag.supernet.data import (
    Dataset,
    ImageSplit,
    fingerprint,
    hold_out,
    normalise,
    open_dataset,
)
from pnag.supernet.precision import PRECISIONS, Precision, autocast
from pnag.supernet.supernet import Supernet
from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.spaces.networks import NetworkSpace
from profiler.spaces.row_network import RowNetwork

MAX_IMAGES = 100_000_000


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides an accuracy, beside the weights.

    Attributes:
        recalibration_images: training images that BatchNorm statistics are taken from.
        test_images: how many of the test images are classified; None for all.

    Raises:
        InvalidInputError: a value out of range.
    """

    recalibration_images: int = 2000
    test_images: int | None = None
    batch_size: int = 200
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {
            "images to recalibrate on": self.recalibration_images,
            "images to test on": 1 if self.test_images is None else self.test_images,
            "images in a batch": self.batch_size,
        }
        for name, n in counts.items():
            if not 1 <= n <= MAX_IMAGES:
                raise InvalidInputError(f"{name} must be from 1 to {MAX_IMAGES}, not {shown(n)}")
        if self.precision not in PRECISIONS:
            raise InvalidInputError(
                f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}"
            )


class SubnetEvaluator:
    """Measures networks on images of one dataset, which are chosen once."""

    def __init__(
        self,
        data: Dataset,
        space: NetworkSpace,
        settings: EvaluationSettings,
        device: torch.device | None = None,
    ) -> None:
        self.space, self.settings = space, settings
        self.device = device or torch.device("cpu")
        rng = np.random.default_rng(settings.seed)
        n_train, n_test = len(data.train.labels), len(data.test.labels)
        if settings.recalibration_images > n_train:
            raise InvalidInputError(
                f"{settings.recalibration_images} images to recalibrate on, of {n_train}"
            )
        if settings.test_images is not None and settings.test_images > n_test:
            raise InvalidInputError(f"{settings.test_images} images to test on, of {n_test}")
        chosen = rng.permutation(n_train)[: settings.recalibration_images]
        tested = rng.permutation(n_test)[: settings.test_images]
        self.n_test, self.n_images = len(tested), len(tested) + len(chosen)
        self._recalibration = _Batches(data.train, chosen, settings.batch_size)
        self._test = _Batches(data.test, np.sort(tested), settings.batch_size)

    def recalibrate(self, network: RowNetwork) -> None:
        """Set BatchNorm's running statistics to their means over batches.

        As Once-for-All does, but with the unbiased variance that BatchNorm keeps.
        """
        with torch.no_grad(), self.autocast(), recalibrating(network):
            for images, _ in self.recalibration_batches():
                network(images)

    def top1(self, network: Callable[[Tensor], Tensor]) -> float:
        """The share of test images whose largest logit is the label's.

        `network`: [n, 3, h, w] normalised images to [n, classes] logits; a torch module is one.
        """
        return int(self.right(network).sum()) / self.n_test

    @torch.no_grad()
    def right(self, network: Callable[[Tensor], Tensor]) -> NDArray[np.bool_]:
        """[n_test] whether the largest logit is the label's, image by image."""
        with self.autocast():
            right = [is_right(network(images), labels) for images, labels in self.test_batches()]
        return torch.cat(right).numpy()

    def recalibration_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised training images, and their labels."""
        return ((self._prepared(images), labels) for images, labels in self._recalibration)

    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised test images, and their labels."""
        return ((self._prepared(images), labels) for images, labels in self._test)

    def autocast(self) -> torch.autocast:
        """The precision that networks compute in."""
        return autocast(self.settings.precision, self.device)

    def subnet(self, supernet: Supernet, arch: str) -> RowNetwork:
        """A standalone, recalibrated network of a written architecture."""
        network = supernet.network(arch).to(self.device)
        self.recalibrate(network)
        return network

    def _prepared(self, images: Tensor) -> Tensor:
        return normalise(images.to(self.device), self.space)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """[n] whether the largest of [n, classes] logits is the label's.

    Raises:
        InvalidInputError: logits that are not finite; the first class would pass for the largest.
    """
    if not logits.isfinite().all():
        raise InvalidInputError(
            "the network computes numbers that are not finite; its weights have diverged"
        )
    return logits.argmax(1).cpu() == labels


@contextmanager
def recalibrating(module: nn.Module) -> Iterator[None]:
    """Within, what passes `module` sets its BatchNorm statistics: means over batches."""
    cast(Any, module).to(memory_format=torch.channels_last)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
    module.train()
    try:
        yield
    finally:
        module.eval()


@dataclass(frozen=True)
class _Batches:
    """Batches of at most `size` images, as even as can be: statistics weigh them equally."""

    split: ImageSplit
    chosen: np.ndarray[Any, np.dtype[np.int64]]
    size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in np.array_split(self.chosen, math.ceil(len(self.chosen) / self.size)):
            yield self.split.plain(indices), self.split.labels[torch.from_numpy(indices)]


def open_judged(data: Path, space: NetworkSpace, checkpoint: Path, *, held_out: bool) -> Dataset:
    """The data; with `held_out`, judged on the images that this checkpoint's training kept.

    Raises:
        InvalidInputError: unreadable data, or with `held_out` other images than trained on.
    """
    dataset = open_dataset(data, space)
    if not held_out:
        return dataset
    facts = read_facts(checkpoint)
    settings = facts.get("settings", {})
    if not settings.get("held_out"):
        raise InvalidInputError(f"{checkpoint} was trained on all images: none were held out")
    trained, judged = hold_out(dataset, settings["held_out"], seed=settings.get("seed") or 0)
    if fingerprint(trained) != facts.get("data_fingerprint"):
        raise InvalidInputError(f"{checkpoint} was trained on other images than {data} has")
    return judged
