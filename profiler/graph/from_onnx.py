"""An ONNX file as a graph and its weights.

Opsets 7 and later. What depends on constants only is computed, whichever way the file writes it.
A node that is not understood is named in the error, never guessed or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph, Origin, Weights, listed
from profiler.graph.layers import Shape
from profiler.graph.onnx_nodes import READERS
from profiler.graph.onnx_operator import Operator
from profiler.graph.onnx_tensors import OnnxTensors, attributes_of, is_standard, origin_of
from profiler.graph.onnx_values import evaluated, is_computable, stored_values, weight_inputs
from profiler.system.user_files import read_bytes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

OLDEST_OPSET = 7  # broadcasting as numpy does
# what a file that is damaged inside leads to
DAMAGE = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError)


class WeightedGraph(NamedTuple):
    graph: Graph
    weights: Weights


def read_onnx(
    path: Path,
    *,
    batch_size: int = 1,
    resolution_px: int | None = None,
    shapes: Mapping[str, Shape] = {},
    needs_weights: bool = True,
) -> WeightedGraph:
    """The graph of an ONNX file; data that lie beside it are read, too.

    Where the file leaves axes open, `shapes` gives the shapes of its inputs by name; otherwise
    the first is `batch_size`, and an image's height and width are `resolution_px`. Unless it
    `needs_weights`, those that the file declares without values are NaN.

    Raises:
        InvalidInputError: not an ONNX model, inputs of open shape, weights that are missing, or
            a node that is not understood; each is named.
    """
    model = _read_model(path)
    try:
        return graph_of(
            model,
            batch_size=batch_size,
            resolution_px=resolution_px,
            shapes=shapes,
            needs_weights=needs_weights,
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise InvalidInputError(f"{path} is not a sound ONNX model: {error}") from None


def _read_model(path: Path) -> ModelProto:
    """The file with the data beside it."""
    import onnx
    from google.protobuf.message import DecodeError

    content = read_bytes(path)
    try:
        # from bytes: by path, onnx takes a name's suffix for the format
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise InvalidInputError(f"{path} is not an ONNX model") from None
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except OSError as error:
        raise InvalidInputError(f"cannot read weights of {path}: {error.strerror}") from None
    except (onnx.checker.ValidationError, ValueError) as error:
        raise InvalidInputError(f"cannot read weights of {path}: {error}") from None
    return model


def graph_of(
    model: ModelProto,
    *,
    batch_size: int = 1,
    resolution_px: int | None = None,
    shapes: Mapping[str, Shape] = {},
    needs_weights: bool = True,
) -> WeightedGraph:
    """The graph of a model, as `read_onnx`."""
    from onnx import helper

    model = _without_functions(model)
    constants = stored_values(model.graph, needs_weights=needs_weights)
    if not needs_weights:
        constants |= weight_inputs(model.graph)
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    if not inputs or not outputs:
        raise InvalidInputError(f"{len(inputs)} inputs and {len(outputs)} outputs")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InvalidInputError(f"opset {opset}; {OLDEST_OPSET} and later are understood")
    _check_made_once(model.graph, {*constants, *(value.name for value in inputs)})
    tensors = OnnxTensors(opset)
    tensors.constants.update(constants)
    for value in inputs:
        shape = shapes.get(value.name) or _input_shape(value, batch_size, resolution_px)
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        tensors.add_input(value.name, shape, dtype.name)
    _read_nodes(_needed_for(outputs, model.graph.node), tensors)
    return WeightedGraph(tensors.graph(outputs), tensors.weights)


def _without_functions(model: ModelProto) -> ModelProto:
    """With the file's own functions in the place of their calls."""
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model) if model.functions else model
    except Exception as error:  # onnx raises unrelated classes of its own
        raise InvalidInputError(f"its functions are not understood: {error}") from None


def _input_shape(value: ValueInfoProto, batch_size: int, resolution_px: int | None) -> Shape:
    # some writers put -1 where an axis is open
    dims = [max(0, dim.dim_value) for dim in value.type.tensor_type.shape.dim]
    known = [batch_size, 0, *[resolution_px or 0] * 2] if len(dims) == 4 else [batch_size]
    dims = [dim or instead for dim, instead in zip_longest(dims, known[: len(dims)], fillvalue=0)]
    if not dims or not all(dims):
        is_image = len(dims) == 4 and dims[1] > 0
        expected = "; expected a batch of images of fixed size, or --resolution" if is_image else ""
        raise InvalidInputError(f"input {value.name!r} has open axes: shape {dims}{expected}")
    return tuple(dims)


def _check_made_once(graph: GraphProto, given: set[str]) -> None:
    """Refuse a node whose output is there already: its own input, say."""
    made = set(given)
    for node in graph.node:
        for name in filter(None, node.output):
            if name in made:
                raise InvalidInputError(f"{origin_of(node)} makes {name!r}, which there is already")
            made.add(name)


def _needed_for(outputs: Iterable[str], nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes that an output depends on; runtimes drop the others."""
    wanted, needed = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            needed.append(node)
            wanted.update(node.input)
    return needed[::-1]


def _read_nodes(nodes: Iterable[NodeProto], tensors: OnnxTensors) -> None:
    unknown: list[Origin] = []
    lost: set[str] = set()  # tensors that come after an unknown node
    for node in nodes:
        absent = {name for name in node.input if name and not tensors.is_known(name)}
        if absent - lost:
            raise InvalidInputError(f"{origin_of(node)} reads a tensor that nothing makes")
        known = READERS.get(node.op_type) if is_standard(node) else None
        if absent:
            lost.update(node.output)
        elif node.op_type == "Shape" and node.input[0] in tensors.made:
            shape, window = tensors.made[node.input[0]].shape, attributes_of(node)
            kept = shape[window.get("start", 0) : window.get("end")]
            tensors.constants[node.output[0]] = np.array(kept, np.int64)
        elif is_computable(node, tensors):
            tensors.constants.update(zip(node.output, evaluated(node, tensors), strict=True))
        elif known is not None:
            _read_node(known, node, tensors)
        else:
            unknown.append(origin_of(node))
            lost.update(node.output)
    if unknown:
        raise InvalidInputError(f"ops that are not known: {listed(unknown)}")


def _read_node(reader: Callable[[Operator], None], node: NodeProto, tensors: OnnxTensors) -> None:
    try:
        reader(Operator(tensors, node))
    except DAMAGE as error:
        raise InvalidInputError(f"{origin_of(node)} is damaged: {error}") from None
