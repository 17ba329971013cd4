"""Networks as files for users: ONNX, TFLite, and torch weights as safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import Architecture, MobileNetV3Space
from profiler.system.atomic import write_bytes_atomic
from profiler.system.tensor_files import tensors_to_bytes

if TYPE_CHECKING:
    from profiler.graph.network import Network

FORMATS = ("onnx", "tflite", "torch")


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of formats.

    >>> parse_formats("onnx, torch")
    ('onnx', 'torch')
    """
    formats = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InvalidInputError(
            f"unknown export format {text!r}; known: {', '.join(FORMATS)} (comma-separated)"
        )
    return formats


def random_network(space: MobileNetV3Space, arch: Architecture, *, seed: int) -> Network:
    """The network of `arch` with random weights: right for latency, useless for accuracy."""
    from profiler.graph.network import Network, randomise_

    network = Network(space.ops(arch))
    randomise_(network, seed=seed)
    return network


def export_network(
    network: Network,
    arch: Architecture,
    space: MobileNetV3Space,
    formats: tuple[str, ...],
    directory: Path,
    *,
    stem: str,
) -> list[Path]:
    """Write `directory/stem.{onnx,tflite,safetensors}`, all or none; the paths written.

    The torch file holds the state dict of `profiler.graph.network.Network` (Once-for-All names),
    with the architecture and the space in its metadata.
    """
    contents: dict[Path, bytes] = {}
    for name in formats:
        if name == "onnx":
            from profiler.graph.onnx_writer import export_onnx

            suffix, data = "onnx", export_onnx(network.ops, network.folded_weights())
        elif name == "tflite":
            from profiler.graph.tflite_writer import export_tflite

            suffix, data = "tflite", export_tflite(network.ops, network.folded_weights())
        else:
            metadata = {
                "arch": str(arch),
                "ofa": json.dumps(arch.to_ofa()),
                "space": space.name,
                "width_mult": f"{space.width_mult:g}",
                "resolution_px": str(space.resolution_px),
            }
            suffix, data = "safetensors", tensors_to_bytes(network.state_dict(), metadata)
        contents[directory / f"{stem}.{suffix}"] = data
    for path, data in contents.items():
        write_bytes_atomic(path, data)
    return list(contents)
