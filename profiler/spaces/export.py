"""Networks as files for users: ONNX, TFLite, and torch weights as safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens, other_forms
from profiler.spaces.networks import NetworkSpace, network_graph
from profiler.system.atomic import write_bytes_atomic
from profiler.system.tensor_files import tensors_to_bytes

if TYPE_CHECKING:
    from profiler.graph.graph import Graph, Weights

FORMATS = ("onnx", "tflite", "torch")


class WeightedNetwork(Protocol):
    """A torch module, and the graph that it computes."""

    def as_graph(self) -> Graph: ...

    def weights(self) -> Weights:
        """The weights of `as_graph()`."""
        ...

    def state_dict(self) -> Any: ...


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


def random_network(space: NetworkSpace, tokens: Tokens, *, seed: int) -> WeightedNetwork:
    """The network of [L] tokens with random weights: right for latency, useless for accuracy."""
    from profiler.graph.to_torch import GraphModule, randomise_

    return randomise_(GraphModule(network_graph(space, tokens)), seed=seed)


def export_network(
    network: WeightedNetwork,
    tokens: Tokens,
    space: NetworkSpace,
    formats: tuple[str, ...],
    directory: Path,
    *,
    stem: str,
) -> list[Path]:
    """Write `directory/stem.{onnx,tflite,safetensors}`, all or none; the paths written.

    The torch file holds the network's state dict (by the published names), with the architecture
    and the space in its metadata.
    """
    contents: dict[Path, bytes] = {}
    for name in formats:
        if name == "onnx":
            from profiler.graph.to_onnx import export_onnx

            suffix, data = "onnx", export_onnx(network.as_graph(), network.weights())
        elif name == "tflite":
            from profiler.graph.to_tflite import export_tflite

            suffix, data = "tflite", export_tflite(network.as_graph(), network.weights())
        else:
            metadata = {
                "arch": space.format(tokens),
                **{name: json.dumps(form) for name, form in other_forms(space, tokens).items()},
                **{name: str(fact).removesuffix(".0") for name, fact in space.facts.items()},
            }
            suffix, data = "safetensors", tensors_to_bytes(network.state_dict(), metadata)
        contents[directory / f"{stem}.{suffix}"] = data
    for path, data in contents.items():
        write_bytes_atomic(path, data)
    return list(contents)
