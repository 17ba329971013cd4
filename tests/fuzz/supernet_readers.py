"""Readers of supernets: their checkpoints, what training and evaluation leave, and images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pnag.supernet import checkpoint, evaluate
from pnag.supernet.accuracy_table import EvaluationJob, exported_settings
from pnag.supernet.checkpoint import (
    WEIGHTS,
    SupernetFile,
    compress_supernet,
    file_digest,
    load_supernet,
    only_subnet,
    read_facts,
)
from pnag.supernet.data import Dataset, fingerprint, hold_out, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import EvaluationSettings, open_judged
from pnag.supernet.train_run import cut_metrics
from pnag.supernet.workers import Workers
from profiler.graph.to_torch import randomise_
from profiler.spaces.checkpoint import read_torch_state
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.terminal import SILENT
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import of_file
from tests.fuzz.mutations import ARRAYS, BYTES, JSON, JSON_LINES, TENSORS
from tests.fuzz.narrow_space import narrow_space
from tests.pnag.supernet.supernet_data import (
    coloured_dataset,
    coloured_images,
    encoded,
    write_images,
)
from tests.pnag.supernet.test_data import python2_pickle

CIFAR = MobileNetV3Space("mbv3-cifar", 1.0, 32)


@cache
def _network(space: MobileNetV3Space) -> ElasticMobileNetV3:
    """With two of its blocks: all are read alike. Making it is no part of reading."""
    network = ElasticMobileNetV3(space)
    del network.blocks[2:]
    return network


@cache
def _images_of_supernet() -> Dataset:
    return coloured_dataset(4, 2)


def _supernet(folder: Path) -> Sequence[bytes]:
    """As fine-tuned for one of its networks, on images but for some that were kept; in 8 bits."""
    path = folder / "supernet.safetensors"
    with narrow_space() as space:
        state = randomise_(_network(space), seed=1).state_dict()
        tensors = {WEIGHTS + name: tensor for name, tensor in state.items()}
        (arch,) = space.sample(1, np.random.default_rng(0))
        settings = {"arch": space.format(arch), "held_out": 2, "seed": 1}
        used, _ = hold_out(_images_of_supernet(), 2, seed=1)
        own = {"settings": settings, "data_fingerprint": fingerprint(used)}
        SupernetFile(tensors, space.facts | own).save(path)
        trained = path.read_bytes()
        compress_supernet(path).save(path)
        return [trained, path.read_bytes()]


def _checkpoint(path: Path) -> Any:
    with (
        narrow_space() as space,
        patch.object(checkpoint, "ElasticMobileNetV3", _network),
        patch.object(evaluate, "open_dataset", lambda *given: _images_of_supernet()),
    ):
        read_facts(path)
        only_subnet(path)
        load_supernet(path)
        open_judged(path, space, path, held_out=True)


def _records(folder: Path) -> Sequence[bytes]:
    records = [{"step": step, "epoch": 0, "loss": 2.5, "images_per_s": 99.5} for step in range(4)]
    records.insert(2, {"step": 1, "top1_smallest": 0.25, "top1_largest": 0.5})
    return ["".join(json.dumps(record) + "\n" for record in records).encode()]


def _cut(path: Path) -> Any:
    cut_metrics(path, 3)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(record["step"] < 3 for record in kept)


RECIPE: dict[str, Any] = {"settings": {"batch_size": 200}}


def _evaluations(folder: Path) -> Sequence[bytes]:
    archs = [CIFAR.format(row) for row in CIFAR.sample(3, np.random.default_rng(0))]
    rows = [{"arch": arch, "top1": 0.5} for arch in archs]
    return ["".join(json.dumps(row) + "\n" for row in [{"recipe": RECIPE}, *rows]).encode()]


def _evaluated(path: Path) -> Any:
    """The table of what a journal says is done; both are removed again."""
    job = EvaluationJob(path.parent / "t.json", RECIPE, "colours", "a test")
    arch = CIFAR.format(CIFAR.sample(1, np.random.default_rng(1))[0])
    with SILENT.progress("evaluating", 1) as progress:
        table = job.run(CIFAR, lambda arch: 0.75, [arch], Workers(), progress)
    job.discard()
    assert ((table.top1 >= 0) & (table.top1 <= 1)).all() and table.top1[0] == 0.75
    return table.top1


@cache
def _images_of_recipe() -> Dataset:
    return coloured_dataset(2, 2)


def _recipe(folder: Path) -> Sequence[bytes]:
    weights = folder / "weights.pth"
    weights.write_bytes(b"weights")
    document = {
        "checkpoint_sha256": file_digest(weights), "space": dict(CIFAR.facts), "data": "colours",
        "data_fingerprint": fingerprint(_images_of_recipe()),
        "settings": asdict(EvaluationSettings()),
    }  # fmt: skip
    return [json.dumps(document).encode()]


def _recipe_read(path: Path) -> Any:
    weights = path.with_name("weights.pth")
    weights.write_bytes(b"weights")
    settings = exported_settings(path, weights, CIFAR, _images_of_recipe())
    assert all(isinstance(n, int) for n in (settings.batch_size, settings.seed))
    return settings


def _torch_state(folder: Path) -> Sequence[bytes]:
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.zeros(2, 2), "b": torch.ones(3)}}, out)
    return [out.getvalue()]


def _images(folder: Path) -> Sequence[bytes]:
    """The last class tells how many there are."""
    images, _ = coloured_images(2, 0)
    write_images(folder / "seed.npz", {
        "train": (images, np.array([9, 0])), "test": (images[:1], np.array([1])),
    })  # fmt: skip
    return [(folder / "seed.npz").read_bytes()]


def _dataset(path: Path) -> Any:
    return fingerprint(open_dataset(path, CIFAR))


def _cifar_batch(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(2, 0)
    return [b"".join(bytes([label]) + image.tobytes()
                     for label, image in zip(labels.tolist(), images, strict=True))]  # fmt: skip


def _cifar_pickle(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(2, 0)
    rows = images.reshape(2, -1)
    return [python2_pickle(rows, labels.tolist(), fortran=order) for order in (False, True)]


def _cifar(first: str, test: str) -> Callable[[bytes, Path], Any]:
    """Every batch is the same one."""

    def read(data: bytes, folder: Path) -> Any:
        (folder / test).write_bytes(data)
        for at in range(1, 6):
            batch = folder / first.format(at)
            if not batch.exists():
                batch.symlink_to(folder / test)
        return _dataset(folder)

    return read


def _image_files(folder: Path) -> Sequence[bytes]:
    images, _ = coloured_images(1, 0)
    return [encoded(images[0], kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP")]


def _image_folder(data: bytes, folder: Path) -> Any:
    """The only image to train on is another file; its class is one of two."""
    other, sound = (folder / split / "class0" / "image.png" for split in ("train", "val"))
    if not sound.exists():
        sound.parent.mkdir(parents=True)
        sound.write_bytes(encoded(coloured_images(1, 0)[0][0], "PNG"))
        for at in range(2):
            (folder / "train" / f"class{at}").mkdir(parents=True)
    other.write_bytes(data)
    with narrow_space() as space:
        return fingerprint(open_dataset(folder, space))


def supernet_readers() -> list[Reader]:
    return [
        of_file("supernet", "s.safetensors", TENSORS, _checkpoint, _supernet),
        of_file("supernet-metrics", "metrics.jsonl", JSON_LINES, _cut, _records),
        of_file("evaluation-journal", ".t.json.0.jsonl", JSON_LINES, _evaluated, _evaluations),
        of_file("recipe", "t.recipe.json", JSON, _recipe_read, _recipe),
        of_file("torch-state", "s.pth", BYTES, read_torch_state, _torch_state),
        of_file("image-npz", "i.npz", ARRAYS, _dataset, _images),
        Reader("cifar-binary", _cifar_batch, BYTES, _cifar("data_batch_{}.bin", "test_batch.bin")),
        Reader("cifar-python", _cifar_pickle, BYTES, _cifar("data_batch_{}", "test_batch")),
        Reader("image-file", _image_files, BYTES, _image_folder),
    ]
