"""Empty, single and all-equal data in every command: a result, or one line that says what lacks."""

import json

import pytest

from pnag.cli.app import run as pnag
from profiler.spaces.mobilenetv3 import MobileNetV3Space

ARCH = str(MobileNetV3Space().uniform(2, 3, 3))
ROWS = {"empty": [], "one": ["30"], "three": ["30"] * 3}  # all of the same network


@pytest.fixture(scope="module")
def folder(latency_table, tmp_path_factory):
    """Tables of no op, one op, and ops of one latency; files with nothing, one thing or equals."""
    folder = tmp_path_factory.mktemp("degenerate")
    table = json.loads(latency_table.read_text())
    first = dict(list(table["ops"].items())[:1])
    equal = {key: entry | {"latency_ms": 1.0} for key, entry in table["ops"].items()}
    for name, ops in {"none": {}, "single": first, "equal": equal}.items():
        changed = table | {"ops": ops, "calibration": None}
        (folder / f"{name}.json").write_text(json.dumps(changed))
    for name, latencies in ROWS.items():
        lines = ["arch,latency_ms", *(f'"{ARCH}",{ms}' for ms in latencies)]
        (folder / f"{name}.csv").write_text("\n".join(lines))
    (folder / "header.csv").write_text("name,latency_ms,top1_pct\n")
    (folder / "nothing").write_text("")
    (folder / "twice.txt").write_text(f"{ARCH}\n{ARCH}\n")
    (folder / "directory").mkdir()
    return folder


# Exit codes with no op, one op, and all ops alike.
OF_TABLES = {
    "table show TABLE": (0, 0, 0),
    "table show TABLE --csv": (0, 0, 0),
    "table show TABLE --sort latency_ms": (0, 0, 0),
    "table validate TABLE": (2, 2, 0),
    "table audit TABLE": (0, 0, 1),
    "table audit TABLE TABLE": (0, 0, 1),
    "table export TABLE --out new/t.yaml": (0, 0, 0),
    "table diff TABLE TABLE": (0, 0, 0),
    "table diff TABLE TABLE --fail-above 0%": (1, 0, 0),
    "table diff TABLE equal.json": (0, 0, 0),
    "predict --latency-table TABLE --arch ARCH": (2, 2, 0),
    "predict --latency-table TABLE --arch-file twice.txt": (2, 2, 0),
    "predict --latency-table TABLE --arch-file nothing": (2, 2, 2),
    "table transfer --from TABLE --measured empty.csv --device phone --out new/t.json": (2, 2, 2),
    "table transfer --from TABLE --measured one.csv --device phone --out new/t.json": (2, 2, 2),
    "table transfer --from TABLE --measured three.csv --device phone --out new/t.json": (2, 2, 0),
    "train --latency-table TABLE --accuracy-table nothing --out new/run": (2, 2, 2),
    "profile --device replay:TABLE --networks 1 --out new/t.json --quick": (2, 2, None),
}
OTHERS = [
    "profile --device cpu --model nothing",
    "profile --device fake --like nothing --out new/t.json",
    "generate --run directory --budget 30ms",
    "serve --run directory",
    "report --run directory --out new/r.html",
    "report --models nothing --out new/r.html",
    "space inspect --arch {}",
    "table import nothing --format ofa-yaml --out new/t.json",
    "table import nothing --format nn-meter-blocks --out new/t.json",
    "train --space tabular:empty.csv --out new/run",
    "train --space tabular:nothing --out new/run",
    "supernet train --data directory --out new/run",
    "supernet evaluate --checkpoint nothing --data directory --out new/a.json",
    "supernet compress --checkpoint nothing --out new/s.safetensors",
]
CASES = [
    *(
        (line.replace("TABLE", f"{name}.json"), code)
        for line, codes in OF_TABLES.items()
        for name, code in zip(("none", "single", "equal"), codes, strict=True)
        if code is not None
    ),
    *((line, 2) for line in OTHERS),
]


@pytest.mark.parametrize(("line", "code"), CASES)
def test_there_is_a_result_or_a_reason(line, code, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = [
        word.replace("new/", f"{tmp_path}/new/") if word != "ARCH" else ARCH
        for word in line.split()
    ]
    assert_answers(words, code, capsys)
    assert (tmp_path / "new").exists() == (code == 0 and "new/" in line)


def assert_answers(words, code, capsys):
    capsys.readouterr()
    assert pnag([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    if code == 0:
        assert out
    else:
        said = err.splitlines()[-1]
        assert said.startswith("pnag: ") and "--debug" not in said


def test_a_run_of_two_equal_accuracies_is_shown_and_asked(folder, tmp_path, quick_settings, capsys):
    """Its frontier is one point."""
    rows, made = tmp_path / "t.csv", tmp_path / "run"
    rows.write_text("width,latency_ms,top1\n8,1.6,0.7\n16,1.8,0.7\n")
    figures, page = tmp_path / "figures", tmp_path / "report.html"
    small = ["--evaluations", 12, "--budgets", 2, "--quiet"]
    assert_answers(["train", "--space", f"tabular:{rows}", "--out", made, *small], 0, capsys)
    assert (made / "frontier.csv").read_text().count("\n") == 2  # with its header
    for budget, code in {"1ms": 3, "1.6ms": 0, "1.7ms": 0, "9ms": 0}.items():
        assert_answers(["generate", "--run", made, "--budget", budget], code, capsys)
    asked = ["report", "--run", made, "--out", page, "--figures", figures]
    assert_answers(asked, 0, capsys)
    assert page.stat().st_size > 0 and list(figures.iterdir())
    for published in ("header.csv", "nothing"):
        asked = ["report", "--run", made, "--out", tmp_path / "no.html", "--published"]
        assert_answers([*asked, folder / published], 2, capsys)
    assert not (tmp_path / "no.html").exists()
