"""`pnag table` from outside."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from pnag.cli.app import run
from predictors.latency.lookup import calibrated, cost_from_table
from predictors.latency.transferred import TransferTarget, described_device, transferred_table
from profiler import to_pandas
from profiler.tables.table import TransferSample, Verdict, load_table
from tests.predictors.synthetic import make_table


@pytest.fixture(scope="module")
def table():
    return make_table(n_networks=30, noise=0.01)


@pytest.fixture
def table_file(table, tmp_path):
    table.save(tmp_path / "table.json")
    return str(tmp_path / "table.json")


def test_a_table_goes_out_and_in_again(pnag, table, table_file, tmp_path):
    lut, back = str(tmp_path / "lut.yaml"), tmp_path / "back.json"
    pnag("table", "export", table_file, "--format", "ofa-yaml", "--out", lut)
    document, _ = pnag("table", "import", lut, "--format", "ofa-yaml", "--out", str(back))
    assert document["n_ops"] == 96
    assert document["space"] == {"name": "mbv3", "width_mult": 1.0, "resolution_px": 224}
    assert {k: e.latency_ms for k, e in load_table(back).ops.items()} == {
        k: e.latency_ms for k, e in table.ops.items()
    }
    text, _ = pnag("table", "export", table_file)
    assert len(yaml.safe_load(text["text"])) == 96
    difference, _ = pnag("table", "diff", table_file, str(back))
    assert difference["ratio"] == {"median": 1.0, "p95_difference_pct": 0.0}
    assert "platform" in difference["device"]


def test_tables_are_shown_to_people_and_to_programs(pnag, table, tmp_path, capsys):
    path = tmp_path / "calibrated.json"
    calibrated(table).save(path)
    document, _ = pnag("table", "show", str(path))
    assert document == json.loads(path.read_text())
    assert run(["table", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "Synthetic CPU, law 1, 1 thread, batch 1" in shown
    assert shown.count("stable") == 96
    assert "30 whole networks" in shown
    assert "calibrated on 30 networks" in shown
    assert max(map(len, shown.splitlines())) <= 80


def flagged(table, flags_of):
    """The table with unconverged ops and the flags of each by its place."""
    ops = {
        key: entry.model_copy(update={"verdict": Verdict.UNCONVERGED, "flags": flags_of(at)})
        for at, (key, entry) in enumerate(table.ops.items())
    }
    return table.model_copy(update={"ops": ops})


@pytest.mark.parametrize("sort", [[], ["--sort", "-latency_ms"]])
def test_flags_are_said_once_and_no_word_is_broken(table, tmp_path, sort, capsys, monkeypatch):
    """In a terminal of 80 columns as in a pipe."""
    often = {0: ("canary_split", "preempted"), 1: ("canary_split", "multimodal:1.2 ms, 1.4 ms")}
    flagged(table, lambda at: often.get(at % 3, ("canary_split",))).save(tmp_path / "t.json")
    assert run(["table", "show", str(tmp_path / "t.json"), *sort]) == 0
    shown = capsys.readouterr().out
    assert shown.count("canary_split") == 1
    assert "all 96 ops are canary_split (the canaries moved against each other)" in shown
    assert "b: preempted (the measuring thread waited for a core), 32 ops" in shown
    assert "a: multimodal (several levels), 32 ops" in shown
    rows = [line.split() for line in shown.splitlines() if "unconverged" in line]
    assert len(rows) == 96
    assert sorted(row[-1] for row in rows if row[-1] in "ab") == ["a"] * 32 + ["b"] * 32
    monkeypatch.setattr("profiler.terminal.ANY_WIDTH", 80)  # as in a terminal
    assert run(["table", "show", str(tmp_path / "t.json"), *sort]) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == shown.split()


def test_a_table_is_sorted_by_any_column(table, table_file, capsys):
    latencies = sorted(entry.latency_ms for entry in table.ops.values())
    for column, expected in [("latency_ms", latencies), ("-latency_ms", latencies[::-1])]:
        assert run(["table", "show", table_file, "--sort", column]) == 0
        lines = capsys.readouterr().out.splitlines()
        shown = [line for line in lines if line.split()[-1:] == ["stable"]]
        assert len(shown) == 96
        first, last = (float(f"{value:.4g}") for value in (expected[0], expected[-1]))
        assert (str(f"{first:.4g}") in shown[0], str(f"{last:.4g}") in shown[-1]) == (True, True)
    assert run(["table", "show", table_file, "--sort", "speed"]) == 2
    assert "no column 'speed'; there are name, kind, input" in capsys.readouterr().err


def test_every_number_is_in_the_csv_and_in_the_data_frame(table, table_file, capsys):
    assert run(["table", "show", table_file, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 96 + 30
    entries = table.ops | {network.arch: network for network in table.networks}
    assert {r["name"]: float(r["latency_ms"]) for r in rows} == {
        name: entry.latency_ms for name, entry in entries.items()
    }
    (block,) = [
        row for row in rows if "28x28x40-output:14x14x80-expand:240-kernel:7" in row["name"]
    ]
    assert [block[name] for name in ("kind", "input", "mid", "kernel", "stride")] == [
        "expanded_conv", "28x28x40", "240", "7", "2",
    ]  # fmt: skip
    frame = to_pandas(table)
    assert list(frame.columns) == list(rows[0])
    assert frame.latency_ms.tolist() == [float(row["latency_ms"]) for row in rows]
    assert (frame.kind == "network").sum() == 30
    assert run(["table", "show", table_file, "--csv", "--json"]) == 2
    assert "--sort, --csv and --statistic are for text" in capsys.readouterr().err


def test_a_transferred_table_says_in_words_that_it_was_not_measured(pnag, table_file, tmp_path):
    """From a table and six networks of a device that takes 1.5 times as long."""
    base = load_table(Path(table_file))
    rows = [f'"{n.arch}",{1.5 * n.latency_ms}' for n in base.networks[:6]]
    measured, out = tmp_path / "mine.csv", tmp_path / "phone.json"
    measured.write_text("\n".join(["arch,latency_ms", *rows]) + "\n")
    transfer = ["table", "transfer", "--from", table_file, "--measured", str(measured)]
    document, _ = pnag(*transfer, "--device", "Phone", "--out", str(out))
    assert document["n_ops"] == 96
    assert document["transfer"]["factor"] == pytest.approx(1.5, rel=0.05)
    made = load_table(out)
    assert made.calibration is not None and made.calibration.n_networks == 6
    cost = cost_from_table(made)
    for network in base.networks[6:]:
        latency_ms = cost(made.search_space.parse(network.arch)[None])[0]
        assert latency_ms == pytest.approx(1.5 * network.latency_ms, rel=0.05)
    valid, _ = pnag("table", "validate", str(out))
    assert valid["valid"] and valid["warnings"] == ["96 of 96 ops are transferred"]


def test_a_transferred_table_is_shown_as_such(table, tmp_path, capsys):
    samples = [
        TransferSample(arch=n.arch, latency_ms=1.5 * n.latency_ms, source="lab")
        for n in table.networks[:6]
    ]
    target = TransferTarget(described_device("Phone", table))
    transferred_table([table], samples, target).save(tmp_path / "t.json")
    assert run(["table", "show", str(tmp_path / "t.json")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not measured: transferred from Synthetic CPU" in shown
    assert "6 measured networks (lab)" in shown
    assert "leave-one-out error" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nobody"], "no number is of 'nobody'; the sources: mine"),
        (["--space", "mbv4"], "unknown space 'mbv4'"),
        (["--measured", "missing.csv"], "cannot read missing.csv"),
    ],
)
def test_a_transfer_that_cannot_be_made_writes_nothing(
    options, message, table, table_file, tmp_path, capsys
):
    measured, out = tmp_path / "mine.csv", tmp_path / "phone.json"
    rows = [f'"{n.arch}",{n.latency_ms}' for n in table.networks[:3]]
    measured.write_text("\n".join(["arch,latency_ms", *rows]) + "\n")
    line = ["table", "transfer", "--from", table_file, "--measured", str(measured)]
    assert run([*line, "--device", "Phone", "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_what_cannot_be_trusted_is_shown_too(table, tmp_path, capsys):
    """Messages of runtimes hold brackets, which are not ours to interpret; keys may be foreign."""
    path = tmp_path / "t.json"
    message = "load_failed: [ONNXRuntimeError] : 9 : [/usr/lib] is missing"
    ops = {"strange": next(iter(table.ops.values())), **table.ops}
    table.model_copy(update={"failures": {"some op": message}, "ops": ops}).save(path)
    assert run(["table", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"failed some op: {message}" in " ".join(shown.split())
    assert "strange" in shown


def test_validation_fails_with_the_first_fault_and_lists_them(table, tmp_path, pnag, capsys):
    path = tmp_path / "t.json"
    table.save(path)
    assert pnag("table", "validate", str(path))[0] == {"valid": True, "faults": [], "warnings": []}
    document = json.loads(path.read_text())
    key = sorted(document["ops"])[0]
    del document["ops"][key]
    path.write_text(json.dumps(document))
    assert run(["table", "validate", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["faults"] == [f"op is missing: {key}"]
    assert "has 1 faults" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "no-such-file", "--format", "ofa-yaml"],
        ["import", "no-such-file", "--format", "csv"],
        ["import", "no-such-file", "--format", "ofa-yaml", "--threads", "0"],
    ],
)
def test_a_failed_import_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["table", *arguments, "--out", "t.json"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("\n") == 1


def test_the_schema_is_printed(pnag):
    document, _ = pnag("table", "schema")
    assert document["title"] == "pnag.latency-table/1"
    assert "schema" in document["required"]


def changed(table, factors):
    """The table with some ops slower, by the index of the op."""
    ops = dict(table.ops)
    for index, factor in factors.items():
        key = list(ops)[index]
        latency_ms = factor * ops[key].latency_ms
        ops[key] = ops[key].model_copy(update={"latency_ms": latency_ms})
    return table.model_copy(update={"ops": ops})


@pytest.mark.parametrize(
    ("factors", "limit", "code"),
    [
        ({}, "0%", 0),
        ({3: 1.04}, "5%", 0),
        ({3: 1.06}, "5%", 1),
        ({3: 1 / 1.06}, "5%", 1),  # faster is different, too
        ({0: 1.01, 3: 1.06, 7: 0.99}, "5.9%", 1),
    ],
)
def test_a_difference_above_the_limit_fails(
    table, table_file, tmp_path, capsys, factors, limit, code
):
    other = tmp_path / "other.json"
    changed(table, factors).save(other)
    assert run(["table", "diff", table_file, str(other), "--fail-above", limit]) == code
    captured = capsys.readouterr()
    assert "96 ops in both" in captured.out  # the comparison is shown all the same
    if code:
        key = list(table.ops)[3]
        assert captured.err == f"pnag: {key} differs by 6.00 %, more than {limit[:-1]} %\n"


def test_an_op_that_one_table_lacks_is_a_difference(table, table_file, tmp_path, capsys):
    other, (first, *_) = tmp_path / "other.json", table.ops
    ops = {key: entry for key, entry in table.ops.items() if key != first}
    table.model_copy(update={"ops": ops}).save(other)
    assert run(["table", "diff", table_file, str(other), "--fail-above", "5%"]) == 1
    assert f"1 ops are in one table only, first {first}" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["5", "0.05", "-5%", "nan%", "inf%", "five%", "%"])
def test_a_limit_without_its_sign_might_be_a_fraction(table_file, limit, capsys):
    arguments = ["table", "diff", table_file, table_file, f"--fail-above={limit}"]
    assert run(arguments) == 2
    assert "takes a percentage, e.g. 5%" in capsys.readouterr().err


def test_strict_validation_fails_on_warnings(table, table_file, tmp_path, capsys):
    assert run(["table", "validate", table_file, "--strict"]) == 0
    noisy = tmp_path / "noisy.json"
    key = next(iter(table.ops))
    entry = table.ops[key].model_copy(update={"verdict": Verdict.NOISY})
    table.model_copy(update={"ops": table.ops | {key: entry}}).save(noisy)
    assert run(["table", "validate", str(noisy)]) == 0
    capsys.readouterr()
    assert run(["table", "validate", str(noisy), "--strict"]) == 1
    assert capsys.readouterr().err == (
        f"pnag: {noisy} has 1 warnings, first 1 of 96 ops are noisy\n"
    )


def test_an_audit_fails_on_numbers_that_were_not_measured(pnag, tmp_path, capsys):
    note10 = str(Path(__file__).parents[3] / "tables" / "note10.json")
    document, _ = pnag("table", "audit", note10)
    assert document == {"findings": []}
    table = load_table(Path(note10))
    first, second = sorted(table.ops)[:2]
    copied = tmp_path / "copied.json"
    table.model_copy(update={"ops": table.ops | {first: table.ops[second]}}).save(copied)
    assert run(["table", "audit", str(copied), "--json"]) == 1
    out, err = capsys.readouterr()
    (finding,) = [one for one in json.loads(out)["findings"] if one["kind"] == "copy"]
    assert (finding["table"], finding["keys"]) == (str(copied), [first, second])
    assert err.count("\n") == 1 and "to the digit" in err
