"""An example of every command: the end of its `--help`."""

from __future__ import annotations

import typer
from typer.main import get_command_name

ARCH = "2,2,2,2,2:3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0:3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0,3,3,0,0"
CHECKPOINT = "runs/supernet/supernet.safetensors"
EXAMPLES = {
    "pnag devices": "pnag devices",
    "pnag profile": "pnag profile --device cpu --space mbv3 --networks 30 --out tables/cpu.json",
    "pnag predict": "pnag predict --latency-table tables/cpu.json --model net.onnx",
    "pnag train": "pnag train --latency-table tables/cpu.json --out runs/cpu",
    "pnag generate": "pnag generate --run runs/cpu --budget 9ms --budget 12ms --verify-on cpu",
    "pnag report": "pnag report --run runs/cpu --out report.html",
    "pnag serve": "pnag serve --run runs/cpu --port 8000",
    "pnag demo": "pnag demo --out demo",
    "pnag help": "pnag help android",
    "pnag space describe": "pnag space describe --space mbv3 --width-mult 1.2",
    "pnag space inspect": f"pnag space inspect --arch {ARCH}",
    "pnag space export": f"pnag space export --arch {ARCH} --export onnx,tflite --out nets",
    "pnag table show": "pnag table show tables/cpu.json",
    "pnag table import": "pnag table import --format ofa-yaml note10.yaml --out tables/note10.json",
    "pnag table transfer": "pnag table transfer --from tables/note10.json --measured mine.csv "
    "--device Pixel --out tables/pixel.json",
    "pnag table export": "pnag table export tables/cpu.json --format ofa-yaml --out cpu.yaml",
    "pnag table diff": "pnag table diff tables/monday.json tables/tuesday.json",
    "pnag table validate": "pnag table validate tables/cpu.json",
    "pnag table schema": "pnag table schema",
    "pnag supernet train": "pnag supernet train --data cifar10.npz --out runs/supernet",
    "pnag supernet evaluate": f"pnag supernet evaluate --checkpoint {CHECKPOINT} "
    "--data cifar10.npz --out accuracy.json",
    "pnag supernet extract": f"pnag supernet extract --checkpoint {CHECKPOINT} --arch {ARCH} "
    "--data cifar10.npz --export onnx --out nets",
    "pnag supernet compress": f"pnag supernet compress --checkpoint {CHECKPOINT} "
    "--out small.safetensors",
}


def add_examples(app: typer.Typer, path: str = "pnag") -> None:
    """Give every command below `path` its example as epilog."""
    for command in app.registered_commands:
        name = command.name or get_command_name(getattr(command.callback, "__name__", ""))
        example = EXAMPLES.get(f"{path} {name}")
        if example:
            command.epilog = f"\b\nExample:\n  {example}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{path} {group.name}")
