"""Supernet weights in files: ours, the state of a training run, and Once-for-All's published.

Ours are safetensors with JSON metadata. A PyTorch file is read with `weights_only`: tensors
are loaded, no code is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from pnag.supernet.compression import compressed, expanded
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.supernet import Supernet
from profiler.errors import InvalidInputError
from profiler.printable import shown
from profiler.spaces import mobilenetv3, registry
from profiler.spaces.checkpoint import PublishedWeights, canonical_name, read_torch_state
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.tensor_files import (
    described,
    read_metadata,
    read_tensors,
    write_tensors,
)

SCHEMA: Final = "pnag.supernet/1"
COMPRESSED_FROM: Final = "compressed_from_sha256"
WEIGHTS: Final = "weights/"  # what is evaluated: the moving average, once training has one

_MAY_BE_ABSENT = ("_matrix", "num_batches_tracked")  # of a plain network; of old PyTorch


@dataclass(frozen=True)
class SupernetFile:
    """A file of ours: tensors by name, and what they are.

    Attributes:
        facts: JSON-like; `space`, `width_mult`, `resolution_px` and whatever the writer adds.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def space(self) -> MobileNetV3Space:
        return space_of(self.facts)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start with `prefix`, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_tensors(path, self.tensors, described(SCHEMA, self.facts))


def space_of(facts: Mapping[str, Any]) -> MobileNetV3Space:
    """The space that a file of ours belongs to."""
    return mobilenetv3.open_space(facts["space"], facts["width_mult"], facts["resolution_px"])


def read_supernet_file(path: Path) -> SupernetFile:
    """Read a file of ours.

    Raises:
        InvalidInputError: unreadable, damaged, or not one of ours.
    """
    tensors, metadata = read_tensors(path)
    return SupernetFile(tensors, _facts(path, metadata))


def read_facts(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself; its tensors are not read.

    Raises:
        InvalidInputError: unreadable, damaged, or not one of ours.
    """
    return _facts(path, read_metadata(path))


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if SCHEMA not in metadata:
        found = ", ".join(sorted(metadata)) or "no metadata"
        raise InvalidInputError(f"{path} is no supernet checkpoint: {found}, expected {SCHEMA}")
    try:
        facts: dict[str, Any] = json.loads(metadata[SCHEMA])
        space_of(facts)
        _check_settings(facts.get("settings", {}))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidInputError(f"{path} holds malformed facts: {error}") from None
    return facts


def _check_settings(settings: Any) -> None:
    """Raise TypeError or ValueError where those that are asked for are none."""
    if not isinstance(settings, dict):
        raise TypeError("settings are no object")
    for name, kind in (("arch", str), ("held_out", int), ("seed", int)):
        if not isinstance(settings.get(name), kind | None):
            raise TypeError(f"settings.{name} is {shown(settings[name])}")
    if (settings.get("seed") or 0) < 0:
        raise ValueError(f"settings.seed is {shown(settings['seed'])}")


def compress_supernet(path: Path) -> SupernetFile:
    """The weights of a file of ours alone, in 8 bits; its facts say what they are made from.

    Raises:
        InvalidInputError: unreadable, not one of ours, or compressed already.
    """
    file = read_supernet_file(path)
    if COMPRESSED_FROM in file.facts:
        raise InvalidInputError(f"{path} is compressed already")
    state = compressed(file.part(WEIGHTS))
    facts = file.facts | {COMPRESSED_FROM: file_digest(path)}
    return SupernetFile({WEIGHTS + name: tensor for name, tensor in state.items()}, facts)


def checkpoint_digests(path: Path) -> list[str]:
    """SHA-256 of a checkpoint and, where it is compressed, of what it is made from."""
    digests = [file_digest(path)]
    if path.suffix == ".safetensors":
        original = read_facts(path).get(COMPRESSED_FROM)
        digests += [original] if original else []
    return digests


def load_supernet(path: Path, space: MobileNetV3Space | None = None) -> ElasticMobileNetV3:
    """A supernet with the weights of `path`: ours (.safetensors) or Once-for-All's (PyTorch).

    `space` is needed for a PyTorch file, and checked against one of ours.

    Raises:
        InvalidInputError: unreadable, malformed, or weights of another space or width.
    """
    if path.suffix == ".safetensors":
        file = read_supernet_file(path)
        if space is not None and space != file.space:
            raise InvalidInputError(f"{path} is a supernet of {file.space}, not of {space}")
        space, state = file.space, expanded(file.part(WEIGHTS), source=str(path))
    else:
        space, state = space or MobileNetV3Space(), read_torch_state(path)
    model = ElasticMobileNetV3(space)
    load_named(model, state, source=str(path))
    return model.eval()


def open_supernet(
    path: Path,
    space_name: str | None = None,
    width_mult: float | None = None,
    resolution_px: int | None = None,
) -> Supernet:
    """The same of any space, by name: one of ours says its own, a PyTorch file is `mbv3` unless
    told.
    """
    if path.suffix == ".safetensors":
        own = space_of(read_facts(path))
        if space_name in (None, own.name):
            space_name = own.name
            resolution_px = own.resolution_px if resolution_px is None else resolution_px
            width_mult = own.width_mult if width_mult is None else width_mult
    space = registry.open_space(space_name or "mbv3", width_mult, resolution_px)
    if isinstance(space, MobileNetV3Space):
        return load_supernet(path, space)
    if path.suffix == ".safetensors":
        raise InvalidInputError(f"{path} is a supernet of {own}, not of {space}")
    return PublishedWeights.read(path, space)


def only_subnet(path: Path) -> str | None:
    """The one that a checkpoint was fine-tuned for, written; None for a supernet."""
    if path.suffix != ".safetensors":
        return None
    facts = read_facts(path)
    only = facts.get("settings", {}).get("arch")
    return None if only is None else str(space_of(facts).parse_architecture(only))


def refuse_untrained(path: Path, archs: Sequence[str]) -> None:
    """After fine-tuning one subnet, the weights of others mean nothing.

    Raises:
        InvalidInputError: `archs` holds another one than the checkpoint's only.
    """
    only = only_subnet(path)
    if only is not None and list(archs) != [only]:
        raise InvalidInputError(f"{path} holds one fine-tuned subnet: use --arch {only}")


def load_named(model: ElasticMobileNetV3, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load Once-for-All weights under any of the names they were published with.

    A plain network of the largest architecture loads as well; the kernel matrices then
    stay what they are.

    Raises:
        InvalidInputError: tensors are missing, unknown or of other shapes.
    """
    own = model.state_dict()
    names = {canonical_name(name): name for name in own}
    given = {canonical_name(name): tensor for name, tensor in state.items()}
    unknown = sorted(set(given) - set(names))
    missing = sorted(n for n in set(names) - set(given) if not n.endswith(_MAY_BE_ABSENT))
    if unknown or missing:
        problem = f"unknown {unknown[0]}" if unknown else f"missing {missing[0]}"
        raise InvalidInputError(
            f"{source} is no Once-for-All MobileNetV3 of depths 2-4, expands 3/4/6, kernels "
            f"3/5/7: {len(unknown)} unknown and {len(missing)} missing tensors ({problem})"
        )
    for name, tensor in given.items():
        expected = own[names[name]].shape
        if tensor.shape != expected:
            raise InvalidInputError(
                f"{source}: {name} is {list(tensor.shape)}, expected {list(expected)}: "
                "another width multiplier or another number of classes?"
            )
    model.load_state_dict({names[name]: tensor for name, tensor in given.items()}, strict=False)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
