"""The kernels that ONNX Runtime runs for a model: fusions and layouts are asked, not guessed.

Its optimised graph says how each node is set; the events of one profiled run say which nodes run,
in which order and on what shapes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from profiler.models.inputs import Values
from profiler.models.kernel import Kernel, Shape, Value
from profiler.models.onnx_runtime import OnnxSession
from profiler.models.op_profile import (
    EVENT_SUFFIX,
    MAX_RUNS,
    MIN_RUNS,
    Event,
    op_times_ms,
    profiled_runs,
    run_s,
    shares,
)

if TYPE_CHECKING:
    from onnx import NodeProto

# what says nothing of the work: names of attributes, and values that are an op's defaults
_SILENT = frozenset({"auto_pad", "storage_order", "momentum", "training_mode"})
_SILENT |= {"allowzero", "epsilon", "transA", "alpha", "beta", "channels_last"}
_STANDARD = "ai.onnx"
_REWRITTEN = {"AveragePool": 19}  # from this opset on the runtime has another kernel for it


def onnx_kernels(model: bytes | Path, values: Values) -> tuple[Kernel, ...]:
    """The kernels of one run on `values`, in order of execution, on one thread.

    Raises:
        MeasurementError: the runtime refuses the model or its values.
    """
    (events,), _, kernels = _profiled(model, values, threads=1, runs=1)
    return tuple(kernels[event["name"]] for event in events)


def onnx_kernel_shares(
    model: bytes | Path, values: Values, *, threads: int, max_s: float
) -> tuple[tuple[Kernel, float], ...]:
    """The kernels with their shares of the latency, from profiled runs in about 2 · `max_s`.

    In order of execution; the shares sum to 1. Raises as `onnx_kernels`.
    """
    with closing(OnnxSession(model, threads=threads)) as plain:
        plain.bind(values)
        run_s(plain)  # the first allocates
        runs = min(max(int(max_s / run_s(plain)), MIN_RUNS), MAX_RUNS)
        events, plain_s, kernels = _profiled(model, values, threads=threads, runs=runs, plain=plain)
    found = shares(op_times_ms(events[1:], low), plain_ms=1e3 * low(plain_s[1:]))
    return tuple((kernels[f"{op.name}{EVENT_SUFFIX}"], op.share) for op in found)


def low(values: Sequence[float]) -> float:
    """The lower decile: few runs are undisturbed on a busy machine, but some part of each is."""
    return float(np.quantile(values, 0.1))


def _profiled(
    model: bytes | Path, values: Values, *, threads: int, runs: int,
    plain: OnnxSession | None = None,
) -> tuple[list[list[Event]], list[float], dict[str, Kernel]]:  # fmt: skip
    """As `profiled_runs`, and the kernel of each event's name."""
    import onnx

    weights_in = model.parent if isinstance(model, Path) else None
    with TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        of_runs, plain_s = profiled_runs(
            _named(model), values, threads=threads, runs=runs, plain=plain,
            optimised=optimised, weights_in=weights_in,
        )  # fmt: skip
        proto = onnx.load(str(optimised), load_external_data=False)
    (opset,) = (one.version for one in proto.opset_import if one.domain in ("", _STANDARD))
    nodes = {node.name: node for node in proto.graph.node}
    constants = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    kernels = {event["name"]: _kernel(event, nodes, constants, opset) for event in of_runs[-1]}
    return of_runs, plain_s, kernels


def _named(model: bytes | Path) -> bytes | Path:
    """The model with a name for each node: events of others have one that the graph lacks."""
    import onnx

    proto = (
        onnx.load(str(model), load_external_data=False)
        if isinstance(model, Path)
        else onnx.load_from_string(model)
    )
    taken = {node.name for node in proto.graph.node}
    if "" not in taken:
        return model
    free = (name for i in count() if (name := f"node{i}") not in taken)
    for node in proto.graph.node:
        node.name = node.name or next(free)
    named: bytes = proto.SerializeToString()
    return named


def _kernel(
    event: Mapping[str, Any],
    nodes: Mapping[str, NodeProto],
    constants: Mapping[str, Shape],
    opset: int,
) -> Kernel:
    """Functions are taken apart after the graph was written: their nodes have an event only."""
    arguments = event["args"]
    shapes, outputs = (_shapes(arguments[f"{end}_type_shape"]) for end in ("input", "output"))
    node = nodes.get(event["name"].removesuffix(EVENT_SUFFIX))
    if node is None:
        return Kernel(arguments["op_name"], shapes, (), outputs)
    inputs, left = [], deque(shapes)
    for name in filter(None, node.input):
        if name not in constants:
            inputs.append(left.popleft())
        elif left and left[0] == constants[name]:  # else packed, which the profile leaves out
            left.popleft()
    weights = tuple(constants[name] for name in node.input if name in constants)
    settings = _settings(node)
    since = _REWRITTEN.get(node.op_type)
    if since is not None and not node.domain and opset >= since:
        settings = tuple(sorted((*settings, ("opset", since))))
    return Kernel(_kind(node), tuple(inputs), weights, outputs, settings)


def _shapes(described: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Shape, ...]:
    """Of the profile's [{element type: sizes}, ...]."""
    return tuple(tuple(sizes) for one in described for sizes in one.values())


def _kind(node: NodeProto) -> str:
    """``nchwc.Conv``, ``QuickGelu``, ``Gemm``: the last part of a domain other than ONNX's."""
    domain = node.domain.removeprefix("com.microsoft").removeprefix(".")
    return f"{domain}.{node.op_type}" if domain and domain != _STANDARD else node.op_type


def _settings(node: NodeProto) -> tuple[tuple[str, Value], ...]:
    from onnx import helper

    found: dict[str, Value] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, list):
            value = tuple(value)
        if attribute.name not in _SILENT and isinstance(value, int | float | str | tuple):
            found[attribute.name] = value
    defaults = {"strides": 1, "dilations": 1, "pads": 0, "group": 1, "ceil_mode": 0}
    return tuple(
        (name, value)
        for name, value in sorted(found.items())
        if name not in defaults or set(_as_tuple(value)) != {defaults[name]}
    )


def _as_tuple(value: Value) -> tuple[int | float | str, ...]:
    return value if isinstance(value, tuple) else (value,)
