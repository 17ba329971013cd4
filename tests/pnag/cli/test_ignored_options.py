"""No option is ever ignored: what a command cannot honour, whatever its value, is refused."""

import pytest

from pnag.cli.app import run

EXTRACT = ["supernet", "extract", "--checkpoint", "c", "--arch", "a", "--out", "o"]
EVALUATE = ["supernet", "evaluate", "--checkpoint", "c", "--data", "d", "--out", "o"]
TRAIN = ["supernet", "train", "--data", "d", "--out", "o", "--arch", "a"]
IMPORT = ["table", "import", "t.json", "--format", "pnag-json", "--out", "o"]


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (EXTRACT, "--seed", "0"),
        (EXTRACT, "--recalibration-images", "2000"),
        ([*EXTRACT, "--data", "d", "--recipe", "r"], "--seed", "1"),
        ([*EXTRACT, "--data", "d", "--recipe", "r"], "--recalibration-images", "10"),
        ([*EVALUATE, "--arch", "a"], "--count", "2000"),
        (TRAIN, "--method", "sandwich"),
        (TRAIN, "--random-subnets", "2"),
        (IMPORT, "--device-model", "unknown"),
        (IMPORT, "--runtime", "tflite"),
        (IMPORT, "--threads", "1"),
        (IMPORT, "--batch-size", "8"),
        (["generate", "--run", "r", "--budget", "9"], "--candidates", "3"),
        (["generate", "--run", "r", "--budget", "9"], "--benchmark-binary", "b"),
        (["predict", "--latency-table", "t", "--arch", "a", "--model", "m"], "--width-mult", "1.2"),
        (["predict", "--latency-table", "t", "--model", "m"], "--width-mult", "1.2"),
        (["profile", "--device", "fake", "--protocol", "tail"], "--minutes", "3"),
        (["profile", "--device", "fake"], "--shape", "x=1x3x8x8"),
        (["profile", "--device", "fake"], "--benchmark-binary", "b"),
        (["profile", "--device", "fake", "--space", "kernels"], "--resolution", "96"),
        (["profile", "--device", "cpu", "--model", "m"], "--networks", "3"),
        (["space", "describe"], "--seed", "0"),
        (["table", "show", "t.json"], "--seed", "0"),
    ],
)
def test_what_cannot_be_honoured_is_refused(command, option, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*command, option, value]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("pnag: ") and option in err
    assert list(tmp_path.iterdir()) == []
