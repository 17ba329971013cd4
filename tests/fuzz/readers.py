"""Every reader of the project that is given what others wrote."""

from __future__ import annotations

from functools import cache

from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import file_readers
from tests.fuzz.network_readers import network_readers
from tests.fuzz.predictor_readers import predictor_readers
from tests.fuzz.run_readers import run_readers
from tests.fuzz.supernet_readers import supernet_readers
from tests.fuzz.text_readers import text_readers


@cache
def readers() -> dict[str, Reader]:
    found = [
        *text_readers(), *file_readers(), *network_readers(), *predictor_readers(), *run_readers(),
        *supernet_readers(),
    ]  # fmt: skip
    return {reader.name: reader for reader in found}
