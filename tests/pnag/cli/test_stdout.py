"""--out -: the one file of a command on stdout, and nothing else there."""

import pytest

from pnag.cli.app import run
from profiler.tables.table import load_table


@pytest.mark.parametrize("table_format", ["pnag-json", "ofa-yaml"])
def test_an_exported_table_is_what_the_file_would_hold(
    latency_table, table_format, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ["table", "export", str(latency_table), "--format", table_format, "--out"]
    assert run([*command, "t"]) == 0
    capsys.readouterr()
    assert run([*command, "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "t").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_an_imported_table_is_read_back_from_stdout(latency_table, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["table", "import", str(latency_table), "--format", "pnag-json", "--out", "-"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t.json").write_text(out)
    assert load_table(tmp_path / "t.json").ops == load_table(latency_table).ops


def test_a_report_on_stdout_is_one_page(profiled_folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["report", "--run", str(profiled_folder), "--out", "-"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("<!doctype html>") and out.endswith("</html>\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile", "--device", "fake"],
        ["train", "--latency-table", "t"],
        ["demo"],
        ["generate", "--run", "r", "--budget", "9", "--export", "onnx"],
        ["space", "export", "--arch", "a"],
        ["supernet", "compress", "--checkpoint", "c"],
        ["supernet", "evaluate", "--checkpoint", "c", "--data", "d"],
        ["report", "--run", "r", "--json"],
        ["table", "export", "t", "--json"],
    ],
)
def test_what_cannot_go_to_stdout_is_refused(arguments, capsys, tmp_path, monkeypatch):
    """Several files, a journal beside it, or bytes; and --json, which is there already."""
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--out", "-"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--out - " in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_figures_are_no_stream(capsys):
    assert run(["report", "--run", "r", "--figures", "-", "--json"]) == 2
    assert capsys.readouterr().err.startswith("pnag: --figures - is stdout")
