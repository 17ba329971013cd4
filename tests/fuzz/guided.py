"""Inputs that are kept, and edited on, where they reach code that none before them reached.

atheris (libFuzzer for Python) counts the branches of what is imported within `watched`:
https://github.com/google/atheris. It comes with the extra `fuzz`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.fuzz.campaign import Reader
from tests.fuzz.mutations import mutated
from tests.fuzz.trials import Engine, Trials

WATCHED = ["profiler", "predictors", "pnag", "yaml"]
OWN_EDITS = 0.5  # the share of edits that know the format; the others are libFuzzer's, of bytes
# trials have an alarm and a limit of memory of their own, and what is found does not end them
FLAGS = ["-timeout=0", "-rss_limit_mb=0", "-malloc_limit_mb=0", "-verbosity=0", "-len_control=0"]


@contextmanager
def watched() -> Iterator[None]:
    """Branches of modules that are imported within count."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        yield


def guided(seed: int) -> Engine:
    def engine(reader: Reader, seeds: Sequence[bytes], trials: Trials) -> None:
        """Ends with the process, as libFuzzer does."""
        import atheris

        corpus = trials.folder / "corpus"
        corpus.mkdir()
        for at, data in enumerate(seeds):
            (corpus / str(at)).write_bytes(data)

        def one(data: bytes) -> None:
            if trials.over:
                trials.tell()
                os._exit(0)
            trials.one(data)

        def edited(data: bytes, max_size: int, chance: int) -> bytes:
            rng = random.Random(chance)
            if rng.random() < OWN_EDITS:
                changed = mutated(rng, [bytes(data)], reader.edits)
                if len(changed) <= max_size:
                    return changed
            return bytes(atheris.Mutate(data, max_size))

        atheris.Setup(
            ["fuzz", str(corpus), f"-seed={1 + seed}", *FLAGS], one, custom_mutator=edited
        )
        atheris.Fuzz()

    return engine
