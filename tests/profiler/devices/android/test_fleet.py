"""A fleet: two phones offered by two nodes of a real, local Ray cluster; one node is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profiler.devices import fleet
from profiler.devices.base import Workload
from profiler.devices.fleet import DeviceHost, Failure, FleetDevice, connect
from profiler.devices.simulated.fake import FakeDevice
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.measuring.campaign import ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.several_devices import profile_devices
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.lock import HOST_CPU, device_lock
from profiler.terminal import Terminal
from profiler.testing import DeviceConformance
from tests.adb_server import AdbServer
from tests.adbd import Adbd
from tests.profiler.devices.android.conftest import FAST
from tests.profiler.devices.android.test_sweep import OPS, latencies_ms, sweep

pytestmark = pytest.mark.slow

PROMPT_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without devices."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": PROMPT_HEALTH_CHECKS}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of ray's own sockets and files
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_a_lost_node_loses_nothing(
    cluster: Any,
    make_phone: Callable[[], Adbd],
    server: AdbServer,
    binary: Path,
    tmp_path: Path,
) -> None:
    phones = [make_phone(), make_phone()]
    specs = [f"adb://127.0.0.1:{server.port}/{adbd.serial}" for adbd in phones]
    nodes = [cluster.add_node(num_cpus=1, resources={spec: 1}) for spec in specs]
    measured = threading.Event()
    results: dict[str, dict[str, list[float]]] = {}

    def measure(spec: str, adbd: Adbd) -> None:
        with (
            FleetDevice(cluster.address, spec, benchmark_binary=binary, timing=FAST) as device,
            Journal(tmp_path / f"{adbd.serial}.sqlite") as journal,
        ):
            device.prepare(Workload(OPS[0].key, (OPS[0],))).sample_ms(1)
            measured.set()
            results[spec] = latencies_ms(journal, sweep(device, journal))

    with pytest.raises(DeviceUnavailableError, match=f"offered: .*{specs[0]}.*ray start"):
        FleetDevice(cluster.address, "adb:ABSENT", benchmark_binary=binary)
    threads = [
        threading.Thread(target=measure, args=pair) for pair in zip(specs, phones, strict=True)
    ]
    threads[1].start()
    measured.wait(60)
    threads[0].start()
    cluster.remove_node(nodes[1], allow_graceful=False)
    cluster.add_node(num_cpus=1, resources={specs[1]: 1})
    for thread in threads:
        thread.join(100)
    assert set(results) == set(specs)
    for values in results.values():
        assert [len(samples) for samples in values.values()] == [1] * len(OPS)
        assert all(0 < samples[0] < 1000 for samples in values.values())


def test_errors_of_a_device_cross_as_values() -> None:
    failure = Failure.of(MeasurementError("cut", reason="garbled_output", transient=True))
    with pytest.raises(MeasurementError) as caught:
        failure.raise_()
    assert (str(caught.value), caught.value.reason, caught.value.transient) == (
        "cut",
        "garbled_output",
        True,
    )
    with pytest.raises(DeviceUnavailableError, match="gone"):
        Failure.of(DeviceUnavailableError("gone")).raise_()


def test_a_device_of_the_fleet_is_locked_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On its own computer nothing else may measure on it, and here its processor is no matter."""
    import ray

    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))
    first_start = SimpleNamespace(was_current_actor_reconstructed=False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: first_start)
    host = DeviceHost("cpu", {})
    with device_lock(HOST_CPU):
        refused = host.describe()
    assert isinstance(refused, Failure)
    assert "is at work on host cpu" in refused.message
    described = host.describe()
    assert not isinstance(described, Failure)
    with pytest.raises(DeviceUnavailableError, match="host cpu"), device_lock(HOST_CPU):
        pass
    assert not isinstance(host.close(), Failure)
    with device_lock(HOST_CPU):
        pass


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray's calls as plain ones: the host lives in this process."""
    import ray

    class Method:
        def __init__(self, function: Callable[..., object]) -> None:
            self.remote = function

    class Actor:
        def __init__(self, *arguments: Any) -> None:
            self._host = DeviceHost(*arguments)

        def __getattr__(self, name: str) -> Method:
            return Method(getattr(self._host, name))

    class Remote:
        def __init__(self, _: object) -> None:
            self.remote = Actor

        def options(self, **_: object) -> Remote:
            return self

    local = SimpleNamespace(
        remote=Remote, get=lambda answer, timeout: answer, kill=lambda host: None,
        cluster_resources=lambda: {"fake": 1.0}, exceptions=ray.exceptions,
    )  # fmt: skip
    first_start = SimpleNamespace(was_current_actor_reconstructed=False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: first_start)
    monkeypatch.setattr(fleet, "connect", lambda address: local)
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))


@pytest.mark.usefixtures("in_process")
class TestFleet(DeviceConformance):
    def open(self) -> FleetDevice:
        return FleetDevice("auto", "fake")


@pytest.mark.usefixtures("in_process")
def test_every_prepare_is_a_model_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden repeats and copies of a canary are the same workload, loaded more than once."""
    prepared: list[SimpleNamespace] = []
    closed: list[SimpleNamespace] = []
    prepare = FakeDevice.prepare

    def counted(device: FakeDevice, workload: Workload) -> object:
        one = SimpleNamespace(sample_ms=prepare(device, workload).sample_ms)
        one.close = lambda: closed.append(one)
        prepared.append(one)
        return one

    monkeypatch.setattr(FakeDevice, "prepare", counted)
    workload = Workload(OPS[0].key, (OPS[0],))
    with FleetDevice("auto", "fake") as device:
        handles = [device.prepare(workload) for _ in range(4)]
        assert len(prepared) == 4
        handles[1].close()
        handles[1].close()
        assert closed == [prepared[1]]
        assert all(handles[i].sample_ms(1) > 0 for i in (0, 2, 3))
    assert len(prepared) == 4


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("found_there", "refused"),
    [
        (lambda: FakeDevice(0), ""),  # the same device, from another node or after a crash
        (lambda: FakeDevice(1), "is now fake 1, was fake 0"),
        (lambda: FakeDevice(0, boot_id="b2"), "is of another boot or runtime"),
        (lambda: FakeDevice(0, runtime_version="2"), "is of another boot or runtime"),
    ],
)
def test_another_machine_does_not_go_on_in_the_same_table(
    monkeypatch: pytest.MonkeyPatch, found_there: Callable[[], FakeDevice], refused: str
) -> None:
    """Ray starts the host again on any node that offers the device: of `cpu` on another machine."""
    workload = Workload(OPS[0].key, (OPS[0],))
    expected = pytest.raises(DeviceUnavailableError) if refused else nullcontext()
    with expected as caught, FleetDevice("auto", "fake") as device:
        prepared = device.prepare(workload)
        assert prepared.sample_ms(1) > 0
        monkeypatch.setattr(fleet, "open_device", lambda spec, **options: found_there())
        device._host._host = DeviceHost("fake", {})
        assert prepared.sample_ms(1) > 0
    if caught is not None:
        assert str(caught.value) == (
            f"fake of the fleet {refused}: what it measures from now on is another epoch; go on "
            "with --resume"
        )
    with FleetDevice("auto", "fake") as device:  # the next run, with what is there now
        assert device.prepare(workload).sample_ms(1) > 0


@pytest.mark.usefixtures("in_process")
def test_one_process_of_this_computer_at_a_time() -> None:
    with (
        FleetDevice("auto", "fake"),
        pytest.raises(DeviceUnavailableError, match="is at work on fleet auto fake"),
    ):
        FleetDevice("auto", "fake")
    with FleetDevice("auto", "fake"):
        pass


@pytest.mark.usefixtures("in_process")
def test_files_that_options_name_are_sent_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, seen = tmp_path / "benchmark_model", []

    def opened(spec: str, **options: Any) -> FakeDevice:
        seen.append((options["benchmark_binary"].read_bytes(), options["threads"]))
        assert options["benchmark_binary"] != program
        return FakeDevice()

    monkeypatch.setattr(fleet, "open_device", opened)
    program.write_bytes(b"an ELF file")
    with FleetDevice("auto", "fake", benchmark_binary=program, threads=2):
        assert seen == [(b"an ELF file", 2)]


@pytest.mark.usefixtures("in_process")
def test_free_memory_is_that_of_its_own_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeDevice, "free_memory_mb", lambda device: 42.0)
    with FleetDevice("auto", "fake") as device:
        assert device.free_memory_mb() == 42.0


def test_sigterm_interrupts_also_once_a_cluster_was_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray makes an exit of it, with a code of its own."""
    import ray

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def joined(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))

    monkeypatch.setattr(ray, "init", joined)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        connect("auto")
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_cluster_there() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(DeviceUnavailableError, match="no Ray cluster at"):
            FleetDevice(address, "cpu")
    for address in ("127.0.0.1:port", "127.0.0.1", ""):
        with pytest.raises(InvalidInputError, match="is not HOST:PORT or auto"):
            FleetDevice(address, "cpu")


def test_a_failing_phone_does_not_stop_the_others(
    make_phone: Callable[[], Adbd],
    binary: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two phones side by side in processes of their own, then a device of this computer."""
    locked, full = make_phone(), make_phone()
    locked.state = "unauthorized"
    locked.drop()
    full.phone.set_free_kib(1000)
    table = tmp_path / "fake.json"
    requests = [
        ProfileRequest(
            spec, MobileNetV3Space(), tmp_path / f"{index}.json", n_networks=0,
            device_options={"benchmark_binary": binary},
        )
        for index, spec in enumerate([f"adb:{locked.serial}", f"adb:{full.serial}"])
    ] + [ProfileRequest("fake", MobileNetV3Space(), table, n_networks=0)]  # fmt: skip
    profiled = profile_devices(requests, Terminal())
    assert profiled.tables == (table,)
    assert isinstance(profiled.failure, DeviceUnavailableError)
    assert "accept the USB debugging prompt" in str(profiled.failure)
    assert "less than 1 GiB free" in capfd.readouterr().err


class Deadly:
    """Ends the process that it is sent to, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (9,)


def test_a_process_that_is_killed_does_not_stop_the_others(
    make_phone: Callable[[], Adbd], binary: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    full, table = make_phone(), tmp_path / "fake.json"
    full.phone.set_free_kib(1000)
    requests = [
        ProfileRequest(
            f"adb:{full.serial}", MobileNetV3Space(), tmp_path / f"{index}.json", n_networks=0,
            device_options={"benchmark_binary": sent},
        )
        for index, sent in enumerate((Deadly(), binary))
    ] + [ProfileRequest("fake", MobileNetV3Space(), table, n_networks=0)]  # fmt: skip
    profiled = profile_devices(requests, Terminal())
    assert profiled.tables == (table,)
    assert isinstance(profiled.failure, MeasurementError)
    assert f"the process that measured adb:{full.serial} was killed" in str(profiled.failure)
    assert "less than 1 GiB free" in capfd.readouterr().err
