"""Do accuracies with a supernet's weights rank architectures as fine-tuned networks do?

    python -m benchmarks.supernet_ranking --checkpoint runs/supernet/supernet.safetensors \\
        --data cifar10.npz --out runs/ranking

Random subnets, each measured with the supernet's weights, then trained alone for a few epochs
from them, then measured again; Spearman's rank correlation of the two, beside that of multiply-adds
with the second, and Pearson's, beside how high it could be: subnets that differ by less than the
test images tell apart are ranked by chance. --even-sizes draws the subnets from the space's whole
range of sizes rather than uniformly. Resumed by the same command; torchrun --nproc-per-node N -m
benchmarks.supernet_ranking spreads the subnets.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pnag.supernet.accuracy_table import architectures_to_evaluate
from pnag.supernet.checkpoint import file_digest, load_supernet
from pnag.supernet.data import Dataset, fingerprint, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.precision import PRECISIONS
from pnag.supernet.train import SupernetSettings
from pnag.supernet.train_run import RunOptions, train_supernet
from pnag.supernet.workers import Workers, open_workers
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import Architecture
from profiler.system.atomic import write_text_atomic
from profiler.terminal import Terminal

ROW, SETTINGS, RIGHT = "row.json", "settings.json", "right.npz"
STAGES = ("supernet", "fine_tuned")


@dataclass(frozen=True)
class Comparison:
    """One supernet, and how each of its subnets is fine-tuned by one worker alone."""

    checkpoint: Path
    supernet: ElasticMobileNetV3
    evaluator: SubnetEvaluator
    data: Dataset
    settings: SupernetSettings
    worker: Workers

    def row(self, arch: Architecture, folder: Path) -> dict[str, Any]:
        """Top-1 of `arch` on all test images before and after; measured once.

        What else decides it is in the folder's `SETTINGS`.
        """
        path = folder / ROW
        if path.exists():
            row: dict[str, Any] = json.loads(path.read_text())
            return row
        space, settings = self.supernet.space, replace(self.settings, arch=str(arch))
        options = RunOptions(folder, validate_epochs=0)
        path_tuned = train_supernet(
            space, self.data, settings, options, self.worker, Terminal(), init=self.checkpoint
        )
        tuned = load_supernet(path_tuned).to(self.worker.device)
        right = {
            stage: self.evaluator.right(self.evaluator.subnet(model, str(arch)))
            for stage, model in zip(STAGES, (self.supernet, tuned), strict=True)
        }
        np.savez_compressed(folder / RIGHT, allow_pickle=False, **right)
        row = {"arch": str(arch)} | {stage: float(r.mean()) for stage, r in right.items()}
        write_text_atomic(path, json.dumps(row) + "\n")
        return row


def reliability(right: NDArray[np.bool_]) -> float:
    """Correlation that accuracies would have with those of as many other test images.

    `right`: [n_subnets, n_images]. The mean of all split halves, in closed form (Kuder and
    Richardson, 1937, formula 20; Cronbach's alpha). The correlation of two measurements is at
    most the root of the product of their reliabilities (Spearman, 1904).

    >>> skilled = np.tile([[True], [True], [False]], 100)
    >>> round(reliability(skilled), 6)
    1.0
    """
    n_images = right.shape[1]
    of_images = float(right.var(axis=0, ddof=1).sum())
    of_subnets = float(right.sum(axis=1).var(ddof=1))
    return float(n_images / (n_images - 1) * (1 - of_images / of_subnets))


def expected_correlation(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Pearson's correlation of the two accuracies if the true ones were linearly related.

    [n_subnets, n_images] each. The root of the product of the reliabilities (Spearman, 1904), and
    what the errors share, since both are of the same images. Noise of fine-tuning is not in it.

    >>> rng = np.random.default_rng(0)
    >>> first, second = (rng.random((400, 2000)) < 0.5 for _ in range(2))
    >>> equal = expected_correlation(first, first)
    >>> round(equal, 6), abs(expected_correlation(first, second)) < 0.1
    (1.0, True)
    """
    alphas = [max(0.0, reliability(right)) for right in (before, after)]
    centred = [right - right.mean(axis=0) for right in (before, after)]
    spread = [float((part**2).sum()) for part in centred]
    shared = float((centred[0] * centred[1]).sum()) / math.sqrt(spread[0] * spread[1])
    return math.sqrt(alphas[0] * alphas[1]) + shared * math.sqrt((1 - alphas[0]) * (1 - alphas[1]))


def evenly_sized(space: MobileNetV3Space, count: int, seed: int) -> list[Architecture]:
    """Random subnets, one from each of `count` equal ranges of multiply-adds, smallest first.

    Uniform choices almost always make a subnet of middling size. So how likely the larger choices
    are is drawn as well, p in [0, 1), and each choice is binomial(2, p). The first in a range
    stays; the extremes, which are not random, never do.

    >>> from profiler.spaces.mobilenetv3 import open_space
    >>> space = open_space("mbv3-cifar")
    >>> [space.madds(arch) // 10**6 for arch in evenly_sized(space, 3, seed=1)]
    [76, 114, 167]
    """
    extremes = space.extremes()
    low, high = map(space.madds, extremes)
    rng = np.random.default_rng(seed)
    chosen: dict[int, Architecture] = {}
    while len(chosen) < count:
        tokens = rng.binomial(2, rng.random(), size=len(space.positions))
        arch = space.decode(tokens.astype(np.int8))
        if arch not in extremes:
            chosen.setdefault(count * (space.madds(arch) - low) // (high - low), arch)
    return [chosen[part] for part in range(count)]


def keep_or_refuse(path: Path, settings: dict[str, Any]) -> None:
    """Rows of other settings are not mixed with these."""
    if path.exists() and json.loads(path.read_text()) != settings:
        raise InvalidInputError(f"{path} tells of another comparison; use another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps(settings, indent=1) + "\n")


def compare(options: argparse.Namespace, workers: Workers) -> None:
    supernet = load_supernet(options.checkpoint).to(workers.device)
    space = supernet.space
    data = open_dataset(options.data, space)
    if options.even_sizes:
        archs = evenly_sized(space, options.count, options.seed)
    else:  # the first two are the extremes
        drawn = architectures_to_evaluate(space, options.count + 2, seed=options.seed)[2:]
        archs = [space.parse_architecture(arch) for arch in drawn]
    folders = [options.out / f"subnet-{index}" for index in range(options.count)]
    settings = SupernetSettings(
        epochs=options.epochs, batch_size=options.batch_size, micro_batch_size=options.batch_size,
        learning_rate=options.learning_rate, warmup_epochs=0.0, weight_decay=5e-4,
        precision=options.precision, seed=options.seed,
    )  # fmt: skip
    evaluation = EvaluationSettings(options.recalibration_images)
    evaluator = SubnetEvaluator(data, space, evaluation, workers.device)
    document: dict[str, Any] = {
        "checkpoint_sha256": file_digest(options.checkpoint),
        "data": data.name,
        "data_fingerprint": fingerprint(data),
        "n_test": len(data.test.labels),
        "fine_tuning": asdict(settings),
        "evaluation": asdict(evaluation),
        "count": options.count,
        "seed": options.seed,
        "even_sizes": options.even_sizes,
    }
    if workers.is_first:
        keep_or_refuse(options.out / SETTINGS, document)
    workers.wait()
    alone = Workers(device=workers.device)
    comparison = Comparison(options.checkpoint, supernet, evaluator, data, settings, alone)
    for index in range(workers.rank, options.count, workers.world_size):
        print(json.dumps(comparison.row(archs[index], folders[index])), flush=True)
    workers.wait()
    if not workers.is_first:
        return
    rows = [json.loads((folder / ROW).read_text()) for folder in folders]
    document |= correlations(rows, folders, space) | {"rows": rows}
    write_text_atomic(options.out / "ranking.json", json.dumps(document, indent=1) + "\n")
    print(
        "Spearman {spearman:.3f} (p = {p_value:.2g}), of multiply-adds {spearman_madds:.3f}; "
        "Pearson {pearson:.3f}, {pearson_expected:.2f} if the true ones were linearly related; "
        "n = {count}".format(**document)
    )


def correlations(
    rows: list[dict[str, Any]], folders: list[Path], space: MobileNetV3Space
) -> dict[str, Any]:
    """Of accuracies before with those after, and of multiply-adds with those after."""
    before, after = ([row[stage] for row in rows] for stage in STAGES)
    madds = [space.madds(space.parse_architecture(row["arch"])) for row in rows]
    right = [np.stack([np.load(folder / RIGHT)[stage] for folder in folders]) for stage in STAGES]
    result = spearmanr(before, after)
    return {
        "spearman": float(result.statistic),
        "p_value": float(result.pvalue),
        "spearman_madds": float(spearmanr(madds, after).statistic),
        "pearson": float(np.corrcoef(before, after)[0, 1]),
        "pearson_expected": expected_correlation(*right),
        "reliability": dict(zip(STAGES, map(reliability, right), strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--even-sizes", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--recalibration-images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with open_workers() as workers:
        compare(options, workers)


if __name__ == "__main__":
    main()
