"""Every command that writes: what it is given, and what it promises of what it makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from unittest import mock

import yaml

from benchmarks.faults import file_device
from pnag.learning.settings import TrainSettings
from profiler.measuring import protocol
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from profiler.system import stamp
from profiler.tables.table import load_table
from tests.pnag.profiled import SMALL
from tests.pnag.supernet.supernet_data import write_supernet_and_images
from tests.profiler.fast import FAST
from tests.profiler.models.onnx_files import convolution

Pnag = Callable[[str], object]  # runs a command in the folder that is being made
Input = Callable[[Path, Pnag], None]

SETTINGS = replace(
    SMALL, n_evaluations=120, rounds=3, n_budgets=3, evaluator_steps=5, generator_steps=5
)
PROFILE = "profile --device fake:1 --space mbv3 --quick --networks 20 --out table.json"
MODELS = "profile --device files --model small.onnx --model large.onnx --quick --out models.json"
LARGE = str(MobileNetV3Space().extremes()[-1])
SMALL_IMAGES = str(open_space("mbv3-cifar").extremes()[0])


class FixedClock(datetime):
    """Now is always the same, so that equal results are equal files."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FixedClock:
        return cls(2026, 1, 1, tzinfo=UTC)


def made_small() -> None:
    """Less of everything that commands do for precision alone, under a clock that stands."""
    values = SETTINGS.to_json()
    defaults = tuple(values[name] for name in TrainSettings.__dataclass_fields__)
    mock.patch.object(TrainSettings.__init__, "__defaults__", defaults).start()
    for name in ("QUICK", "FULL"):
        mock.patch.object(protocol, name, FAST).start()
    mock.patch.object(stamp, "datetime", FixedClock).start()
    file_device.register()


@dataclass(frozen=True)
class Writer:
    """A command in a folder with inputs.

    Attributes:
        same: whether one that was cut off and then went on leaves the bytes of one that was not.
        varying: names of files that are never the same, though all others are.
        kept: names of files that hold what is done so far, and that a next run goes on from.
    """

    name: str
    arguments: str
    inputs: tuple[Input, ...]
    same: bool = True
    varying: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def rows(folder: Path, _: Pnag) -> None:
    """A tabular space of 256 rows."""
    lines = ["a,b,c,d,top1,latency_ms"]
    for row in itertools.product(range(4), repeat=4):
        text = ",".join(map(str, row))
        lines.append(f"{text},{0.5 + sum(row) / 50:.4f},{1 + sum(row) + row[0] / 7:.4f}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def ofa_yaml(folder: Path, _: Pnag) -> None:
    keys = {key: {"count": 9, "mean": 0.5, "std": 0.1} for key in MobileNetV3Space().distinct_ops()}
    (folder / "ofa.yaml").write_text(yaml.safe_dump(keys))


def table(_: Path, pnag: Pnag) -> None:
    pnag(PROFILE)


def run(_: Path, pnag: Pnag) -> None:
    pnag("train --latency-table table.json --out run")


def verified(_: Path, pnag: Pnag) -> None:
    """What the run already keeps of another budget."""
    pnag("generate --run run --budget 50ms --verify-on fake:1")


def networks(folder: Path, _: Pnag) -> None:
    """Two model files."""
    convolution(folder / "small.onnx")
    convolution(folder / "large.onnx", channels=256)


def models(_: Path, pnag: Pnag) -> None:
    pnag(MODELS)


def measured(folder: Path, _: Pnag) -> None:
    """Six networks of another device, half as fast."""
    networks = load_table(folder / "table.json").networks[:6]
    lines = [f'"{one.arch}",{2 * one.latency_ms:.4f},us' for one in networks]
    (folder / "measured.csv").write_text("\n".join(["arch,latency_ms,source", *lines]) + "\n")


def images_and_supernet(folder: Path, _: Pnag) -> None:
    write_supernet_and_images(folder, open_space("mbv3-cifar"))


JOURNAL = ("table.journal.sqlite",)
SUPERNET = "--checkpoint supernet.safetensors"
WRITERS = {
    writer.name: writer
    for writer in (
        Writer("profile", PROFILE, (), same=False, kept=JOURNAL),
        Writer("profile, two devices", "profile --device fake:1 --device fake:2 --quick "
               "--networks 6", (), same=False, kept=(
                   "fake-1_mbv3_w1.0_224_quick.journal.sqlite",
                   "fake-2_mbv3_w1.0_224_quick.journal.sqlite")),
        Writer("profile, two settings", "profile --device fake:1 --quick --networks 6 --threads 1 "
               "--threads 2", (), same=False, kept=(
                   "fake-1_mbv3_w1.0_224_quick.journal.sqlite",
                   "fake-1_mbv3_w1.0_224_t2_quick.journal.sqlite")),
        Writer("profile --model", MODELS, (networks,), same=False,
               kept=("models.journal.sqlite",)),
        Writer("profile --space kernels", "profile --device files --space kernels --minutes 0.1 "
               "--networks 0 --quick --out kernels.json", (), same=False,
               kept=("kernels.journal.sqlite",)),
        Writer("profile --like", "profile --device fake:2 --like table.json --quick --samples 12 "
               "--out like.json", (table,), same=False, kept=("like.journal.sqlite",)),
        Writer("train", "train --space tabular:rows.csv --resume --out run", (rows,),
               kept=("checkpoint.safetensors", "config.json", "metrics.jsonl")),
        Writer("train, of a table", "train --latency-table table.json --resume --out run",
               (table,), kept=("checkpoint.safetensors", "config.json", "metrics.jsonl")),
        Writer("train --refine-on", "train --latency-table table.json --refine-on fake:1 --resume "
               "--out run", (table, run), same=False, kept=("refinement.journal.sqlite",)),
        Writer("generate --verify-on", "generate --run run --budget 40ms --verify-on fake:1",
               (table, run, verified), same=False),
        Writer("generate --export", "generate --run run --budget 40ms --export onnx,torch "
               "--out nets", (table, run)),
        Writer("table import", "table import ofa.yaml --format ofa-yaml --out imported.json",
               (ofa_yaml,)),
        Writer("table export", "table export table.json --out exported.yaml", (table,)),
        Writer("table transfer", "table transfer --from table.json --measured measured.csv "
               "--device phone --out transferred.json", (table, measured)),
        Writer("space export", f"space export --space mbv3 --arch {LARGE} --export onnx,torch "
               "--out nets", ()),
        Writer("supernet train", "supernet train --data colours.npz --device cpu --epochs 1 "
               "--batch-size 8 --micro-batch-size 8 --random-subnets 0 --checkpoint-steps 1 "
               "--log-steps 1 --validate-epochs 0 --out net", (images_and_supernet,),
               varying=("metrics.jsonl",), kept=("checkpoint.safetensors", "metrics.jsonl")),
        Writer("supernet evaluate", f"supernet evaluate {SUPERNET} --data colours.npz --count 6 "
               "--recalibration-images 12 --test-images 11 --device cpu --out accuracies.json",
               (images_and_supernet,), kept=(".accuracies.json.0.jsonl",)),
        Writer("supernet extract", f"supernet extract {SUPERNET} --arch {SMALL_IMAGES} "
               "--export onnx,torch --device cpu --out nets", (images_and_supernet,)),
        Writer("supernet compress", f"supernet compress {SUPERNET} --out smaller.safetensors",
               (images_and_supernet,)),
        Writer("report", "report --run run --out report.html", (table, run)),
        Writer("report --figures", "report --run run --figures figures", (table, run)),
        Writer("report --models", "report --models models.json", (networks, models)),
        Writer("demo", "demo --device fake:1 --out demo", (), same=False,
               kept=(*JOURNAL, "table.json", "checkpoint.safetensors", "demo.json")),
    )
}  # fmt: skip
