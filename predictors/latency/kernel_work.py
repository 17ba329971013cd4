"""The work of a kernel: amounts that each cost time in proportion, and what sets kernels of a kind
apart.

Vector units compute whole blocks of channels and stretches of a row; what is left over waits for
its own results. Where a runtime keeps channels in blocks (ONNX Runtime's ``nchwc`` ops), a set of
four blocks shares the loads of its inputs, and results are added up a few input channels at a time,
so that they go to and from the cache that holds them. Which costs what is fitted, not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from profiler.models.kernel import Kernel, Value

BLOCK = 16  # channels of a vector, at most
SET = 4  # blocks of output channels computed together
ROW = 6  # pixels of a row computed together
SLOTS = 8  # multiply-adds of vectors under way at once: two units of four cycles each
TILE = 12  # rows of a matrix computed together
PIXELS = 7  # computed together by XNNPACK
MOST_TAPS = 25  # of XNNPACK's unrolled depthwise kernels; what has more takes another, slow one
POINTWISE_DEPTH = 128  # input channels added up at once
OVERLAPPED = 16  # taps of a pooling whose sums are under way at once; of more, each waits
L1_ELEMENTS, L2_ELEMENTS = 8_000, 350_000  # of float32, of usual caches
AWAY_MS = 4.0  # after so long most of what a call needs is out of the near caches
LATE = "late calls"

# ops that do the same under several names
_SAME = {
    "FusedConv": "Conv", "CONV_2D": "Conv", "DEPTHWISE_CONV_2D": "Conv",
    "FusedGemm": "Gemm", "MatMul": "Gemm", "FusedMatMul": "Gemm", "FULLY_CONNECTED": "Gemm",
    "BATCH_MATMUL": "Gemm",
    "Add": "Arithmetic", "Sub": "Arithmetic", "Mul": "Arithmetic", "Div": "Arithmetic",
    "ADD": "Arithmetic", "SUB": "Arithmetic", "MUL": "Arithmetic", "DIV": "Arithmetic",
    "Max": "Arithmetic", "Min": "Arithmetic", "MAXIMUM": "Arithmetic", "MINIMUM": "Arithmetic",
    "Squeeze": "Reshape", "Unsqueeze": "Reshape", "Flatten": "Reshape", "Identity": "Reshape",
    "RESHAPE": "Reshape", "SQUEEZE": "Reshape", "EXPAND_DIMS": "Reshape",
}  # fmt: skip
_EXPENSIVE = {"HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "QuickGelu", "Gelu"}


@dataclass(frozen=True, slots=True)
class Work:
    """Of one kernel.

    Attributes:
        kind: kernels of one kind follow one law.
        amounts: by name; all but `calls` in elements, multiply-adds or rows.
        shape: logarithms of sizes, in which what the law leaves is smooth.
    """

    kind: str
    amounts: Mapping[str, float]
    shape: tuple[float, ...]


def work(kernel: Kernel) -> Work:
    """What a kernel has to do."""
    name = _SAME.get(kernel.kind.removeprefix("nchwc."), kernel.kind.removeprefix("nchwc."))
    blocked = kernel.kind.startswith("nchwc.")
    if name == "Conv" and kernel.weights and kernel.inputs:
        kind, amounts = _convolution(kernel, blocked=blocked)
    elif name == "Gemm" and kernel.inputs:
        kind, amounts = name, {"madds": kernel.output_elements * kernel.inputs[0][-1]}
        amounts["weights"] = kernel.weight_elements
    elif name == "Arithmetic":
        kind, amounts = _arithmetic(kernel)
    elif name == "Reshape":
        kind, amounts = name, {}
    else:
        kind = f"blocked {name}" if blocked else name
        if kernel.attribute("ceil_mode", 0):  # which has a loop of its own
            kind += ", rounded up"
        if kernel.attribute("opset", 0):
            kind += f", opset {kernel.attribute('opset', 0)}"
        amounts = {"read": kernel.input_elements, "written": kernel.output_elements}
        amounts["rows"] = sum(prod(shape[:-1]) for shape in kernel.outputs)
        window = kernel.attribute("kernel_shape", ())
        if isinstance(window, tuple) and window:
            taps = prod(map(int, window))
            amounts["window"] = kernel.output_elements * taps
            amounts["long window"] = kernel.output_elements * max(0, taps - OVERLAPPED)
    elements = kernel.input_elements + kernel.output_elements
    amounts = {"calls": 1.0, **amounts, "far": max(0, elements - L2_ELEMENTS)}
    return Work(kind, amounts, _shape(kernel))


def lateness(after_ms: float) -> float:
    """How much of what a call needs, its code and tables, others have put out of the caches since
    the last run of its network began."""
    return -math.expm1(-after_ms / AWAY_MS)


def called_again(one: Work, after_ms: float) -> Work:
    """The work in a network that runs once in so many ms."""
    return replace(one, amounts={**one.amounts, LATE: lateness(after_ms)})


def _convolution(kernel: Kernel, *, blocked: bool) -> tuple[str, dict[str, float]]:
    weights, output = kernel.weights[0], kernel.outputs[0]
    channels, taps = kernel.inputs[0][1], prod(weights[2:])
    groups = max(1, channels // weights[1])
    strides = _integers(kernel.attribute("strides", ()))
    strided = max(strides, default=1) > 1
    depthwise = weights[1] == 1 and groups > 1
    by_channel = kernel.kind.endswith("CONV_2D")  # LiteRT: those of a pixel lie together
    if depthwise:
        kind = "depthwise" if taps > 1 else "scale"
        if by_channel and taps > MOST_TAPS:
            kind += ", not unrolled"
    elif groups > 1:
        kind = "grouped"
    elif blocked and channels < BLOCK:
        kind = "first"
    else:
        gathered = by_channel and strided  # as windows are, not a product as it lies
        kind = "pointwise" if taps == 1 and not gathered else "dense"
    if len(output) != 4:
        kind = f"{len(output) - 2}-d {kind}"
    amounts: dict[str, float] = {
        "read": kernel.input_elements, "written": kernel.output_elements,
        "weights": kernel.weight_elements,
    }  # fmt: skip
    passes = _activation(kernel)
    if passes:
        amounts["expensive" if passes > 1 else "activated"] = kernel.output_elements
    if len(kernel.inputs) > 1:
        amounts["added"] = kernel.output_elements
    if by_channel:
        amounts |= _unrolled(kernel, taps) if depthwise else _tiles(kernel, taps, groups)
    elif not blocked:
        amounts |= _product(kernel, taps, groups)
    elif depthwise:
        amounts |= _channelwise(kernel, taps)
    else:
        amounts |= _blocks(kernel, taps, groups, as_one=taps == 1 and not strided)
    return f"blocked {kind}" if blocked else kind, amounts


def _product(kernel: Kernel, taps: int, groups: int) -> dict[str, float]:
    """Windows laid out as a matrix, and a product of matrices for each group."""
    output, depth = kernel.outputs[0], kernel.weights[0][1] * taps
    rows, pixels = output[1] // groups, prod(output[2:])
    tiles, rest = divmod(rows, TILE)
    steps = output[0] * groups * depth
    return {
        "madds": kernel.output_elements * depth,
        "vectors": steps * -(-pixels // (2 * BLOCK)) * (2 * tiles * TILE + _slots(2 * rest)),
        "unrolled": steps * pixels,
        "panels": steps * pixels * (tiles + (rest > 0)),
        "groups": groups,
    }


def _unrolled(kernel: Kernel, taps: int) -> dict[str, float]:
    """Each channel by itself, in vectors of them."""
    output = kernel.outputs[0]
    vectors = output[0] * prod(output[2:]) * -(-output[1] // BLOCK)
    return {"madds": kernel.output_elements * taps, "vectors": vectors * taps * BLOCK}


def _tiles(kernel: Kernel, taps: int, groups: int) -> dict[str, float]:
    """Tiles of results, some pixels by one vector of channels."""
    output, depth = kernel.outputs[0], kernel.weights[0][1] * taps
    pixels, channels = output[0] * prod(output[2:]), output[1] // groups
    tiles = groups * -(-pixels // PIXELS) * -(-channels // BLOCK)
    return {
        "madds": kernel.output_elements * depth,
        "vectors": tiles * depth * PIXELS * BLOCK,
        "panels": tiles * depth,
        "unrolled": groups * depth * pixels,
        "tiles": tiles,
        "groups": groups,
    }


def _channelwise(kernel: Kernel, taps: int) -> dict[str, float]:
    """Each channel by itself, in blocks of them."""
    output, row = kernel.outputs[0], _row(kernel)
    steps = output[0] * -(-output[1] // BLOCK) * row.n_rows * taps
    return {"vectors": steps * row.slots(1), "single": steps * row.single * SLOTS}


def _blocks(kernel: Kernel, taps: int, groups: int, *, as_one: bool) -> dict[str, float]:
    """Sets of blocks of output channels, results added up over steps of input channels."""
    output, depth, row = kernel.outputs[0], kernel.weights[0][1], _row(kernel, as_one=as_one)
    blocks = max(1, -(-output[1] // groups // BLOCK))
    whole, rest = divmod(blocks, SET)
    sets = whole + (rest > 0)
    steps = output[0] * groups * row.n_rows * taps * depth
    at_once = 1 if depth < BLOCK else POINTWISE_DEPTH if taps == 1 else BLOCK
    added_up = -(-depth // at_once)
    results = _level(BLOCK * min(blocks, SET) * prod(output[2:]))
    image = _level(depth * prod(kernel.inputs[0][2:]))
    return {
        "vectors": steps * (whole * row.slots(SET) + row.slots(rest)),
        "single": steps * row.single * (whole * SLOTS + _slots(rest)),
        f"added up in {results}": kernel.output_elements * (added_up - 1),
        f"read again from {image}": kernel.input_elements * (sets - 1),
        "loops": row.n_rows * sets * added_up * groups,
    }


def _level(elements: int) -> str:
    """The cache that holds so many."""
    return "L1" if elements <= L1_ELEMENTS else "L2" if elements <= L2_ELEMENTS else "L3"


@dataclass(frozen=True, slots=True)
class _Row:
    """How the pixels of a row are computed: whole stretches, then three, then two, then singles,
    to which those at the padding belong."""

    n_rows: int
    inner: int
    edge: int

    @property
    def single(self) -> int:
        return self.edge + (self.inner % ROW % 3 == 1)

    def slots(self, blocks: int) -> int:
        """Of the stretches, for so many blocks of channels."""
        rest = self.inner % ROW
        count = self.inner // ROW * _slots(ROW * blocks)
        count += _slots(3 * blocks) if rest >= 3 else 0
        return count + (_slots(2 * blocks) if rest % 3 == 2 else 0)


def _slots(vectors: int) -> int:
    """Multiply-adds of vectors that so many independent ones take the time of."""
    return max(vectors, SLOTS) if vectors else 0


def _row(kernel: Kernel, *, as_one: bool = False) -> _Row:
    *heights, width = kernel.outputs[0][2:]
    rows = prod(heights)
    if as_one:
        rows, width = 1, rows * width
    pads = _integers(kernel.attribute("pads", ()))
    stride = _integers(kernel.attribute("strides", ()))
    edge = 0
    if len(pads) == 4:
        edge = min(width, sum(-(-pad // (stride[-1] if stride else 1)) for pad in pads[1::2]))
    return _Row(rows, width - edge, edge)


def _arithmetic(kernel: Kernel) -> tuple[str, dict[str, float]]:
    """Of two tensors of one shape, of one with a scalar, or of one with a smaller one."""
    amounts: dict[str, float] = {"written": kernel.output_elements}
    operands = [prod(shape) for shape in (*kernel.inputs, *kernel.weights)]
    if len(operands) < 2 or min(operands) == 1:
        return "Arithmetic with a number", amounts
    if min(operands) == max(operands):
        return "Arithmetic", amounts
    amounts["rows"] = min(operands)
    return "Arithmetic, broadcast", amounts


def _activation(kernel: Kernel) -> int:
    """0: none, or one that is free while the result is in a register; 1: a pass of its own over
    the output; 2: a costly one."""
    activation = kernel.attribute("activation", "Relu")
    return 0 if activation == "Relu" else 2 if activation in _EXPENSIVE else 1


def _shape(kernel: Kernel) -> tuple[float, ...]:
    """Channels in and out, pixels, window, group width, row, elements in; stride; activation."""
    output = kernel.outputs[0] if kernel.outputs else ()
    first = kernel.inputs[0] if kernel.inputs else ()
    weights = kernel.weights[0] if kernel.weights else ()
    strides = _integers(kernel.attribute("strides", ()))
    window = prod(weights[2:]) if len(weights) > 2 else 1
    sizes = (
        first[1] if len(first) > 1 else 1,
        output[1] if len(output) > 1 else 1,
        prod(output[2:]),
        window,
        weights[1] if len(weights) > 1 else 1,
        output[-1] if output else 1,
        kernel.input_elements + kernel.weight_elements,
    )
    stride, passes = max(strides, default=1), _activation(kernel)
    return (*(math.log2(max(1, size)) for size in sizes), float(stride), float(passes))


def _integers(value: Value) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, tuple) else ()
