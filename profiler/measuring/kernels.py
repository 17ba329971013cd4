"""Single kernels, chains of them and whole networks, measured by the same sweep as any op.

Each is a little model file of its own. What the runtime made of it is asked afterwards, since a
layer alone is seldom a kernel alone: layouts change at its edges, activations are fused.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from profiler.devices.base import Device, ModelWorkload
from profiler.devices.registry import backend_of, open_for_models
from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph
from profiler.graph.to_onnx import LATEST_OPSET, OPSET, export_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.graph.weights import random_weights
from profiler.measuring.campaign import AnyWorkload, Campaign, Doubts, ProfileRequest, profile_on
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.task import Role, make_task
from profiler.models.file import ModelFile, ModelFormat, RunnableModel, read_model_file, runnable
from profiler.models.inputs import ModelInput
from profiler.models.kernels import kernel_shares, kernels_of
from profiler.spaces.chains import chains
from profiler.spaces.families import family_networks
from profiler.spaces.kernels import KernelSpace
from profiler.system.processor import vector_instructions
from profiler.tables.table import LatencyTable
from profiler.terminal import SILENT, Terminal

OP_CAP_S, NETWORK_CAP_S = 0.4, 1.2  # of samples: the rest of the minutes is loading and profiling
MIN_BLOCKS = 20
DRAWN_PER_DOUBTED = 5


@dataclass(frozen=True, slots=True, eq=False)
class KernelWorkload(ModelWorkload):
    """A model file that is a single kernel or a network of ours, by its name."""

    name: str
    role: Role

    @property
    def key(self) -> str:
        return self.name

    @property
    def is_network(self) -> bool:
        return self.role is Role.NETWORK


def within_minutes(protocol: MeasuringProtocol) -> MeasuringProtocol:
    """A protocol of many configurations, each with little time: what one lacks in certainty its
    neighbours have."""
    stopping = replace(
        protocol.stopping, min_blocks=MIN_BLOCKS, check_every=MIN_BLOCKS,
        op_cap_s=OP_CAP_S, network_cap_s=NETWORK_CAP_S,
    )  # fmt: skip
    return replace(protocol, name=f"{protocol.name}, many kernels", launches=1, stopping=stopping)


def profile_kernels(request: ProfileRequest, terminal: Terminal = SILENT) -> Path:
    """Measure the kernels that the request's minutes allow; the table's path.

    Raises:
        InvalidInputError: a device that runs no model files, or a precision other than float32.
        DeviceUnavailableError, MeasurementError, KeyboardInterrupt: as `profile_device`.
    """
    backend = backend_of(request.spec)
    if not backend.model_formats:
        raise InvalidInputError(f"device {request.spec} runs no model files, so no kernels")
    if request.precision != "float32" or request.fleet is not None:
        raise InvalidInputError("kernels are measured in float32 and not on a fleet")
    request = replace(request, protocol=within_minutes(request.protocol))
    settings = {"threads": request.threads, "batch_size": request.batch_size}
    with (
        open_for_models(request.spec, **settings, **request.device_options) as device,
        TemporaryDirectory() as folder,
    ):
        model_format = ModelFormat(backend.model_formats[0])
        campaign = partial(KernelCampaign, folder=Path(folder), model_format=model_format)
        return profile_on(device, request, terminal, campaign)


class KernelCampaign(Campaign):
    """The sweep of one request, and what ran in it.

    Args:
        folder: where the model files go.
        model_format: that the device runs.
    """

    goes_on_unconverged = False  # each has the little time that the minutes leave it

    def __init__(
        self, request: ProfileRequest, device: Device, journal: Journal, terminal: Terminal,
        *, folder: Path, model_format: ModelFormat,
    ) -> None:  # fmt: skip
        super().__init__(request, device, journal, terminal)
        self._folder, self._format = folder, model_format
        self._space = cast(KernelSpace, request.space)
        self._singles = self._space.kernels(request.seed, request.batch_size)
        self._written: dict[str, KernelWorkload] = {}

    def run(self) -> LatencyTable:
        table = self._with_kernels(super().run())
        doubts = self._request.doubts
        if doubts is None:
            return table
        self._write_doubted(doubts, table)
        return self._with_kernels(super().run())

    def _with_kernels(self, table: LatencyTable) -> LatencyTable:
        """The table with what ran in each model, and where."""
        measured = [*table.ops, *(network.arch for network in table.networks)]
        known = self._journal.kernels(self._epoch)
        new = [name for name in measured if name not in known]
        with self._terminal.progress("what ran in each", len(new)) as progress:
            for name in new:
                ran = kernel_shares(self._written[name].model, threads=self._request.threads)
                known[name] = tuple((kernel.key, share) for kernel, share in ran)
                self._journal.set_kernels(self._epoch, name, known[name])
                progress.advance()
        return table.model_copy(
            update={
                "kernels": {name: known[name] for name in measured},
                "protocol": table.protocol | {"vector_instructions": vector_instructions()},
            }
        )

    def _write_doubted(self, doubts: Doubts, table: LatencyTable) -> None:
        """Further kernels: of every few that are drawn, the one that is doubted most, or that was
        measured before an interruption."""
        drawn = list(islice(self._singles, DRAWN_PER_DOUBTED * self._space.n_doubted))
        path, done = self._folder / f"asked{self._format}", self._journal.outcomes()
        kernels, measured = [], []
        for name, graph in drawn:
            workload = self._workload(Role.OP, name, graph, path)
            task = make_task(workload, workload.role, self._device.info, self._protocol)
            kernels.append([kernel.key for kernel in kernels_of(workload.model)])
            measured.append(task.key in done)
        rank = list(zip(measured, doubts(table, kernels), strict=True))
        for first in range(0, len(drawn), DRAWN_PER_DOUBTED):
            best = max(range(first, first + DRAWN_PER_DOUBTED), key=rank.__getitem__)
            self._write(Role.OP, *drawn[best])

    def _workloads(self) -> list[tuple[AnyWorkload, Role]]:
        if not self._written:
            self._write_first()
        return [(workload, workload.role) for workload in self._written.values()]

    def _write_first(self) -> None:
        request, space = self._request, self._space
        seed, batch = request.seed, request.batch_size
        count = space.n_networks if request.n_networks is None else request.n_networks
        n_drawn = space.n_kernels - (space.n_doubted if request.doubts else 0)
        drawn = [
            *((Role.OP, *one) for one in islice(self._singles, n_drawn)),
            *((Role.NETWORK, *one) for one in islice(chains(seed, batch), space.n_chains)),
            *((Role.NETWORK, *one) for one in islice(family_networks(seed, batch), count)),
        ]
        for one in drawn:
            self._write(*one)

    def _write(self, role: Role, name: str, graph: Graph) -> None:
        path = self._folder / f"{len(self._written)}{self._format}"
        self._written[name] = self._workload(role, name, graph, path)

    def _workload(self, role: Role, name: str, graph: Graph, path: Path) -> KernelWorkload:
        model = written_model(graph, name, path)
        return KernelWorkload(model, self._request.threads, 0, name, role)


def written_model(graph: Graph, name: str, path: Path) -> RunnableModel:
    """A graph as a model file; its name seeds the weights and the inputs.

    About each other ONNX file is in a later opset, in which the runtime runs some ops
    (AveragePool) by other kernels.
    """
    seed, model_format = zlib.crc32(name.encode()), ModelFormat(path.suffix)
    weights = random_weights(graph, np.random.default_rng(seed))
    onnx = model_format is ModelFormat.ONNX
    if onnx:
        content = export_onnx(graph, weights, opset=(OPSET, LATEST_OPSET)[seed % 2])
    else:
        content = export_tflite(graph, weights)
    path.write_bytes(content)
    if onnx:  # which the runtime would say, too, and take as long as for loading
        inputs = tuple(ModelInput(one.name, one.dtype, one.shape) for one in graph.inputs)
        sha256 = hashlib.sha256(content).hexdigest()
        file = ModelFile(path, model_format, sha256, len(content), inputs)
    else:
        file = read_model_file(path)
    return runnable(file, shapes={}, arrays={}, seed=seed)
