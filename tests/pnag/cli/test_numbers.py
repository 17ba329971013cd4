"""Every number of every command has bounds: what lies beyond them is refused in one line.

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
    "profile --minutes": "--device fake --space kernels --out new/t.json",
    "profile --samples": "--device fake --like TABLE --out new/t.json",
    "profile --lock-clocks": "--device cuda --out new/t.json",
    "predict": "--latency-table TABLE --arch ARCH",
    "train": "--latency-table TABLE --out new/run",
    "generate": "--run never --budget 30ms --export onnx --out new",
    "generate --candidates": "--run never --budget 30ms --verify-on fake",
    "demo": "--device fake --out new/demo",
    "report": "--run never --out new/report.html",
    "serve": "--run never",
    "space describe": "",
    "space inspect": "--arch ARCH",
    "space export": "--arch ARCH --out new",
    "table import": "YAML --format ofa-yaml --out new/t.json",
    "table transfer": "--from TABLE --measured ROWS --device phone --out new/t.json",
    "supernet train": "--data IMAGES --out new/run",
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
    line = LINES.get(f"{command} {option}", LINES[command]).split()
    words = [*command.split(), *(str(files.get(word, word)) for word in line)]
    capsys.readouterr()
    for value in [*BEYOND[kind], *["0"] * (option not in MAY_BE_ZERO)]:
        assert pnag([*words, f"{option}={value}"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("pnag: ") and err.count("\n") == 1
        assert value in err or any(word in err for word in option.strip("-").split("-")), err
        assert list(tmp_path.iterdir()) == []
