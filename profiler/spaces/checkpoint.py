"""Networks with the weights of a published checkpoint: of a supernet, or of the network alone.

In a supernet (Cai et al., ICLR 2020) a narrower layer takes the first channels of the widest, and a
smaller depthwise kernel the centre of the next larger one times a learned matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from profiler.errors import InvalidInputError
from profiler.graph.layers import Shape
from profiler.graph.op import Op
from profiler.spaces.base import Tokens
from profiler.spaces.networks import NamesModules, NetworkSpace, network_ops
from profiler.spaces.row_network import RowNetwork
from profiler.system.tensor_files import refuse_infinite

State = dict[str, Tensor]

# Once-for-All has renamed its modules over time; repeated names are those of dynamic layers.
_REPEATED = re.compile(r"\.(bn|conv|linear)(?:\.\1)+\.")


def canonical_name(name: str) -> str:
    """One name for a tensor, whichever version of Once-for-All wrote it.

    >>> canonical_name("module.blocks.3.mobile_inverted_conv.depth_conv.bn.bn.weight")
    'blocks.3.conv.depth_conv.bn.weight'
    >>> canonical_name("blocks.3.conv.depth_conv.conv.conv.weight")
    'blocks.3.conv.depth_conv.conv.weight'
    """
    name = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    return _REPEATED.sub(r".\1.", name)


def read_torch_state(path: Path) -> State:
    """The state dict of a PyTorch checkpoint, bare or under `state_dict`.

    Raises:
        InvalidInputError: unreadable, not a state dict, or numbers that are not finite.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is not a plain state dict
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InvalidInputError(f"{path} is no PyTorch checkpoint of tensors: {line}") from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InvalidInputError(f"{path} holds no state dict")
    refuse_infinite(state, path)
    return dict(state)


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint as others wrote it, from which any network of its space takes its part.

    Attributes:
        tensors: by canonical names.
        source: for messages.
    """

    space: NetworkSpace
    tensors: Mapping[str, Tensor] = field(repr=False)
    source: str

    @classmethod
    def read(cls, path: Path, space: NetworkSpace) -> PublishedWeights:
        """Raises InvalidInputError for what is no PyTorch checkpoint, or a space without any."""
        if not isinstance(space, NamesModules):
            raise InvalidInputError(f"no checkpoints of {space.name} are known")
        state = read_torch_state(path)
        named = {canonical_name(name): tensor for name, tensor in state.items()}
        return cls(space, named, str(path))

    def network(self, arch: str) -> RowNetwork:
        """The network of a written architecture with these weights, as they are.

        BatchNorm keeps a supernet's statistics, which fit no subnet well.

        Raises:
            InvalidInputError: weights of other networks.
        """
        tokens = self.space.parse(arch)
        ops = network_ops(self.space, tokens)
        own_names = self._names(ops)
        network = RowNetwork(ops, own_names)
        theirs = own_names if self._is_of(network) else self._names_in_supernet(tokens)
        state: State = {}
        for own, their, op in zip(own_names, theirs, ops, strict=True):
            for name, shape in op.graph.weight_shapes.items():
                state[f"{own}.{name}"] = self._part(canonical_name(f"{their}.{name}"), shape)
        network.load_state_dict(state, strict=False)  # counts of batches are no weights
        return network.eval()

    def _names(self, ops: Sequence[Op]) -> Sequence[str]:
        return self.space.module_names(ops) if isinstance(self.space, NamesModules) else ()

    def _is_of(self, network: RowNetwork) -> bool:
        """Whether the checkpoint holds this network alone."""
        shapes = network.as_graph().weight_shapes
        found = {name: self.tensors.get(canonical_name(name)) for name in shapes}
        return all(w is not None and w.shape == shapes[name] for name, w in found.items())

    def _names_in_supernet(self, tokens: Tokens) -> list[str]:
        """Of the modules that a network takes from the one which holds all stretches at once."""
        everything: list[Op] = []
        taken: list[int] = []
        for segment in self.space.segments():
            chosen = segment.ops.get(tuple(int(tokens[at]) for at in segment.positions), ())
            taken += range(len(everything), len(everything) + len(chosen))
            longest: tuple[Op, ...] = max(segment.ops.values(), key=len)
            everything += longest
        names = self._names(everything)
        return [names[at] for at in taken]

    def _part(self, name: str, shape: Shape) -> Tensor:
        """What a layer of this shape takes of the tensor `name`."""
        if name not in self.tensors:
            raise InvalidInputError(f"{self.source} has no {name}")
        tensor = self.tensors[name]
        if len(shape) == 4 and shape[1] == 1 and tensor.shape[-1] > shape[-1]:
            tensor = _smaller_kernel(self.tensors, name, tensor, shape[-1])
        fits = tensor.dim() == len(shape) and all(
            have >= want for have, want in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            raise InvalidInputError(
                f"{self.source}: {name} is {list(tensor.shape)}, expected {list(shape)} or more: "
                "another width multiplier or another number of classes?"
            )
        return tensor[tuple(slice(size) for size in shape)].clone()


def _smaller_kernel(given: Mapping[str, Tensor], name: str, weight: Tensor, kernel: int) -> Tensor:
    """[channels, 1, kernel, kernel] of a larger depthwise filter, step by step."""
    layer = name.removesuffix(".weight")
    for size in range(weight.shape[-1] - 2, kernel - 1, -2):
        centre = weight[:, :, 1:-1, 1:-1].flatten(1)
        matrix = given.get(f"{layer}.{size + 2}to{size}_matrix")
        weight = centre if matrix is None else centre @ matrix.T
        weight = weight.reshape(-1, 1, size, size)
    return weight
