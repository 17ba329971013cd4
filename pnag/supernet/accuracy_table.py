"""Accuracies of many subnets as one table: its recipe, and the journals it resumes from."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pnag.supernet.checkpoint import (
    checkpoint_digests,
    file_digest,
    only_subnet,
    refuse_untrained,
)
from pnag.supernet.data import Dataset, fingerprint
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator, open_judged
from pnag.supernet.shared_prefix import in_shared_order, subnet_top1
from pnag.supernet.supernet import Supernet
from pnag.supernet.workers import Workers
from predictors.accuracy.tables import AccuracyTable, load_accuracy_table
from profiler.errors import InvalidInputError
from profiler.spaces.architecture_files import WrittenArchitecture
from profiler.spaces.networks import NetworkSpace
from profiler.spaces.sampling import extremes
from profiler.system.atomic import write_text_atomic
from profiler.system.json_lines import JsonLines
from profiler.system.user_files import read_json, read_json_lines, validated
from profiler.terminal import Progress, Terminal


@dataclass(frozen=True)
class EvaluationRequest:
    """Which table: of which subnets of a checkpoint, on which images.

    Attributes:
        archs: written architectures; none for `count` of the space.
        held_out: judged on the images that training kept aside.
        fresh: what an earlier evaluation to `out` has done is forgotten.
    """

    checkpoint: Path
    data: Path
    out: Path
    settings: EvaluationSettings
    archs: Sequence[WrittenArchitecture] = ()
    count: int = 2000
    held_out: bool = False
    fresh: bool = False


def evaluate_subnets(
    request: EvaluationRequest, supernet: Supernet, workers: Workers, terminal: Terminal
) -> AccuracyTable:
    """Write the table, going on from what an interrupted evaluation has done.

    Raises:
        InvalidInputError: unreadable data, an architecture that was not trained, or a table or
            journal of another recipe.
    """
    space, checkpoint, settings = supernet.space, request.checkpoint, request.settings
    dataset = open_judged(request.data, space, checkpoint, held_out=request.held_out)
    job = _job(request, space, dataset)
    evaluator = SubnetEvaluator(dataset, space, settings, workers.device)
    chosen = [space.format(one.parsed(space)) for one in request.archs]
    chosen = chosen or architectures_to_evaluate(space, request.count, seed=settings.seed)
    refuse_untrained(checkpoint, chosen)
    workers.wait()  # until none has anything to refuse
    if request.fresh and workers.is_first:
        job.discard()
    with terminal.progress("evaluating", len(chosen)) as progress:
        return job.run(
            space,
            subnet_top1(evaluator, supernet),
            in_shared_order(space, chosen),
            workers,
            progress,
        )


def _job(request: EvaluationRequest, space: NetworkSpace, dataset: Dataset) -> EvaluationJob:
    settings, digest = request.settings, file_digest(request.checkpoint)
    recipe = {
        "checkpoint_sha256": digest, "space": dict(space.facts),
        "data": dataset.name, "data_fingerprint": fingerprint(dataset),
        "settings": asdict(settings),
    }  # fmt: skip
    fine_tuned = "fine-tuned" if only_subnet(request.checkpoint) else "no fine-tuning"
    source = (
        f"subnets of {request.checkpoint.name} (sha256 {digest[:12]}), BatchNorm recalibrated on "
        f"{settings.recalibration_images} training images, {fine_tuned}, {settings.precision}"
    )
    return EvaluationJob(request.out, recipe, dataset.name, source, settings.test_images)


def architectures_to_evaluate(space: NetworkSpace, count: int, *, seed: int) -> list[str]:
    """Written: the smallest, the largest, then random ones without repeats; `count` in all."""
    chosen = dict.fromkeys(map(space.format, extremes(space)))
    rng = np.random.default_rng(seed)
    while len(chosen) < count:
        chosen |= dict.fromkeys(map(space.format, space.sample(count - len(chosen), rng)))
    return list(chosen)[:count]


def recipe_path(table: Path) -> Path:
    """Where the recipe of an accuracy table lies.

    >>> recipe_path(Path("tables/cifar.json")).name, recipe_path(Path("w1.0")).name
    ('cifar.recipe.json', 'w1.0.recipe.json')
    """
    return table.with_name(f"{table.name.removesuffix('.json')}.recipe.json")


def exported_settings(
    recipe: Path, checkpoint: Path, space: NetworkSpace, data: Dataset
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
        own = str(document["checkpoint_sha256"])
        of_space, of_data = document["space"], document["data_fingerprint"]
    except (KeyError, TypeError) as error:
        raise InvalidInputError(f"{recipe} is no recipe of an accuracy table: {error}") from None
    settings = validated(EvaluationSettings, asdict(settings), recipe)
    digests = checkpoint_digests(checkpoint)
    if own not in digests:
        raise InvalidInputError(
            f"{recipe} is of another checkpoint: {own[:12]}, this is {digests[0][:12]}"
        )
    if of_space != space.facts:
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
    n_images: int | None = None

    def run(
        self,
        space: NetworkSpace,
        top1_of: Callable[[str], float],
        architectures: Sequence[str],
        workers: Workers,
        progress: Progress,
    ) -> AccuracyTable:
        """Evaluate what no journal holds, this worker's share of it, then join all.

        A finished table of the same recipe keeps its rows, and these come after them.

        Raises:
            InvalidInputError: `out` or a journal of it is of another recipe.
        """
        done = workers.agree(self._done(space) if workers.is_first else None)
        left = [arch for arch in architectures if arch not in done]
        if workers.is_first:
            progress.skip(len(architectures) - len(left))
        with JsonLines(self._journal(workers.rank)) as journal:
            journal.append({"recipe": self.recipe})
            for arch in left[workers.share(len(left))]:
                top1 = top1_of(arch)
                journal.append({"arch": arch, "top1": top1})
                progress.advance(workers.world_size, note=f"top-1 {100 * top1:.1f} %")
        workers.wait()
        done = self._done(space)
        names = dict.fromkeys([*self._finished(space), *architectures, *done])
        table = AccuracyTable.of(
            space,
            ((space.parse(name), done[name]) for name in names),
            dataset=self.dataset,
            source=self.source,
            n_images=self.n_images,
        )
        workers.wait()
        if workers.is_first:
            self._finish(table)
        return table

    def _done(self, space: NetworkSpace) -> dict[str, float]:
        """Accuracies in the finished table and in the journals.

        Raises:
            InvalidInputError: of another recipe, or damaged.
        """
        rows = self._finished(space)
        for path in self._journals():
            for record in read_json_lines(path):
                if "recipe" not in record:
                    arch, top1 = _evaluated(record, path)
                    rows[arch] = top1
                elif record["recipe"] != self.recipe:
                    raise self._of_another(path)
        return rows

    def _finished(self, space: NetworkSpace) -> dict[str, float]:
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


def _evaluated(record: Mapping[str, Any], path: Path) -> tuple[str, float]:
    """An architecture and its top-1, of a line of a journal."""
    arch, top1 = record.get("arch"), record.get("top1")
    if not isinstance(arch, str) or not isinstance(top1, float) or not 0 <= top1 <= 1:
        raise InvalidInputError(
            f"{path} is damaged: a line without an architecture and its top-1; --fresh begins anew"
        )
    return arch, top1
