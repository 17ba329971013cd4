"""Both official tools, and where they run the model: told, checked, recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profiler.devices.android.benchmark_tool import COMPILED
from profiler.devices.android.device import AndroidDevice
from profiler.devices.android.options import AndroidOptions
from profiler.devices.base import Workload
from profiler.devices.registry import recorded_options
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.measuring.protocol import FULL
from profiler.measuring.task import Role, make_task
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from tests.adbd import Adbd
from tests.phone import executable_of

MakeDevice = Callable[..., AndroidDevice]
OP = MobileNetV3Space(resolution_px=128).block_op(16, 3, 3)
WORKLOAD = Workload(OP.key, (OP,))


@pytest.mark.parametrize(
    ("tool", "delegate", "flags", "recorded"),
    [
        ("binary", "gpu", ["use_gpu=true", "use_xnnpack=false"], "GPU"),
        ("binary", "nnapi", ["use_nnapi=true", "use_xnnpack=false"], "NNAPI"),
        ("compiled_binary", "cpu", ["use_cpu=true", "use_gpu=false"], "XNNPACK"),
        ("compiled_binary", "gpu", ["use_cpu=false", "use_gpu=true"], "GPU"),
    ],
)
def test_delegates_of_both_tools(
    adbd: Adbd, make_device: MakeDevice, request: pytest.FixtureRequest, tool: str, delegate: str,
    flags: list[str], recorded: str,
) -> None:  # fmt: skip
    """A part in the delegate is refused, or allowed and flagged; the table says which it was."""
    options = {"benchmark_binary": request.getfixturevalue(tool), "delegate": delegate}
    with make_device(adbd, **options) as device:
        prepared = device.prepare(WORKLOAD)
        before = len(adbd.received)
        assert prepared.sample_ms(3) > 0
        (command,) = [c for c in adbd.received[before:] if "--graph" in c]
        assert all(f"--{flag}" in command for flag in flags)
        adbd.phone.put("fault", "partial_delegate")
        with pytest.raises(MeasurementError) as caught:
            prepared.sample_ms(3)
        assert caught.value.reason == "delegate_not_applied"
        assert device.state().warnings == ()
        assert dict(device.info.options)["delegate"] == recorded
        assert ("CompiledModel" in device.info.runtime) == (tool == "compiled_binary")


def test_a_part_in_the_delegate_is_flagged_where_it_is_allowed(
    adbd: Adbd, make_device: MakeDevice, compiled_binary: Path
) -> None:
    with make_device(
        adbd, benchmark_binary=compiled_binary, delegate="gpu", allow_partial_delegation=True
    ) as device:
        prepared = device.prepare(WORKLOAD)
        assert recorded_options(device.info, "adb") == {
            "delegate": "gpu", "allow_partial_delegation": True, "fixed_performance": False,
        }  # fmt: skip
        flags = []
        for fault in ("partial_delegate", ""):
            adbd.phone.put("fault", fault)
            assert prepared.sample_ms(3) > 0
            flags.append(device.state().warnings)
    assert flags == [("partial_delegation",), ()]


def test_results_of_two_delegates_have_keys_of_their_own(
    adbd: Adbd, make_device: MakeDevice
) -> None:
    """So that no table, and no journal, mixes them."""
    keys = set()
    for options in ({}, {"delegate": "gpu"}, {"delegate": "gpu", "allow_partial_delegation": True}):
        with make_device(adbd, **options) as device:
            keys.add(make_task(WORKLOAD, Role.OP, device.info, FULL).key)
    assert len(keys) == 3


def test_a_delegate_that_the_tool_does_not_have(
    adbd: Adbd, make_device: MakeDevice, compiled_binary: Path
) -> None:
    with pytest.raises(InvalidInputError, match="has no delegate nnapi"):
        make_device(adbd, benchmark_binary=compiled_binary, delegate="nnapi")
    with pytest.raises(InvalidInputError, match="unknown delegate 'npu'; known: cpu, gpu, nnapi"):
        AndroidOptions(delegate="npu")  # type: ignore[arg-type]


def test_a_build_that_ignores_threads_is_refused(
    adbd: Adbd, make_device: MakeDevice, tmp_path: Path
) -> None:
    """CompiledModel builds before `gpu_low_priority` read --num_threads and drop it."""
    script = tmp_path / "old.py"
    known = COMPILED.needs - {"gpu_low_priority"}
    script.write_text(f"print('Flags:'); [print(f'\\t--{{n}}=') for n in {sorted(known)}]")
    old = tmp_path / "old"
    old.write_bytes(executable_of(script))
    with pytest.raises(DeviceUnavailableError, match="does not know --gpu_low_priority"):
        make_device(adbd, benchmark_binary=old)
