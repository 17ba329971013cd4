"""Keys of two grammars, and measured numbers in CSV files."""

import pytest

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind
from profiler.tables.keys import op_of_key
from profiler.tables.measured_numbers import read_measured_numbers

ARCH = "2,2,2,2,2:" + ":".join([",".join(["3,3,0,0"] * 5)] * 2)


def test_a_block_of_nn_meter_is_the_op_that_its_parts_say():
    assert op_of_key("conv_28_40_48_6_1_hard_swish_3_nose", batch_size=2) == OpConfig(
        OpKind.MBCONV, 40, 48, 28, 28, 240, 3, 1, False, OpActivation.HARD_SWISH, 2
    )
    assert op_of_key("firstconv_224_3_24_2_3").key == "Conv-input:224x224x3-output:112x112x24"
    assert not op_of_key("conv_64_16_16_1_1_hard_swish_5_se").has_expansion


def test_keys_of_once_for_all_stay_what_they_are():
    key = "Conv_1-input:7x7x192-output:7x7x1152"
    assert op_of_key(key).key == key


@pytest.mark.parametrize(
    "key",
    ["conv_", "conv_28_40_48_6_3_hard_swish_3_se", "conv_0_40_48_6_1_hard_swish_3_se", "Conv-x"],
)
def test_other_keys_are_refused(key):
    with pytest.raises(InvalidInputError, match="key"):
        op_of_key(key)


def test_numbers_of_networks_and_blocks_are_read(tmp_path):
    path = tmp_path / "phone.csv"
    path.write_text(
        "name,key,arch,width_mult,resolution_px,latency_ms,source\n"
        f'a,,"{ARCH}",1.2,240,143,papers\n'
        f'b,,"{ARCH}",,,40.5,\n'
        "c,firstconv_224_3_24_2_3,,,,1.9,blocks\n"
    )
    network, plain, block = read_measured_numbers(path)
    assert (network.arch, network.width_mult, network.resolution_px) == (ARCH, 1.2, 240)
    assert (network.latency_ms, network.source) == (143, "papers")
    assert (plain.width_mult, plain.resolution_px, plain.source) == (None, None, "phone")
    assert (block.key, block.arch, block.latency_ms) == ("firstconv_224_3_24_2_3", None, 1.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,ms\na,1\n", "needs the columns"),
        ("latency_ms\n1\n", "needs the columns"),
        ("arch,arch,latency_ms\na,b,1\n", "two columns are named arch"),
        ("arch,latency_ms\n", "no rows"),
        ("arch,latency_ms\na,-1\n", "line 2: latency_ms -1 must be positive"),
        ("arch,latency_ms\na,nan\n", "is not a number"),
        ("arch,key,latency_ms\na,b,1\n", "either an arch or a key"),
        ("arch,key,latency_ms\n,,1\n", "either an arch or a key"),
        ("key,width_mult,latency_ms\na,1.2,1\n", "says all sizes"),
        ("arch,resolution_px,latency_ms\na,224.5,1\n", "not a whole number"),
    ],
)
def test_files_that_say_something_else_are_refused(tmp_path, text, message):
    path = tmp_path / "phone.csv"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_measured_numbers(path)
