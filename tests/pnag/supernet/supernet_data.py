"""Tiny synthetic images for the supernet's tests (ten colours, noise, 32 px), and its command."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from pnag.cli.supernet import register
from pnag.supernet.checkpoint import WEIGHTS, SupernetFile
from pnag.supernet.data import ArraySplit, Dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from profiler.graph.to_torch import randomise_
from profiler.spaces.mobilenetv3 import MobileNetV3Space


def coloured_images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 3, 32, 32] whose mean colour tells the label, int64 [n]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    colours = np.random.default_rng(99).integers(40, 216, size=(10, 3, 1, 1))
    noise = rng.integers(-30, 31, size=(n, 3, 32, 32))
    return (colours[labels] + noise).astype(np.uint8), labels.astype(np.int64)


def coloured_dataset(n_train: int = 64, n_test: int = 40) -> Dataset:
    train, test = (
        ArraySplit(*map(torch.from_numpy, coloured_images(n, seed)))
        for seed, n in enumerate((n_train, n_test))
    )
    return Dataset("colours", train, test, 10)


def encoded(image: np.ndarray, kind: str) -> bytes:
    """One [3, side, side] image as a PNG or JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind)
    return buffer.getvalue()


def write_jpeg_npz(path: Path, n_train: int = 64, n_test: int = 40) -> None:
    sizes = {"train": n_train, "test": n_test}
    write_images(path, {s: coloured_images(n, seed) for seed, (s, n) in enumerate(sizes.items())})


def write_images(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """A .npz of JPEG images from uint8 [n, 3, side, side] and labels [n] of both splits."""
    arrays: dict[str, Any] = {}
    for split, (images, labels) in splits.items():
        files = [encoded(image, "JPEG") for image in images]
        arrays[f"{split}_bytes"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_off"] = np.cumsum([0, *map(len, files)])
        arrays[f"{split}_y"] = labels
    np.savez(path, **arrays)


def write_supernet_and_images(folder: Path, space: MobileNetV3Space) -> Path:
    """A checkpoint of ours with random weights, and 30 + 20 images."""
    model = randomise_(ElasticMobileNetV3(space), seed=1)
    weights = {WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    SupernetFile(weights, space.facts).save(folder / "supernet.safetensors")
    write_jpeg_npz(folder / "colours.npz", n_train=30, n_test=20)
    return folder


def supernet_command(*arguments: object) -> dict[str, Any]:
    """The document that `pnag supernet` prints; its errors are raised."""
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(
        app, ["supernet", *map(str, arguments), "--json", "--quiet"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document
