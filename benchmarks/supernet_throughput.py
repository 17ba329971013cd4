"""How many images per second does the supernet train and evaluate on this machine?

    python -m benchmarks.supernet_throughput --out supernet_throughput.json

Synthetic images of the space's size; the best of a few repeats, in CPU time of this process
divided by its threads, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from pnag.supernet.data import ArraySplit, Dataset
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.precision import PRECISIONS, Precision
from pnag.supernet.train import SupernetSettings, Trainer
from pnag.supernet.workers import Workers
from profiler.spaces.mobilenetv3 import open_space

SPACE = open_space("mbv3-cifar")


def images_per_s(job: Callable[[], object], n_images: int, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        job()
        best = min(best, time.process_time() - start)
    return n_images * torch.get_num_threads() / best


def noise_images(n: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = ArraySplit(pixels, torch.arange(n) % 10)
    return Dataset("noise", split, split, 10)


def measure(batch_size: int, repeats: int, precision: Precision) -> dict[str, float]:
    data, rates = noise_images(2 * batch_size), {}
    for n_random in (1, 2):
        settings = SupernetSettings(
            batch_size=batch_size, micro_batch_size=batch_size, n_random=n_random,
            precision=precision,
        )  # fmt: skip
        trainer = Trainer(SPACE, data, settings, Workers())
        rates[f"train: sandwich of {n_random + 2}"] = images_per_s(
            trainer.train_step, batch_size, repeats
        )
    model = trainer.averaged_model()
    evaluator = SubnetEvaluator(data, SPACE, EvaluationSettings(batch_size, batch_size=batch_size))
    for name, arch in zip(("smallest", "largest"), SPACE.extremes(), strict=True):
        network = model.extract(arch)
        rates[f"recalibrate: {name}"] = images_per_s(
            partial(evaluator.recalibrate, network), batch_size, repeats
        )
        rates[f"evaluate: {name}"] = images_per_s(
            partial(evaluator.top1, network), 2 * batch_size, repeats
        )
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rates = measure(options.batch_size, options.repeats, options.precision)
    for name, rate in rates.items():
        print(f"{name:24} {rate:8.1f} images/s")
    if options.out is not None:
        document = {
            "threads": torch.get_num_threads(),
            "training_precision": options.precision,
            "images_per_s": rates,
        }
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
