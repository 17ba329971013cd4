"""Is the top-1 that is said of generated networks the one that they have?

    python -m benchmarks.promised_accuracy --run runs/cifar --networks 20 --made made.json
    pnag supernet evaluate --arch-file made.json --out measured.json ...
    python -m benchmarks.promised_accuracy --run runs/cifar --networks 20 --measured measured.json

The first writes networks generated for budgets over the reachable range, none of which the
accuracy model was fitted to or checked with; the last compares what was said of them with what was
measured: predicted minus measured top-1, its standard error, and how many intervals hold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.landscape import write_json
from pnag.generated import GeneratedArchitecture
from pnag.refine import picks_along_frontier
from pnag.runs.run import Run, load_run
from predictors.accuracy.fitted import FittedAccuracy
from predictors.accuracy.tables import load_accuracy_table
from profiler.spaces.networks import NetworkSpace


def unseen_networks(run: Run, n: int) -> list[GeneratedArchitecture]:
    """That neither taught the accuracy model nor checked it; of fewer than n, all."""
    accuracy, space = run.problem.accuracy, run.problem.space
    rows = accuracy.rows if isinstance(accuracy, FittedAccuracy) else ()
    return picks_along_frontier(run, n, {space.format(row) for row in rows})


def compare(made: list[GeneratedArchitecture], measured: Path, space: NetworkSpace) -> None:
    table = load_accuracy_table(measured, space)
    top1_of = {row.tobytes(): top1 for row, top1 in zip(table.tokens, table.top1, strict=True)}
    errors, held = [], 0
    print(f"{'budget ms':>10}{'predicted %':>13}{'interval %':>17}{'measured %':>12}{'error':>8}")
    for one in made:
        top1 = top1_of[one.tokens.tobytes()]
        assert one.top1_interval is not None
        low, high = one.top1_interval
        errors.append(100 * (one.top1 - top1))
        held += low <= top1 <= high
        interval = f"{100 * low:.2f} - {100 * high:.2f}"
        print(
            f"{one.budget_ms:>10.3f}{100 * one.top1:>13.2f}{interval:>17}{100 * top1:>12.2f}"
            f"{errors[-1]:>+8.2f}"
        )
    mean, n = np.mean(errors), len(errors)
    error = np.std(errors, ddof=1) / np.sqrt(n)
    print(
        f"predicted minus measured: {mean:+.2f} ± {error:.2f} points (standard error), mean "
        f"distance {np.abs(errors).mean():.2f}; {held} of {n} intervals hold"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--made", type=Path, help="where to write the networks")
    parser.add_argument("--measured", type=Path, help="their accuracies")
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    space = run.problem.space
    assert isinstance(space, NetworkSpace)
    made = unseen_networks(run, arguments.networks)
    if arguments.made is not None:
        write_json(arguments.made, {"results": [{"arch": one.arch} for one in made]})
    if arguments.measured is not None:
        compare(made, arguments.measured, space)


if __name__ == "__main__":
    main()
