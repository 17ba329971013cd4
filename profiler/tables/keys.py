"""Keys of ops in tables: Once-for-All's, and those of nn-Meter's published block files."""

from __future__ import annotations

import re

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.printable import shown
from profiler.spaces.mobilenetv3_ops import SIZE, OpActivation, OpConfig, OpKind, parse_key
from profiler.spaces.networks import key_reader
from profiler.spaces.registry import is_known
from profiler.tables.table import LatencyTable

_NN_METER_KEY = re.compile(
    r"conv_(?P<px>#)_(?P<cin>#)_(?P<cout>#)_(?P<ratio>#)_(?P<stride>[12])"
    r"_(?P<act>hard_swish|relu)_(?P<kernel>[357])_(?P<se>se|nose)".replace("#", SIZE)
)
_NN_METER_FIRST_KEY = re.compile(
    r"firstconv_(?P<px>#)_(?P<cin>#)_(?P<cout>#)_(?P<stride>[12])_(?P<kernel>[357])".replace(
        "#", SIZE
    )
)


def ops_of_table(table: LatencyTable) -> dict[str, Op]:
    """The ops of a table by its keys: of its space, or of none where nn-Meter's blocks are held.

    Raises:
        InvalidInputError: a key that is no op.
    """
    batch_size = table.device.batch_size
    if not is_known(table.space.name):
        return {key: op_of_key(key, batch_size=batch_size) for key in table.ops}
    read = key_reader(table.search_space, batch_size=batch_size)
    return {key: read(key) for key in table.ops}


def op_of_key(key: str, *, batch_size: int = 1) -> OpConfig:
    """The op that a key of either grammar stands for.

    >>> op_of_key("conv_64_16_24_4_2_hard_swish_5_se").key
    'expanded_conv-input:64x64x16-output:32x32x24-expand:64-kernel:5-stride:2-idskip:0-se:1-hs:1'

    Raises:
        InvalidInputError: a key of neither, or one that contradicts itself.
    """
    if not key.startswith(("conv_", "firstconv_")):
        return parse_key(key, batch_size=batch_size)
    return nn_meter_op(key, batch_size=batch_size)


def nn_meter_op(key: str, *, batch_size: int = 1) -> OpConfig:
    """Read nn-Meter's ``conv_INPUT_CIN_COUT_EXPAND_STRIDE_ACTIVATION_KERNEL_SE`` (`EXPAND` is the
    ratio) or ``firstconv_INPUT_CIN_COUT_STRIDE_KERNEL``.

    Raises:
        InvalidInputError: the key has neither form.
    """
    match = _NN_METER_KEY.fullmatch(key) or _NN_METER_FIRST_KEY.fullmatch(key)
    if match is None:
        raise InvalidInputError(f"not a block key of nn-Meter: {shown(key)}")
    part = match.groupdict()
    size, in_channels, out_channels = (int(part[name]) for name in ("px", "cin", "cout"))
    ratio = int(part.get("ratio") or 1)
    kernel, stride = int(part["kernel"]), int(part["stride"])
    if "ratio" not in part:
        return OpConfig(
            OpKind.CONV, in_channels, out_channels, size, size, 0, kernel, stride, False,
            OpActivation.HARD_SWISH, batch_size,
        )  # fmt: skip
    return OpConfig(
        OpKind.MBCONV, in_channels, out_channels, size, size, in_channels * ratio, kernel, stride,
        part["se"] == "se", OpActivation(part["act"]), batch_size,
    )  # fmt: skip
