"""What the first use of a network costs, beside its latency in the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.devices.android import device as phone
from profiler.devices.base import network_workload
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import Chosen, ProfileRequest, profile_device
from profiler.measuring.cold_starts import check_starts, network_start
from profiler.measuring.journal import Journal, journal_path
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import NetworkEntry, Verdict, load_table
from tests.adbd import Adbd
from tests.profiler.devices.android.conftest import FAST
from tests.profiler.devices.android.test_delegates import MakeDevice
from tests.profiler.devices.android.test_sweep import PROTOCOL as ONE_SAMPLE

SPACE = MobileNetV3Space(resolution_px=128)
PROTOCOL = replace(
    ONE_SAMPLE,
    repeats=replace(ONE_SAMPLE.repeats, share=0.0, min_count=0),
    stopping=replace(ONE_SAMPLE.stopping, min_blocks=1),
)
SMALLEST = str(SPACE.extremes()[0])


@pytest.fixture(autouse=True)
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone, "N_STARTS", 1)


def test_memory_of_the_tool_that_tells_it(
    adbd: Adbd, make_device: MakeDevice, compiled_binary: Path
) -> None:
    with make_device(adbd, benchmark_binary=compiled_binary) as device:
        start = network_start(device, network_workload(SPACE, SPACE.parse(SMALLEST)))
    assert start.load_ms > 0 and start.first_run_ms > 0
    assert start.peak_memory_mb == 7.25


def test_starts_are_in_the_journal_and_the_table(adbd: Adbd, binary: Path, tmp_path: Path) -> None:
    request = ProfileRequest(
        f"adb:{adbd.serial}", SPACE, tmp_path / "t.json", PROTOCOL,
        chosen=Chosen((), (SMALLEST,)), cold_start=True,
        device_options={"benchmark_binary": binary, "timing": FAST},
    )  # fmt: skip
    (first,) = load_table(profile_device(request), partial=True).networks
    assert first.load_ms and first.first_run_ms and first.first_run_ms > 0.3 * first.latency_ms
    assert first.peak_memory_mb is None
    with Journal(journal_path(request.out), read_only=True) as journal:
        (epoch,) = journal.epochs()
        (start,) = journal.starts(epoch).values()
    assert (start.load_ms, start.first_run_ms) == (first.load_ms, first.first_run_ms)


def test_devices_that_tell_no_cold_start_are_refused() -> None:
    for spec in ("cpu", "tflite", "adb:X"):
        check_starts(spec)
    for spec in ("fake", "cuda"):
        with pytest.raises(InvalidInputError, match="tells no cold starts"):
            check_starts(spec)
    with pytest.raises(InvalidInputError, match="a fleet"):
        check_starts("cpu", fleet=True)


def test_what_was_not_measured_is_not_in_the_file() -> None:
    entry = NetworkEntry(arch="a", latency_ms=1.0, verdict=Verdict.STABLE, load_ms=2.0)
    document = entry.model_dump(mode="json")
    assert document["load_ms"] == 2.0 and "peak_memory_mb" not in document
    assert NetworkEntry.model_validate(document) == entry
