"""Every number of every command has bounds: what lies beyond them is refused in one line.

So is what only looks like a number in an option that is text: 1_000, other alphabets' digits.

The options are read from the app, so that a new one is covered by being there.
"""

import typing

import pytest

from pnag.cli.app import run as pnag
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from tests.docs_commands import all_commands
from tests.pnag.supernet.supernet_data import write_supernet_and_images

CIFAR = open_space("mbv3-cifar")

# A right line of each command that takes numbers; capitals stand for files of the tests.
LINES = {
    "profile": "--device fake --out new/t.json",
    "profile --shape": "--device cpu --model TABLE --out new/r.json",
    "profile --launch": "--device cuda --out new/t.json",
    "profile --l2": "--device cuda --out new/t.json",
    "profile --delegate": "--device adb --out new/t.json",
    "profile --minutes": "--device fake --space kernels --out new/t.json",
    "profile --samples": "--device fake --like TABLE --out new/t.json",
    "profile --lock-clocks": "--device cuda --out new/t.json",
    "predict": "--latency-table TABLE --arch ARCH",
    "predict --shape": "--latency-table TABLE --model TABLE",
    "train": "--latency-table TABLE --out new/run",
    "generate": "--run never --budget 30ms --export onnx --out new",
    "generate --candidates": "--run never --budget 30ms --verify-on fake",
    "demo": "--device fake --out new/demo",
    "report": "--run never --out new/report.html",
    "serve": "--run never",
    "space describe": "",
    "space inspect": "--arch ARCH",
    "space export": "--arch ARCH --out new",
    "table show": "TABLE",
    "table export": "TABLE --out new/t.yaml",
    "table diff": "TABLE TABLE",
    "table audit": "TABLE",
    "table import": "YAML --format ofa-yaml --out new/t.json",
    "table transfer": "--from TABLE --measured ROWS --device phone --out new/t.json",
    "supernet train": "--data IMAGES --out new/run",
    "supernet train --arch": "--data IMAGES --out new/run --batch-size 10",
    "supernet evaluate --arch": "--checkpoint SUPERNET --data IMAGES --out new/a.json "
    "--recalibration-images 10",
    "supernet evaluate": "--checkpoint SUPERNET --data IMAGES --out new/a.json",
    "supernet extract": "--checkpoint SUPERNET --data IMAGES --arch ARCH --out new",
}
MAY_BE_ZERO = {
    "--seed", "--networks", "--port", "--validate-epochs", "--hold-out", "--random-subnets",
    "--warmup-epochs", "--weight-decay", "--label-smoothing", "--ema-decay",
}  # fmt: skip
BEYOND = {int: ["-1", "nan", "1" + "0" * 30], float: ["-1", "nan", "inf", "1e309", "1e30"]}


def kind_of(parameter):
    """int or float; None for what is no number."""
    annotation = parameter.type_descriptor.annotation
    kinds = {annotation, *typing.get_args(annotation)}
    return next((kind for kind in (float, int) if kind in kinds), None)


NUMBERS = [
    (name.removeprefix("pnag "), parameter.opts[0], kind_of(parameter))
    for name, command in all_commands()
    for parameter in command.params
    if getattr(parameter, "type_descriptor", None) and kind_of(parameter)
]


# Options that are text, and where their number is; others are words, which no number is.
WRITTEN = {
    "--device": ["fake:{}", "cuda:{}", "adb://localhost:{}/x"],
    "--verify-on": ["fake:{}", "cuda:{}"],
    "--fleet": ["localhost:{}"],
    "--budget": ["{}", "{}ms"],
    "--max-params": ["{}", "{}M"],
    "--max-madds": ["{}", "{}M"],
    "--fail-above": ["{}%"],
    "--resolutions": ["{}", "128,{}"],
    "--shape": ["input={}", "input=1x3x{}x224"],
    "--arch": ["{},2,2,2,2" + 2 * (":3,3,0,0" + 4 * ",3,3,0,0")],
    **{f"supernet {command} --device": ["{}"] for command in ("train", "evaluate", "extract")},
}
ANY_TEXT = {
    "help words",  # a topic: one that is not there is refused with those like it
    "table import --device-model", "table import --runtime", "table transfer --device",
    "table transfer --runtime", "table transfer --source", "serve --host", "serve --allow-host",
}  # fmt: skip
NO_NUMBERS = [
    "0", "-1", "nan", "inf", "1e309", "9" * 5000, "\N{FULLWIDTH DIGIT TWO}", "2_0", " 2", "",
]  # fmt: skip
NO_WORDS = ["0", "1e309", ""]
ZERO_IS_ONE = {"fake:{}", "cuda:{}", "{}%"}
BLANKS_ARE_LAYOUT = {"--arch"}
TEXTS = [
    (name.removeprefix("pnag "), parameter.opts[0], written)
    for name, command in all_commands()
    for parameter in command.params
    if getattr(parameter, "type_descriptor", None)
    and parameter.type_descriptor.annotation in (str, list[str])
    and (option := f"{name} {parameter.opts[0]}".removeprefix("pnag ")) not in ANY_TEXT
    for written in WRITTEN.get(option, WRITTEN.get(parameter.opts[0], ["{}"]))
]


@pytest.fixture(scope="module")
def files(latency_table, tmp_path_factory):
    folder = write_supernet_and_images(tmp_path_factory.mktemp("supernet"), CIFAR)
    rows, yaml = folder / "rows.csv", folder / "table.yaml"
    lines = [f'"{arch}",{n}' for n, arch in enumerate(MobileNetV3Space().extremes(), 30)]
    rows.write_text("\n".join(["arch,latency_ms", *lines]))
    assert pnag(["table", "export", str(latency_table), "--out", str(yaml)]) == 0
    return {
        "TABLE": latency_table, "ARCH": CIFAR.extremes()[0], "ROWS": rows, "YAML": yaml,
        "IMAGES": folder / "colours.npz", "SUPERNET": folder / "supernet.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(("command", "option", "kind"), NUMBERS)
def test_a_number_beyond_its_bounds_is_refused(
    command, option, kind, files, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for value in [*BEYOND[kind], *["0"] * (option not in MAY_BE_ZERO)]:
        assert_refused(command, option, value, value, files, capsys)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "option", "written"), TEXTS)
def test_what_only_looks_like_a_number_is_refused(
    command, option, written, files, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    by_example = command.startswith("supernet") or (written == "{}" and option not in WRITTEN)
    for value in NO_WORDS if by_example else NO_NUMBERS:
        right = value == "0" and written in ZERO_IS_ONE
        if not right and not (value == " 2" and option in BLANKS_ARE_LAYOUT):
            assert_refused(command, option, written.format(value), value, files, capsys)
            assert list(tmp_path.iterdir()) == []


def assert_refused(command, option, value, number, files, capsys):
    """In one line that names the option or its number, with the exit code of bad input."""
    line = LINES.get(f"{command} {option}", LINES[command]).split()
    words = [*command.split(), *(str(files.get(word, word)) for word in line)]
    capsys.readouterr()
    assert pnag([*words, f"{option}={value}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("pnag: ") and err.count("\n") == 1
    named = (number.strip("- ")[:20], *option.strip("-").split("-"))
    assert any(word in err for word in named), err
