"""Backends as records: found, chosen by a spec, opened, listed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import pytest

from profiler.devices import registry
from profiler.devices.backend import Backend, DeviceStatus
from profiler.devices.discovery import discover_all
from profiler.devices.registry import backend_named, backend_of, backends, open_device
from profiler.devices.simulated.backend import FAKE
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.measuring.protocol import protocol_of

READY = DeviceStatus("ours", "this CPU", "ours 2", True)


@dataclass(frozen=True)
class OurOptions:
    seed: int = 3


OURS = Backend(
    name="ours",
    forms=("ours",),
    open=lambda spec, settings, options: FakeDevice(options.seed, threads=settings.threads),
    options=OurOptions,
    discover=lambda: [READY],
)


def not_asked():
    raise DeviceUnavailableError("no server")


def without_sdk():
    raise ModuleNotFoundError("No module named 'sdk'", name="sdk")


ASLEEP = replace(OURS, name="asleep", discover=not_asked)
BARE = replace(OURS, name="bare", open=lambda *_: without_sdk(), discover=without_sdk)
NOTHING = "no record"


@pytest.fixture
def register(monkeypatch):
    """Only the named records of this module, by entry points."""

    def registered(**targets):
        points = [EntryPoint(name, target, registry.GROUP) for name, target in targets.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        backends.cache_clear()

    yield registered
    backends.cache_clear()


def test_our_own_are_registered_as_a_plugin_is():
    assert list(backends()) == ["cpu", "cuda", "fake", "replay", "tflite", "adb"]
    assert all(backend.name == name for name, backend in backends().items())
    assert backend_of("fake:7") is FAKE is backend_named("fake")
    assert [name for name, backend in backends().items() if backend.queued] == ["cuda"]
    assert [name for name, backend in backends().items() if not backend.shares_host] == ["adb"]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("cpu", ("full", "quick")),
        ("adb:0123", ("phone", "phone quick")),
        ("cuda:1", ("full", "quick")),
    ],
)
def test_a_backend_names_its_protocols(spec, names):
    backend = backend_of(spec)
    assert tuple(protocol_of(backend, quick=quick).name for quick in (False, True)) == names
    with pytest.raises(InvalidInputError, match="names the protocol 'slow'; known: full, quick"):
        protocol_of(replace(backend, protocols=("slow", "slow")), quick=False)


def test_a_backend_of_another_package_is_opened_and_listed(register):
    register(ours=f"{__name__}:OURS")
    with open_device("ours", threads=2, seed=5) as device:
        assert (device.info.model, device.info.threads) == ("fake 5", 2)
    with open_device("ours") as device:
        assert device.info.model == "fake 3"
    assert discover_all() == [READY]


def test_options_that_a_backend_lacks_are_refused():
    with pytest.raises(InvalidInputError, match="device fake has no option launch"):
        open_device("fake", launch="eager")
    with pytest.raises(InvalidInputError, match="unknown l2 mode 'warm'"):
        open_device("cuda", l2="warm")


def test_a_backend_without_its_sdk_is_listed_not_raised(register):
    register(bare=f"{__name__}:BARE")
    assert discover_all() == [DeviceStatus("bare", "", "", False, "sdk is not installed")]
    with pytest.raises(DeviceUnavailableError, match="bare needs the package sdk, which is not"):
        open_device("bare")


def test_a_backend_that_cannot_be_asked_says_why_and_hides_no_other(register):
    register(asleep=f"{__name__}:ASLEEP", ours=f"{__name__}:OURS")
    assert discover_all() == [DeviceStatus("asleep", "", "", False, "no server"), READY]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_package:OURS", "device broken needs the package no_such_package, which is not"),
        (f"{__name__}:MISSING", "device broken: .*:MISSING is no Backend record"),
        (f"{__name__}:NOTHING", "device broken: .*:NOTHING is no Backend record"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_says_so_and_hides_no_other(register, target, why):
    register(broken=target, ours=f"{__name__}:OURS")
    with pytest.raises(DeviceUnavailableError, match=why):
        open_device("broken:1")
    broken, ours = discover_all()
    assert (broken.spec, broken.measurable, ours) == ("broken", False, READY)


def test_an_installation_without_entry_points_says_what_to_do(register):
    register()
    with pytest.raises(DeviceUnavailableError, match="install pnag again"):
        open_device("cpu")
