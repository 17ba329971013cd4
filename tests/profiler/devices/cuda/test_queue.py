"""TorchQueue on a simulated torch.cuda: streams, pools, the current device, errors."""

from __future__ import annotations

import pytest
import torch

from profiler.devices.cuda import queue as cuda_queue
from profiler.devices.cuda.queue import TorchQueue, as_ours, describe_gpu
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from tests.profiler.devices.cuda.simulated_torch import Cuda, SimulatedTorch

LOST = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors")


@pytest.fixture
def cuda(monkeypatch):
    simulated = Cuda()
    fake = SimulatedTorch(simulated)
    monkeypatch.setattr(simulated, "torch", fake, raising=False)
    monkeypatch.setattr(cuda_queue, "usable_torch", lambda: fake)
    return simulated


def opened(index=0, precision="float32"):
    return TorchQueue(index, precision=precision, channels_last=False)


@pytest.fixture
def queue(cuda):
    queue = opened()
    yield queue
    queue.close()


def nothing():
    return None


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
        ("CUDA error: out of memory", "out_of_memory"),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "out_of_memory",
        ),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "out_of_memory"),
        (
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "out_of_memory",
        ),
        ("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`", "run_failed"),
        ("CUDA error: operation not permitted when stream is capturing", "run_failed"),
        ("CUDA error: operation failed due to a previous error during capture", "run_failed"),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", "run_failed"),
    ],
)
def test_errors_that_leave_the_gpu_usable_end_one_workload(message, reason):
    ours = as_ours(RuntimeError(f"{message}\nmore"), "net")
    assert isinstance(ours, MeasurementError)
    assert ours.reason == reason
    assert message in str(ours)
    assert "more" not in str(ours)


def test_lack_of_memory_is_known_to_torches_without_a_general_error_of_it(monkeypatch):
    error = torch.cuda.OutOfMemoryError("HIP is full")
    monkeypatch.delattr(torch, "OutOfMemoryError")  # as in 2.4
    ours = as_ours(error, "net")
    assert isinstance(ours, MeasurementError) and ours.reason == "out_of_memory"


def test_an_error_of_cuda_itself_loses_the_gpu():
    assert isinstance(as_ours(LOST, "net"), DeviceUnavailableError)


def test_closing_does_not_hide_why_the_gpu_is_lost(cuda):
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.benchmark
    cudnn.benchmark = True
    queue = opened()
    cuda.errors = {"synchronize": LOST, "empty_cache": LOST}
    try:
        with pytest.raises(DeviceUnavailableError, match="illegal memory access"):
            try:
                queue.synchronize()
            finally:
                queue.release()
                queue.close()
        assert cudnn.benchmark  # restored all the same
    finally:
        cudnn.benchmark = before


@pytest.mark.parametrize("name", ["Event", "record", "elapsed_time", "empty", "synchronize"])
def test_every_call_reports_a_lost_gpu(cuda, queue, name):
    def one_of_each():
        queue.flush_l2()
        start, end = queue.event(), queue.event()
        start.record()
        end.record()
        queue.synchronize()
        return start.elapsed_ms(end)

    cuda.errors = {name: LOST}
    with pytest.raises(DeviceUnavailableError, match="illegal memory access"):
        one_of_each()
    cuda.errors = {}
    assert one_of_each() == 1.5


def test_a_flush_that_does_not_fit_is_lack_of_memory(cuda, queue):
    cuda.errors = {"empty": torch.cuda.OutOfMemoryError("CUDA out of memory.")}
    with pytest.raises(MeasurementError, match="flush of the L2 cache does not fit"):
        queue.flush_l2()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"),
        RuntimeError("CUDA error: out of memory\nmore"),
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily\nmore"),
    ],
    ids=["exclusive", "full", "deferred"],
)
def test_a_gpu_that_gives_no_context_is_unavailable(cuda, error):
    cuda.errors = {"synchronize": error}
    before = torch.backends.cudnn.benchmark
    with pytest.raises(DeviceUnavailableError, match="GPU 1 cannot be opened: CUDA ") as info:
        opened(1)
    assert info.value.exit_code == 4
    assert "more" not in str(info.value)
    assert torch.backends.cudnn.benchmark == before


def test_a_cudnn_that_refuses_a_gpu_makes_it_unavailable(cuda, monkeypatch):
    def refuses():
        raise RuntimeError("cuDNN version 91100 is not compatible with devices with SM < 7.5.")

    monkeypatch.setattr(torch.backends.cudnn, "version", refuses)
    with pytest.raises(DeviceUnavailableError, match=r"torch 2.13 cannot use GPU 0: cuDNN version"):
        describe_gpu(0)


# --- graphs ---------------------------------------------------------------------------


def test_all_graphs_share_one_pool_on_one_stream(cuda, queue):
    replays = [queue.capture(nothing, runs) for runs in (1, 5, 9)]
    assert len(cuda.pools) == 4  # and the anchor's
    assert len(set(cuda.pools)) == len(set(cuda.capture_streams)) == 1
    assert cuda.use_counts[cuda.pools[0]] == 4
    for replay in replays:
        replay()


def test_the_pool_outlives_its_graphs_until_the_queue_is_closed(cuda):
    queue = opened()
    queue.capture(nothing, 1)  # and nobody keeps it
    queue.release()
    queue.capture(nothing, 1)
    assert cuda.use_counts[cuda.pools[0]] == 1
    queue.close()
    assert cuda.use_counts[cuda.pools[0]] == 0


@pytest.mark.parametrize("in_run", [True, False])
def test_after_a_capture_that_failed_others_succeed(cuda, queue, in_run):
    """The end of a capture fails as well when a run in it did; the run's error says why."""
    kept = queue.capture(nothing, 1)
    before = cuda.current_stream()
    n_runs = 0

    def fails_while_captured():
        nonlocal n_runs
        n_runs += 1
        if n_runs > cuda_queue.WARM_RUNS and in_run:
            raise MeasurementError("does not fit", reason="out_of_memory")

    cuda.errors = {
        "capture_end": RuntimeError("CUDA error: operation failed due to a previous error")
        if in_run
        else RuntimeError("CUDA error: capture was not ended in the same stream as it began")
    }
    with pytest.raises(MeasurementError) as info:
        queue.capture(fails_while_captured, 2)
    assert info.value.reason == ("out_of_memory" if in_run else "run_failed")
    assert cuda.current_stream() is before
    cuda.errors = {}
    queue.capture(nothing, 3)
    assert cuda.pools[-1] is not cuda.pools[0]
    assert cuda.current_stream() is before
    kept()


def test_a_run_that_fails_in_a_capture_that_ends_well_is_reported(cuda, queue):
    def fails():
        raise MeasurementError("does not run", reason="run_failed")

    with pytest.raises(MeasurementError, match="does not run"):
        queue.capture(fails, 1)
    queue.capture(nothing, 1)


def test_a_flush_writes_twice_at_least_256_mb(cuda, queue):
    queue.flush_l2()
    ((n_bytes, device, buffer),) = cuda.torch.buffers
    assert n_bytes >= 256e6
    assert (device, buffer.n_writes) == (torch.device("cuda", 0), 2)
    queue.flush_l2()
    assert (len(cuda.torch.buffers), buffer.n_writes) == (1, 4)


# --- several GPUs, and what they can do -----------------------------------------------


def test_two_gpus_of_one_process_do_not_mix(cuda):
    first, second = opened(0), opened(1)
    assert cuda.device_index == 0  # the process's own
    for index, queue in ((0, first), (1, second)):
        queue.capture(nothing, 2)
        assert {stream.device for stream in cuda.capture_streams[-2:]} == {index}
        event = queue.event()
        event.record()
        assert event.event.stream.device == index
        queue.synchronize()
        assert cuda.synchronized[-1] == index
        assert queue.free_mb() == 1000.0 * (index + 1)
    second.close()
    first.close()
    assert cuda.device_index == 0


@pytest.mark.parametrize("capability", [(8, 0), (12, 0)])
def test_tf32_is_measured_since_ampere(cuda, capability):
    cuda.capability = capability
    opened(precision="tf32").close()


def test_older_gpus_do_not_measure_float32_as_tf32(cuda):
    cuda.capability = (7, 5)
    opened(precision="float32").close()
    needs = r"precision tf32 needs compute capability 8.0; Simulated GPU has 7.5"
    with pytest.raises(InvalidInputError, match=needs) as info:
        opened(precision="tf32")
    assert info.value.exit_code == 2


# --- a real GPU -----------------------------------------------------------------------


@pytest.mark.gpu
def test_graphs_can_be_captured_when_all_others_are_gone():
    queue = opened()
    try:
        pixels = torch.zeros(1 << 20, device="cuda:0")
        for runs in (1, 3, 2):
            queue.capture(lambda: pixels.add_(1) * 2, runs)()
            queue.release()
        queue.synchronize()
        assert pixels[0].item() == 1 + 3 + 2 + 3 * cuda_queue.WARM_RUNS
    finally:
        queue.close()
