"""How many small mistakes in a module its own tests notice.

    python -m tests.mutation --module stopping
    python -m tests.mutation --module stats --mutants 100 --seed 0

Prints each mutant that survives, and the share that was killed; one whose tests took too long was.
Mutants that nothing could tell from the module count as survivors.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutation.mutants import mutants_of
from tests.mutation.targets import TARGETS
from tests.mutation.trials import Fate, Trials


def campaign(name: str, most: int, seed: int) -> float:
    """Try a module's mutants, or a seeded choice of so many; the share that was killed."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(target.module, target.tests, Path(folder))
        whole_s = trials.begin()
        found = mutants_of(trials.path.read_text(encoding="utf-8"))
        at = random.Random(seed).sample(range(len(found)), min(most, len(found)))
        begun, fates = time.monotonic(), Counter[Fate]()
        for mutant in (found[i] for i in sorted(at)):
            fate = trials.fate(mutant.source(), 5 + 3 * whole_s)
            fates[fate] += 1
            if fate is not Fate.KILLED:
                print(f"{fate}: {target.module}:{mutant.difference()}", flush=True)
    elapsed_s, survived = time.monotonic() - begun, fates[Fate.SURVIVED]
    share = 1 - survived / len(at)
    print(
        f"{target.module}: of {len(at)} mutants ({len(found)} in all) {len(at) - survived} killed, "
        f"{fates[Fate.TIMED_OUT]} of these by time, {survived} survived: {100 * share:.1f} %; "
        f"{elapsed_s / len(at):.1f} s each, the tests {whole_s:.1f} s",
        flush=True,
    )
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--module", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--mutants", type=int, default=10_000, help="of each module, at most")
    parser.add_argument("--seed", type=int, default=0, help="chooses them where there are more")
    parser.add_argument("--least-pct", type=float, default=85.0, help="fail below this share")
    arguments = parser.parse_args()
    shares = [campaign(name, arguments.mutants, arguments.seed) for name in arguments.module]
    raise SystemExit(100 * min(shares) < arguments.least_pct)


if __name__ == "__main__":
    main()
