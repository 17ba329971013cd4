"""An ONNX file as a graph and its weights.

Opsets 7 and later. What depends on constants only is computed, whichever way the file writes it.
A node that is not understood is named in the error, never guessed or left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph, Weights
from profiler.graph.layers import Shape
from profiler.graph.onnx_nodes import READERS, Operator
from profiler.graph.onnx_tensors import Array, OnnxTensors, attributes_of, describe

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

OLDEST_OPSET = 7  # broadcasting as numpy does


class WeightedGraph(NamedTuple):
    graph: Graph
    weights: Weights


def read_onnx(
    path: Path, *, batch_size: int = 1, shapes: Mapping[str, Shape] = {}
) -> WeightedGraph:
    """The graph of an ONNX file; data that lie beside it are read, too.

    `shapes` gives the shapes of inputs that the file leaves open; an open first axis is
    `batch_size`.

    Raises:
        InvalidInputError: not an ONNX model, inputs of open shape, or a node that is not
            understood; each is named.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        # from bytes: by path, onnx takes a name's suffix for the format
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.load_external_data_for_model(model, str(path.parent))
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from None
    except (DecodeError, onnx.checker.ValidationError):
        raise InvalidInputError(f"{path} is not an ONNX model") from None
    try:
        return graph_of(model, batch_size=batch_size, shapes=shapes)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except (TypeError, ValueError, LookupError) as error:  # of a file that is damaged inside
        raise InvalidInputError(f"{path} is not a sound ONNX model: {error}") from None


def graph_of(
    model: ModelProto, *, batch_size: int = 1, shapes: Mapping[str, Shape] = {}
) -> WeightedGraph:
    """The graph of a model, as `read_onnx`."""
    from onnx import helper, numpy_helper

    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InvalidInputError(f"opset {opset}; {OLDEST_OPSET} and later are understood")
    tensors = OnnxTensors(opset)
    for initializer in model.graph.initializer:
        tensors.constants[initializer.name] = numpy_helper.to_array(initializer)
    for value in model.graph.input:
        if value.name not in tensors.constants:
            shape = shapes.get(value.name) or _input_shape(value, batch_size)
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            tensors.add_input(value.name, shape, dtype.name)
    _read_nodes(model.graph.node, tensors)
    outputs = [value.name for value in model.graph.output]
    if not outputs or not tensors.made:
        raise InvalidInputError(f"{len(tensors.made)} inputs and {len(outputs)} outputs")
    return WeightedGraph(tensors.graph(outputs), tensors.weights)


def _input_shape(value: ValueInfoProto, batch_size: int) -> Shape:
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if dims and not dims[0]:
        dims[0] = batch_size
    if not dims or not all(dims):
        raise InvalidInputError(f"input {value.name!r} has open axes: shape {dims}")
    return tuple(dims)


def _read_nodes(nodes: Iterable[NodeProto], tensors: OnnxTensors) -> None:
    unknown: dict[str, list[str]] = {}
    lost: set[str] = set()  # tensors that come after an unknown node
    for node in nodes:
        absent = {name for name in node.input if name and not tensors.is_known(name)}
        if absent - lost:
            raise InvalidInputError(f"{describe(node)} reads a tensor that nothing makes")
        known = READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if absent:
            lost.update(node.output)
        elif node.op_type == "Shape" and node.input[0] in tensors.made:
            shape, window = tensors.made[node.input[0]].shape, attributes_of(node)
            kept = shape[window.get("start", 0) : window.get("end")]
            tensors.constants[node.output[0]] = np.array(kept, np.int64)
        elif _is_computable(node, tensors):
            tensors.constants.update(zip(node.output, _evaluated(node, tensors), strict=True))
        elif known is not None:
            known(Operator(tensors, node))
        else:
            name = f"{node.domain}.{node.op_type}".lstrip(".")
            unknown.setdefault(name, []).append(node.name or node.output[0])
            lost.update(node.output)
    if unknown:
        named = "; ".join(
            f"{op_type} ({names[0]}{f' and {len(names) - 1} more' if names[1:] else ''})"
            for op_type, names in sorted(unknown.items())
        )
        raise InvalidInputError(f"ops that are not known: {named}")


def _is_computable(node: NodeProto, tensors: OnnxTensors) -> bool:
    """Whether it depends on constants only: not on chance, nor on what lies outside it."""
    has_subgraph = any(attribute.HasField("g") for attribute in node.attribute)
    if has_subgraph or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type.startswith(("Random", "Bernoulli")):
        return False
    return all(name in tensors.constants for name in node.input if name)


def _evaluated(node: NodeProto, tensors: OnnxTensors) -> Sequence[Array]:
    """Outputs of a node of constants, by ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in dict.fromkeys(node.input) if name]
    graph = helper.make_graph(
        [node],
        "constants",
        [helper.make_tensor_value_info(name, 0, None) for name in names],
        [helper.make_tensor_value_info(name, 0, None) for name in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", tensors.opset)])
    values = {name: tensors.constants[name] for name in names}
    return list(ReferenceEvaluator(model).run(None, values))
