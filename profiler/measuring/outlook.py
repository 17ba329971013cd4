"""How far a sweep is, from what is known of the blocks that its configurations will need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from profiler.terminal import Progress


@dataclass
class Outlook:
    """Blocks measured and to come, shown as progress.

    Each configuration is expected to need `at_least` blocks, until a look at its samples says more.
    Its last block counts only then: it is not 100 % before all have been looked at.
    """

    progress: Progress
    at_least: int
    _to_come: dict[str, int] = field(default_factory=dict)  # by configuration
    _total: int = 0
    _held: dict[str, str] = field(default_factory=dict)  # note of a last block, by configuration

    def begin(self, keys: Iterable[str]) -> None:
        self._to_come = dict.fromkeys(keys, self.at_least)
        self._total = sum(self._to_come.values())
        self.progress.expect(self._total)

    def expect(self, key: str, n_blocks: int) -> None:
        """So many more for one configuration; none, where it is done or failed."""
        self._total += n_blocks - self._to_come[key]
        self._to_come[key] = n_blocks
        self.progress.expect(self._total)
        if key in self._held:
            self.progress.advance(note=self._held.pop(key))

    def block(self, key: str, note: str = "") -> None:
        """One of a configuration is measured."""
        if self._to_come[key] == 0:
            self.expect(key, 1)
        self._to_come[key] -= 1
        if self._to_come[key] == 0:
            self._held[key] = note
        else:
            self.progress.advance(note=note)
