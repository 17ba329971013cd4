"""Modules whose mistakes would be wrong numbers, and the tests that are to notice them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    module: str
    tests: tuple[str, ...]


TARGETS = {
    "stats": Target(
        "profiler.measuring.stats",
        (
            "profiler/measuring/stats.py",
            "tests/profiler/measuring/test_stats.py",
        ),
    ),
    "stopping": Target(
        "profiler.measuring.stopping", ("tests/profiler/measuring/test_stopping.py",)
    ),
    "frontier": Target(
        "pnag.search.frontier", ("pnag/search/frontier.py", "tests/pnag/search/test_frontier.py")
    ),
    "archive": Target("pnag.search.archive", ("tests/pnag/search/test_archive.py",)),
    "ranking": Target("pnag.learning.ranking", ("tests/pnag/learning/test_ranking.py",)),
    "rewards": Target("pnag.learning.rewards", ("tests/pnag/learning/test_rewards.py",)),
    "decoding": Target(
        "pnag.search.decoding",
        ("tests/pnag/search/test_decoding.py", "tests/pnag/learning/test_generator.py"),
    ),
    "constraints": Target(
        "pnag.search.constraints",
        ("tests/pnag/search/test_constraints.py", "tests/pnag/search/test_decoding.py"),
    ),
    "transfer": Target(
        "predictors.latency.transfer", ("tests/predictors/latency/test_transfer.py",)
    ),
}
