import json
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.interop import TableFormat, TableOrigin, export_table, import_table
from profiler.tables.table import Verdict, load_table

OFA, PROXYLESS, NN_METER, PNAG = TableFormat
NOTE = MobileNetV3Space("mbv3", 1.2, 192)
KEY = "Conv-input:192x192x3-output:96x96x24"
PROXYLESS_KEYS = (
    "Conv-input:224x224x3-output:112x112x32",
    "Conv_1-input:7x7x320-output:7x7x1280",
    "Logits-input:7x7x1280-output:1000",
    "expanded_conv-input:112x112x16-output:56x56x24-expand:6-kernel:7-stride:2-idskip:0",
    "expanded_conv-input:7x7x192-output:7x7x192-expand:3-kernel:5-stride:1-idskip:1",
)
statistic = st.floats(min_value=1e-6, max_value=1e6, exclude_min=True)


def ofa_text(space=NOTE, **changes):
    document = {
        key: {"count": 100 + i, "mean": 0.1 + i / 7, "std": 0.001 * i / 3}
        for i, key in enumerate(space.distinct_ops())
    }
    document.update(changes)
    return yaml.safe_dump({key: value for key, value in document.items() if value is not None})


def proxyless_text(**changes):
    document = {
        key: {"count": 160 + i, "mean": 1.1 + i / 7, "var": 0.07 / (3 + i)}
        for i, key in enumerate(PROXYLESS_KEYS)
    }
    return yaml.safe_dump(document | changes)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "table.yaml"
        path.write_text(text)
        return path

    return write


def test_a_once_for_all_table_goes_round_without_loss(file, tmp_path):
    text = ofa_text()
    table = import_table(file(text), OFA)
    assert str(table.space) == "mbv3 width 1.2 at 192 px"
    assert {entry.verdict for entry in table.ops.values()} == {Verdict.IMPORTED}
    table.save(tmp_path / "t.json")
    assert export_table(load_table(tmp_path / "t.json"), OFA) == text
    entry = table.ops["Conv-input:192x192x3-output:96x96x24"]
    assert (entry.latency_ms, entry.n_samples, entry.std_ms) == (0.1, 100, 0.0)


def test_json_reads_as_yaml_does(file):
    """With the exponents and tabs that JSON allows and YAML 1.1 does not."""
    document = yaml.safe_load(ofa_text()) | {KEY: {"count": 100, "mean": 0.5, "std": 9e-05}}
    table = import_table(file(json.dumps(document, indent="\t")), OFA)
    assert table.ops.keys() == document.keys()
    assert (table.ops[KEY].latency_ms, table.ops[KEY].std_ms) == (0.5, 9e-05)


def test_a_proxylessnas_table_goes_round_without_loss(file, tmp_path):
    text = proxyless_text()
    table = import_table(file(text), PROXYLESS)
    assert str(table.space) == "proxyless width 1 at 224 px"
    table.save(tmp_path / "t.json")
    assert export_table(load_table(tmp_path / "t.json", partial=True), PROXYLESS) == text


@given(mean=statistic, spread=statistic, count=st.integers(1, 10**9))
def test_any_statistics_go_round_to_the_bit(tmp_path_factory, mean, spread, count):
    path = tmp_path_factory.mktemp("t") / "table.yaml"
    fields = {"count": count, "mean": mean, "var": spread}
    path.write_text(yaml.safe_dump({PROXYLESS_KEYS[0]: fields}))
    table = import_table(path, PROXYLESS)
    table.save(path.with_suffix(".json"))
    again = yaml.safe_load(
        export_table(load_table(path.with_suffix(".json"), partial=True), PROXYLESS)
    )
    assert again == {PROXYLESS_KEYS[0]: fields}


def test_a_proxylessnas_table_is_refused_where_another_space_is_wanted(file, tmp_path):
    table = import_table(file(proxyless_text()), PROXYLESS)
    table.save(tmp_path / "t.json")
    with pytest.raises(InvalidInputError, match=r"proxyless.*not of mbv3 width 1 at 224"):
        load_table(tmp_path / "t.json", space=MobileNetV3Space())
    with pytest.raises(InvalidInputError, match="lacks 65 of 70 ops"):
        load_table(tmp_path / "t.json")
    with pytest.raises(InvalidInputError, match="use --format proxyless-yaml"):
        export_table(table, OFA)
    with pytest.raises(InvalidInputError, match="cannot be a table of mbv3"):
        import_table(file(proxyless_text()), PROXYLESS, space_name="mbv3")


def test_our_own_tables_are_imported_and_checked_against_what_is_declared(file, tmp_path):
    table = import_table(file(ofa_text()), OFA)
    table.save(tmp_path / "t.json")
    assert import_table(tmp_path / "t.json", PNAG, resolution_px=192) == table
    assert json.loads(export_table(table, PNAG))["schema"] == "pnag.latency-table/1"
    with pytest.raises(InvalidInputError, match="at 192 px, not as declared"):
        import_table(tmp_path / "t.json", PNAG, resolution_px=224)


def test_the_importer_says_what_the_file_does_not(file):
    provenance = TableOrigin("Galaxy Note10", "TensorFlow Lite", threads=1, batch_size=1)
    device = import_table(file(ofa_text()), OFA, provenance=provenance).device
    assert (device.platform, device.model, device.runtime) == (
        "imported",
        "Galaxy Note10",
        "TensorFlow Lite",
    )
    assert device.boot_id is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({KEY: {"mean": 1.0, "count": 1, "median": 1.0}}, "unknown field 'median'"),
        ({KEY: {"count": 1, "std": 1.0}}, "expected mean, std and count"),
        ({KEY: {"mean": float("nan"), "count": 1, "std": 0.0}}, "mean is nan"),
        ({KEY: {"mean": 0.0, "count": 1, "std": 0.0}}, "mean is 0.0"),
        ({KEY: {"mean": -1.0, "count": 1, "std": 0.0}}, "mean is -1.0"),
        ({KEY: {"mean": "fast", "count": 1, "std": 0.0}}, "mean is 'fast'"),
        ({KEY: {"mean": "0.5", "count": 1, "std": 0.0}}, "mean is '0.5'"),
        ({KEY: {"mean": True, "count": 1, "std": 0.0}}, "mean is True"),
        ({KEY: {"mean": 1.0, "count": 1.5, "std": 0.0}}, "count is 1.5"),
        ({KEY: 1.0}, "expected mean, std and count"),
        ({KEY: None}, "0 square first convolutions"),
        ({"Pool-input:1": {"mean": 1.0}}, "not an op key: 'Pool-input:1'"),
        (
            {"Conv_2-input:1x1x1152-output:1x1x1536": None},
            "lacks 1 of 96 ops, e.g. Conv_2-input:1x1x1152-output:1x1x1536; add them and import ag",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said(file, change, message):
    with pytest.raises(InvalidInputError, match=message):
        import_table(file(ofa_text(**change)), OFA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a latency table"),
        ("- 1\n", "is not a latency table"),
        ("a: {b: 1\n", "is not YAML"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML"),
        (f"{KEY}: {{mean: 1.0}}\n{KEY}: {{mean: 2.0}}\n", "is given twice"),
        ("\x00", "is not YAML"),
        ("[" * 1500, "is not YAML"),
        ("? [a]\n: {mean: 1.0}\n", "is not YAML"),
        (f"{KEY}: {{mean: 2001-13-45}}\n", "is not YAML"),
        (f"{KEY}: {{mean: {'9' * 400}}}\n", "not a latency statistic"),
        (f"{KEY}: {{mean: {'9' * 5000}}}\n", "is not YAML"),
        (f"{KEY}: {{mean: !!int 0x{'f' * 5000}}}\n", "mean is a number of 20000 bits"),
        (f"{KEY}: {{mean: [{'x, ' * 10**4}]}}\n", "mean is ..x', 'x'.*, not a latency statistic"),
        (f"? Logits-input:1x1x{'9' * 5000}-output:9\n: {{mean: 1.0}}\n", "not an op key: 'Logits-"),
        ("Conv_1-input:7x0x960-output:7x0x960: {mean: 1.0}\n", "not an op key"),
        (
            "expanded_conv-input:8x8x8-output:8x8x8-expand:8-kernel:3-stride:0-idskip:1-se:0-hs:0:"
            " {mean: 1.0}\n",
            "not an op key",
        ),
    ],
)
def test_files_that_are_no_tables_are_refused(file, text, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        import_table(file(text), OFA)
    assert "\n" not in str(caught.value)


def test_a_wrong_declaration_is_refused_with_what_is_missing(file):
    with pytest.raises(InvalidInputError, match="lacks 96 of 96 ops"):
        import_table(file(ofa_text()), OFA, width_mult=1.0)
    with pytest.raises(InvalidInputError, match="not a ProxylessNAS op key"):
        import_table(file(proxyless_text(**{"expanded_conv-input:1": {"mean": 1.0}})), PROXYLESS)
    contradiction = PROXYLESS_KEYS[3].replace("56x56", "55x55")
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        import_table(file(proxyless_text(**{contradiction: {"mean": 1.0}})), PROXYLESS)


def test_a_measured_table_exports_its_estimate_as_mean(file):
    table = import_table(file(ofa_text()), OFA)
    entry = table.ops[KEY].model_copy(
        update={"latency_ms": 0.5, "std_ms": None, "n_samples": 0, "verdict": Verdict.STABLE}
    )
    measured = table.model_copy(update={"ops": table.ops | {KEY: entry}})
    assert yaml.safe_load(export_table(measured, OFA))[KEY] == {"mean": 0.5}


def test_a_stride_of_0_is_no_key_of_proxylessnas(file):
    key = PROXYLESS_KEYS[3].replace("stride:2", "stride:0")
    with pytest.raises(InvalidInputError, match="not a ProxylessNAS op key"):
        import_table(file(f"{key}: {{mean: 1.0}}\n"), PROXYLESS)


def test_values_that_explode_when_they_are_written_out_are_refused_at_once(file):
    """0.6 kB of aliases in aliases stand for 10 ** 9 values."""
    names = "abcdefghi"
    lists = ["&a [x,x,x,x,x,x,x,x,x,x]"]
    lists += [f"&{n} [{','.join(['*' + b] * 10)}]" for b, n in pairwise(names)]
    with pytest.raises(InvalidInputError, match="its aliases stand for endless data"):
        import_table(file(f"{KEY}:\n  mean: [{', '.join(lists)}]\n"), OFA)


BLOCKS = {"conv_64_16_24_4_2_hard_swish_5_se": 1.25, "firstconv_224_3_24_2_3": 1.89}


def test_blocks_of_nn_meter_keep_their_keys_and_go_round(file, tmp_path):
    table = import_table(
        file(json.dumps(BLOCKS)), NN_METER, provenance=TableOrigin("Pixel 4", "TFLite")
    )
    assert {key: entry.latency_ms for key, entry in table.ops.items()} == BLOCKS
    assert {entry.verdict for entry in table.ops.values()} == {Verdict.IMPORTED}
    assert (table.space.name, table.device.model) == ("nn-meter", "Pixel 4")
    table.save(tmp_path / "t.json")
    loaded = load_table(tmp_path / "t.json", partial=True)
    assert json.loads(export_table(loaded, NN_METER)) == BLOCKS
    with pytest.raises(InvalidInputError, match="use --format nn-meter-blocks"):
        export_table(loaded, OFA)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a block file"),
        ({}, "not a block file"),
        ({"conv_1": 1.0}, "not a block key of nn-Meter"),
        ({"firstconv_224_3_24_2_3": 0}, "not a latency in ms"),
        ({"firstconv_224_3_24_2_3": "1"}, "not a latency in ms"),
        ({"firstconv_224_3_24_2_3": True}, "not a latency in ms"),
    ],
)
def test_damaged_block_files_are_refused(file, document, message):
    with pytest.raises(InvalidInputError, match=message):
        import_table(file(json.dumps(document)), NN_METER)


def test_blocks_are_of_no_space(file):
    with pytest.raises(InvalidInputError, match="no space, width or resolution"):
        import_table(file(json.dumps(BLOCKS)), NN_METER, width_mult=1.2)
