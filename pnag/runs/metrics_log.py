"""A run's metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pnag.learning.train import Learner
from profiler.errors import InvalidInputError
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import read_text


class MetricsLog:
    """metrics.jsonl: one line per round with the last value of each metric."""

    def __init__(self, folder: Path | None, learners: Sequence[Learner]) -> None:
        self._path = folder / "metrics.jsonl" if folder else None
        self._several = len(learners) > 1
        self._last: dict[str, float] = {}
        self._lines: list[str] = []
        if self._path and self._path.exists():
            done = [learner.rounds_done for learner in learners]
            for line in read_text(self._path).splitlines():
                try:
                    entry = json.loads(line)
                    is_kept = entry["round"] <= done[entry["learner"]]
                except (ValueError, LookupError, TypeError, RecursionError) as error:
                    raise InvalidInputError(f"{self._path} is damaged: {error}") from None
                if is_kept:
                    self._lines.append(line)

    def add(self, metrics: dict[str, float]) -> None:
        self._last |= metrics

    @property
    def n_rounds(self) -> int:
        """Done by all learners together."""
        return len(self._lines)

    def past_rounds(self) -> list[tuple[int, dict[str, float]]]:
        """Each round's number and metrics."""
        return [(at, self._named(json.loads(line))) for at, line in enumerate(self._lines, 1)]

    def end_round(self, index: int, learner: Learner) -> dict[str, float]:
        """The round's metrics."""
        entry = {"learner": index, "round": learner.rounds_done, **self._last}
        self._lines.append(json.dumps(entry))
        if self._path:
            write_text_atomic(self._path, "\n".join(self._lines) + "\n")
        return self._named(entry)

    def _named(self, entry: dict[str, float]) -> dict[str, float]:
        """The metrics of a line, each learner's under a name of its own."""
        prefix = f"budget_{entry['learner']}/" if self._several else ""
        places = ("learner", "round")
        return {prefix + name: value for name, value in entry.items() if name not in places}
