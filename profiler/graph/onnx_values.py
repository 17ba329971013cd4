"""Values that an ONNX file holds, in each of the ways that it may, or that follow from those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.onnx_tensors import Array, OnnxTensors, is_standard, origin_of

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto

MAX_COMPUTED = 2**28  # elements; a node of a few numbers may ask for any number of them
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu"}


def stored_values(graph: GraphProto, *, needs_weights: bool) -> dict[str, Array]:
    """Initializers by name; those without data are NaN unless it `needs_weights`.

    Raises:
        InvalidInputError: data that are missing, or do not fit their shape.
    """
    values = {}
    for tensor in graph.initializer:
        is_absent = math.prod(tensor.dims) > 0 and not _has_data(tensor)
        if is_absent and not needs_weights and _is_float(tensor):
            values[tensor.name] = _absent(tuple(tensor.dims), tensor.data_type)
        elif is_absent:
            raise InvalidInputError(f"tensor {tensor.name!r} has no data")
        else:
            values[tensor.name] = _array(tensor)
    for sparse in graph.sparse_initializer:
        values[sparse.values.name] = _dense(sparse)
    return values


def weight_inputs(graph: GraphProto) -> dict[str, Array]:
    """NaN for inputs that are weights, as exporters write networks without their values."""
    aliases: dict[str, str] = {}
    weights, others = set(), set()
    for node in graph.node:
        names = [aliases.get(name, name) for name in node.input]
        if node.op_type == "Identity":
            aliases[node.output[0]] = names[0]
        elif node.op_type in WEIGHTED:
            others.add(names[0])
            weights.update(names[1:])
        else:
            others.update(names)
    found = {}
    for value in graph.input:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        if value.name in weights - others and min(shape, default=0) > 0:
            found[value.name] = _absent(shape, kind.elem_type)
    return found


def is_computable(node: NodeProto, tensors: OnnxTensors) -> bool:
    """Whether it depends on constants only: not on chance, nor on what lies outside it."""
    has_subgraph = any(attribute.HasField("g") for attribute in node.attribute)
    if has_subgraph or not is_standard(node):
        return False
    if node.op_type.startswith(("Random", "Bernoulli")):
        return False
    return all(name in tensors.constants for name in node.input if name)


def evaluated(node: NodeProto, tensors: OnnxTensors) -> Sequence[Array]:
    """Outputs of a node of constants, by ONNX's reference implementation.

    Raises:
        InvalidInputError: it cannot be computed, or has too many elements.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Constant" and node.attribute[0].HasField("sparse_tensor"):
        return [_dense(node.attribute[0].sparse_tensor)]
    names = [name for name in dict.fromkeys(node.input) if name]
    values = {name: tensors.constants[name] for name in names}
    if _n_asked_for(node, [values[name] for name in node.input if name]) > MAX_COMPUTED:
        raise InvalidInputError(f"{origin_of(node)}: more than {MAX_COMPUTED} elements")
    graph = helper.make_graph(
        [node],
        "constants",
        [helper.make_tensor_value_info(name, 0, None) for name in names],
        [helper.make_tensor_value_info(name, 0, None) for name in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", tensors.opset)])
    try:
        with np.errstate(all="ignore"):
            return list(ReferenceEvaluator(model).run(None, values))
    except Exception as error:  # the implementation raises whatever its arithmetic does
        raise InvalidInputError(f"{origin_of(node)} cannot be computed: {error}") from None


def _n_asked_for(node: NodeProto, values: Sequence[Array]) -> float:
    """Elements of the output, where a node makes many of few."""
    match node.op_type, values:
        case "ConstantOfShape", [shape]:
            return float(math.prod(map(float, shape.ravel())))
        case "Expand" | "Tile", [data, sizes]:
            return float(math.prod(map(float, sizes.ravel())) * data.size)
        case "Range", [start, limit, delta]:
            return float(limit - start) / float(delta) if delta else math.inf
        case _:
            return 0


def _absent(shape: tuple[int, ...], data_type: int) -> Array:
    from onnx import helper

    # NaN, since no layer's form follows from it
    return np.broadcast_to(np.array(np.nan, helper.tensor_dtype_to_np_dtype(data_type)), shape)


def _is_float(tensor: TensorProto) -> bool:
    return tensor.data_type in (tensor.FLOAT, tensor.FLOAT16, tensor.DOUBLE, tensor.BFLOAT16)


def _has_data(tensor: TensorProto) -> bool:
    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    return any(len(getattr(tensor, field)) for field in (*fields, "string_data"))


def _array(tensor: TensorProto) -> Array:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise InvalidInputError(f"tensor {tensor.name!r} is damaged: {error}") from None


def _dense(sparse: SparseTensorProto) -> Array:
    """All elements of a tensor that is stored as its nonzero ones, each with its place."""
    values, places = _array(sparse.values), _array(sparse.indices)
    if math.prod(sparse.dims) > MAX_COMPUTED:
        raise InvalidInputError(f"tensor {sparse.values.name!r}: over {MAX_COMPUTED} elements")
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 2:  # one row of coordinates each
        dense[tuple(places.T)] = values
    else:
        dense.reshape(-1)[places] = values
    return dense
