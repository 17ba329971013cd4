"""Accuracy of subnets: BatchNorm recalibrated on training images, then top-1 on test images."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pnag.supernet.checkpoint import checkpoint_digests, space_facts
from pnag.supernet.data import Dataset, ImageSplit, fingerprint, normalise
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.precision import PRECISIONS, Precision, autocast
from pnag.supernet.workers import Workers
from predictors.accuracy.tables import AccuracyTable, load_accuracy_table
from profiler.errors import InvalidInputError
from profiler.graph.network import Network
from profiler.spaces.mobilenetv3 import Architecture, MobileNetV3Space
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import read_json
from profiler.terminal import Progress


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides an accuracy, beside the weights.

    Attributes:
        recalibration_images: training images that BatchNorm statistics are taken from.
        test_images: how many of the test images are classified; None for all.
    """

    recalibration_images: int = 2000
    test_images: int | None = None
    batch_size: int = 200
    precision: Precision = "float32"
    seed: int = 0


class Evaluator:
    """Measures networks on images of one dataset, which are chosen once."""

    def __init__(
        self,
        data: Dataset,
        space: MobileNetV3Space,
        settings: EvaluationSettings,
        device: torch.device | None = None,
    ) -> None:
        self.space, self.settings = space, settings
        self.device = device or torch.device("cpu")
        rng = np.random.default_rng(settings.seed)
        n_train, n_test = len(data.train.labels), len(data.test.labels)
        if not 0 < settings.recalibration_images <= n_train:
            raise InvalidInputError(
                f"{settings.recalibration_images} images to recalibrate on, of {n_train}"
            )
        if settings.precision not in PRECISIONS:
            raise InvalidInputError(
                f"unknown precision {settings.precision!r}; known: {', '.join(PRECISIONS)}"
            )
        if not (settings.test_images is None or 0 < settings.test_images <= n_test):
            raise InvalidInputError(f"{settings.test_images} images to test on, of {n_test}")
        chosen = rng.permutation(n_train)[: settings.recalibration_images]
        tested = rng.permutation(n_test)[: settings.test_images]
        self.n_test, self.n_images = len(tested), len(tested) + len(chosen)
        self._recalibration = _Batches(data.train, chosen, settings.batch_size)
        self._test = _Batches(data.test, np.sort(tested), settings.batch_size)

    def recalibrate(self, network: Network) -> None:
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
            right = [
                network(images).argmax(1).cpu() == labels for images, labels in self.test_batches()
            ]
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

    def subnet(self, supernet: ElasticMobileNetV3, arch: Architecture) -> Network:
        """A standalone, recalibrated network of `arch`."""
        network = supernet.extract(arch)
        self.recalibrate(network)
        return network

    def _prepared(self, images: Tensor) -> Tensor:
        return normalise(images.to(self.device), self.space)


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


def architectures_to_evaluate(
    space: MobileNetV3Space, count: int, *, seed: int
) -> list[Architecture]:
    """The smallest, the largest, then random ones without repeats: `count` in all."""
    chosen = dict.fromkeys(space.extremes())
    rng = np.random.default_rng(seed)
    while len(chosen) < count:
        chosen |= dict.fromkeys(map(space.decode, space.sample(count - len(chosen), rng)))
    return list(chosen)[:count]


def recipe_path(table: Path) -> Path:
    """Where the recipe of an accuracy table lies.

    >>> recipe_path(Path("tables/cifar.json")).name, recipe_path(Path("w1.0")).name
    ('cifar.recipe.json', 'w1.0.recipe.json')
    """
    return table.with_name(f"{table.name.removesuffix('.json')}.recipe.json")


def exported_settings(
    recipe: Path, checkpoint: Path, space: MobileNetV3Space, data: Dataset
) -> EvaluationSettings:
    """How subnets are exported whose accuracy is to be a table's: as its recipe, in float32.

    Compressed weights count as those that they are made from.

    Raises:
        InvalidInputError: no recipe of `pnag supernet evaluate`, or of another checkpoint, space
            or other images.
    """
    document = read_json(recipe)
    try:
        settings = EvaluationSettings(**document["settings"])
        own = document["checkpoint_sha256"]
        of_space, of_data = document["space"], document["data_fingerprint"]
    except (KeyError, TypeError) as error:
        raise InvalidInputError(f"{recipe} is no recipe of an accuracy table: {error}") from None
    digests = checkpoint_digests(checkpoint)
    if own not in digests:
        raise InvalidInputError(
            f"{recipe} is of another checkpoint: {own[:12]}, this is {digests[0][:12]}"
        )
    if of_space != space_facts(space):
        raise InvalidInputError(f"{recipe} is of {of_space}, not of {space}")
    if of_data != fingerprint(data):
        raise InvalidInputError(f"{recipe} is of other images than those given (--held-out?)")
    return replace(settings, precision="float32")


@dataclass(frozen=True)
class EvaluationJob:
    """Architectures whose accuracies become one table; what is done is kept beside it.

    Each worker appends to a journal of its own; when all are done, the first one writes the
    table and removes the journals. `recipe` names everything that decides the numbers:
    journals of another recipe are refused.
    """

    out: Path
    recipe: dict[str, Any]
    dataset: str
    source: str

    def run(
        self,
        space: MobileNetV3Space,
        top1_of: Callable[[Architecture], float],
        architectures: Sequence[Architecture],
        workers: Workers,
        progress: Progress,
    ) -> AccuracyTable:
        """Evaluate what no journal holds, this worker's share of it, then join all.

        A finished table of the same recipe keeps its rows, and these come after them.

        Raises:
            InvalidInputError: `out` or a journal of it is of another recipe.
        """
        done = workers.agree(self._done(space) if workers.is_first else None)
        left = [arch for arch in architectures if str(arch) not in done]
        if workers.is_first:
            progress.skip(len(architectures) - len(left))
        journal = self._journal(workers.rank)
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"recipe": self.recipe}) + "\n")
            for arch in left[workers.share(len(left))]:
                top1 = top1_of(arch)
                file.write(json.dumps({"arch": str(arch), "top1": top1}) + "\n")
                file.flush()
                progress.advance(workers.world_size, note=f"top-1 {100 * top1:.1f} %")
        workers.wait()
        done = self._done(space)
        names = dict.fromkeys([*self._finished(space), *map(str, architectures), *done])
        table = AccuracyTable.of(
            space,
            ((space.parse(name), done[name]) for name in names),
            dataset=self.dataset,
            source=self.source,
        )
        workers.wait()
        if workers.is_first:
            self._finish(table)
        return table

    def _done(self, space: MobileNetV3Space) -> dict[str, float]:
        """Accuracies in the finished table and in the journals.

        A line cut short by a kill does not count.
        """
        rows = self._finished(space)
        for path in self._journals():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if "recipe" not in record:
                    rows[record["arch"]] = record["top1"]
                elif record["recipe"] != self.recipe:
                    raise self._of_another(path)
        return rows

    def _finished(self, space: MobileNetV3Space) -> dict[str, float]:
        """Rows of the table, where there is one."""
        if not self.out.exists():
            return {}
        try:
            recipe = read_json(recipe_path(self.out))
        except InvalidInputError:  # absent or damaged
            recipe = None
        if recipe != self.recipe:
            raise self._of_another(self.out)
        table = load_accuracy_table(self.out, space)
        pairs = zip(table.tokens, table.top1, strict=True)
        return {space.format(tokens): float(top1) for tokens, top1 in pairs}

    @staticmethod
    def _of_another(path: Path) -> InvalidInputError:
        return InvalidInputError(
            f"{path} is of another evaluation; use another --out, or --fresh to replace it"
        )

    def _finish(self, table: AccuracyTable) -> None:
        # the recipe first: a table without one would be refused
        recipe = json.dumps(self.recipe, indent=1, sort_keys=True) + "\n"
        write_text_atomic(recipe_path(self.out), recipe)
        table.save(self.out)
        for path in self._journals():
            path.unlink()

    def discard(self) -> None:
        """Forget what earlier evaluations to the same file have done."""
        for path in (self.out, recipe_path(self.out), *self._journals()):
            path.unlink(missing_ok=True)

    def _journals(self) -> list[Path]:
        return sorted(self.out.parent.glob(f".{glob.escape(self.out.name)}.*.jsonl"))

    def _journal(self, rank: int) -> Path:
        return self.out.parent / f".{self.out.name}.{rank}.jsonl"
