"""Every reader keeps the rule: a valid value or an error of one line, soon, in little memory.

`PNAG_FUZZ_SECONDS` is how long each reader is given inputs; what was found is tried always.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from tests.fuzz.campaign import bounded, input_of, tried
from tests.fuzz.mutations import MAX_BYTES
from tests.fuzz.readers import readers

SECONDS = float(os.environ.get("PNAG_FUZZ_SECONDS", "0.05"))
FINDINGS = Path(__file__).parent / "findings"


@pytest.mark.parametrize("name", list(readers()))
def test_inputs_that_are_almost_right(name: str, tmp_path: Path) -> None:
    reader = readers()[name]
    seeds = reader.seeds(tmp_path)
    # edits of a larger one would all be dropped, and nothing but sound inputs tried
    assert max(map(len, seeds)) <= MAX_BYTES
    reader.read(seeds[0], tmp_path)  # what is imported and built once is no trial's
    end = time.monotonic() + SECONDS
    with bounded():
        for index in itertools.count():
            data = input_of(reader, seeds, 0, index)
            why, _ = tried(reader, data, tmp_path, sound=index < len(seeds))
            assert why is None, f"input {index}: {why}; {data[:200]!r}"
            if index >= len(seeds) and time.monotonic() > end:
                break


@pytest.mark.parametrize(
    "path", sorted(FINDINGS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_what_was_found_is_mended(path: Path, tmp_path: Path) -> None:
    with bounded():
        why, _ = tried(readers()[path.parent.name], path.read_bytes(), tmp_path)
    assert why is None
