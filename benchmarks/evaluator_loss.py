"""How fast is the exact pairwise loss with its gradient, and how much slower are all pairs?

Prints seconds for K budgets of M architectures each, and checks one budget against the
definition (in blocks of rows, since M² numbers do not fit the memory).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.landscape import write_json
from pnag.learning.ranking import Floats, mean_pairwise_hinge, pairwise_hinge
from pnag.learning.rewards import Ranks, pareto_ranks

BLOCK_ROWS = 500


def by_pairs_in_blocks(scores: Floats, ranks: Ranks) -> tuple[float, Floats]:
    """All ordered pairs, `BLOCK_ROWS` rows at a time."""
    loss, gradient = 0.0, np.zeros(len(scores))
    for first in range(0, len(scores), BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        sign = np.where(ranks[rows, None] <= ranks[None, :], 1.0, -1.0)
        hinge = 1 - sign * (scores[rows, None] - scores[None, :])
        active = hinge > 0
        active[np.arange(len(active)), first + np.arange(len(active))] = False
        loss += float(hinge[active].sum())
        pull = np.where(active, sign, 0.0)
        gradient[rows] -= pull.sum(axis=1)
        gradient += pull.sum(axis=0)
    return loss, gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", type=int, default=16_000)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluator_loss.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    m = 1000 if arguments.quick else arguments.architectures
    rng = np.random.default_rng(0)
    top1, cost = np.round(rng.normal(0.75, 0.01, m), 5), rng.uniform(3, 14, m)
    ranks = np.stack([pareto_ranks(top1, cost, b) for b in np.linspace(3, 14, arguments.budgets)])
    scores = torch.from_numpy(5 * rng.normal(size=ranks.shape))
    scores.requires_grad_()
    seconds = []
    for _ in range(arguments.repeats):
        begun = time.perf_counter()
        torch.autograd.grad(mean_pairwise_hinge(scores, ranks), scores)
        seconds.append(time.perf_counter() - begun)
    one = scores.detach().numpy()[0]
    begun = time.perf_counter()
    expected_loss, expected_gradient = by_pairs_in_blocks(one, ranks[0])
    by_pairs_s = (time.perf_counter() - begun) * arguments.budgets
    loss, gradient = pairwise_hinge(one, ranks[0])
    document = {
        "architectures": m,
        "budgets": arguments.budgets,
        "exact_s": float(np.median(seconds)),
        "exact_s_all": seconds,
        "by_pairs_s_from_one_budget": by_pairs_s,
        "ratio": by_pairs_s / float(np.median(seconds)),
        "relative_loss_difference": abs(loss - expected_loss) / expected_loss,
        "greatest_gradient_difference": float(np.abs(gradient - expected_gradient).max()),
    }
    write_json(arguments.out, document)
    for name, value in document.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
