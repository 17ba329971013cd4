"""Spaces whose architectures are networks: which ops the choices add."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from profiler.errors import InvalidInputError
from profiler.graph.graph import Graph, chain
from profiler.graph.op import Op
from profiler.printable import shown
from profiler.spaces.base import SearchSpace, Tokens


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the networks, and the positions whose choices decide together what it is.

    Attributes:
        positions: indices of positions, rising; none where all networks are the same.
        ops: by the choices at `positions`; where one of these is dead, the stretch is missing.
    """

    positions: tuple[int, ...]
    ops: Mapping[tuple[int, ...], tuple[Op, ...]]

    def sums(self, amount: Callable[[Op], float]) -> dict[tuple[int, ...], float]:
        """By choices, the amounts of their ops together; each op is asked once."""
        of = functools.cache(amount)
        return {choices: sum(map(of, ops)) for choices, ops in self.ops.items()}


@runtime_checkable
class NetworkSpace(SearchSpace, Protocol):
    """A space that says what its networks are; all that costs of ops need."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What tells it from other spaces of its family, by name, as files hold it."""
        ...

    def segments(self, *, batch_size: int = 1) -> tuple[Segment, ...]:
        """The networks, stretch by stretch in order of execution."""
        ...


@runtime_checkable
class Branching(Protocol):
    """A space whose networks are no rows of ops: these say what it costs, not how it is wired."""

    def network(self, tokens: Tokens, *, batch_size: int = 1) -> Graph:
        """The network of one row of tokens [L]."""
        ...


@runtime_checkable
class SingleKernels(Protocol):
    """No space to search, but kernels to measure one by one, each a model file of its own."""

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """As of a space of networks."""
        ...

    def kernels(self, seed: int, batch_size: int) -> Iterator[tuple[str, Graph]]:
        """Endless graphs of kernels, each with its name."""
        ...


def with_networks(space: SearchSpace, purpose: str) -> NetworkSpace:
    """The space, if its architectures are networks.

    Raises:
        InvalidInputError: they are not; `purpose` says what for they were wanted.
    """
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(f"{space.name} has no networks {purpose}")
    return space


@runtime_checkable
class NamesModules(Protocol):
    """A space whose networks were published with names of their modules."""

    def module_names(self, ops: Sequence[Op]) -> Sequence[str]:
        """By op of a network, in order of execution."""
        ...


def written_facts(facts: Mapping[str, Any]) -> str:
    """What a space is called in a sentence.

    >>> written_facts({"space": "mbv3", "width_mult": 1.2, "resolution_px": 160})
    'mbv3 width 1.2 at 160 px'
    """
    width, dataset = facts.get("width_mult"), facts.get("dataset")
    size, sizes = facts.get("resolution_px"), facts.get("resolutions_px")
    parts = [str(facts["space"])]
    parts += [] if width is None else [f"width {width:g}"]
    parts += [] if size is None else [f"at {size} px"]
    parts += [] if sizes is None else [f"at {', '.join(map(str, sizes))} px"]
    return " ".join(parts + ([] if dataset is None else [f"of {dataset}"]))


def file_stem(space: SearchSpace | SingleKernels) -> str:
    """The space's name in names of files: of a user's own, without the file that it is in.

    >>> from types import SimpleNamespace
    >>> file_stem(SimpleNamespace(name="spaces/towers.py:Towers"))
    'Towers'
    """
    return space.name.rpartition(":")[2]


def network_ops(space: NetworkSpace, tokens: Tokens, *, batch_size: int = 1) -> list[Op]:
    """The ops of one row of tokens [L], in order of execution."""
    ops: list[Op] = []
    for segment in space.segments(batch_size=batch_size):
        ops += segment.ops.get(tuple(int(tokens[at]) for at in segment.positions), ())
    return ops


def network_graph(space: NetworkSpace, tokens: Tokens, *, batch_size: int = 1) -> Graph:
    """The network of one row of tokens [L], by the published names where there are any."""
    if isinstance(space, Branching):
        return space.network(tokens, batch_size=batch_size)
    ops = network_ops(space, tokens, batch_size=batch_size)
    names = module_names(space, ops)
    return chain([(name, op.graph) for name, op in zip(names, ops, strict=True)])


def module_names(space: NetworkSpace, ops: Sequence[Op]) -> Sequence[str]:
    """Of a network's ops: as published, else numbered."""
    if isinstance(space, NamesModules):
        return space.module_names(ops)
    return [f"op{index}" for index in range(len(ops))]


def distinct_ops(space: NetworkSpace, *, batch_size: int = 1) -> dict[str, Op]:
    """Every op that any architecture can contain, by key."""
    segments = space.segments(batch_size=batch_size)
    return {op.key: op for part in segments for ops in part.ops.values() for op in ops}


def input_px(space: NetworkSpace) -> int:
    """The size of the images that the networks take.

    Raises:
        InvalidInputError: they choose among several.
    """
    first, *_ = space.segments()
    sizes = {ops[0].graph.inputs[0].shape[-1] for ops in first.ops.values()}
    if len(sizes) > 1:
        raise InvalidInputError(f"{space} has images of several sizes")
    return sizes.pop()


def n_classes(space: NetworkSpace) -> int:
    """How many logits the networks make."""
    *_, head = space.segments()
    (found,) = {ops[-1].graph.outputs[0].shape[-1] for ops in head.ops.values()}
    return found


@runtime_checkable
class ReadsKeys(Protocol):
    """A space whose keys say what an op is, also one that it does not contain itself."""

    def op_of_key(self, key: str, *, batch_size: int = 1) -> Op:
        """Raises InvalidInputError for what is no key."""
        ...


def key_reader(space: NetworkSpace, *, batch_size: int = 1) -> Callable[[str], Op]:
    """Says which op a table of the space means by a key.

    The returned function raises InvalidInputError where no op has this key.
    """
    if isinstance(space, ReadsKeys):
        return functools.partial(space.op_of_key, batch_size=batch_size)
    known = distinct_ops(space, batch_size=batch_size)

    def read(key: str) -> Op:
        if key not in known:
            raise InvalidInputError(f"{space.name} has no op {shown(key)}")
        return known[key]

    return read


@runtime_checkable
class ReadsFiles(Protocol):
    """A space that finds its ops in model files."""

    def ops_of_file(
        self, path: Path, *, batch_size: int, resolution_px: int | None, precision: str
    ) -> list[Op]:
        """As the function of this name."""
        ...


def ops_of_file(
    space: NetworkSpace, path: Path, *, batch_size: int = 1, resolution_px: int | None = None,
    precision: str = "float32",
) -> list[Op]:  # fmt: skip
    """The ops of a model file, in order; batch and resolution apply where the file leaves them
    open.

    Raises:
        InvalidInputError: the space reads no files, or what it cannot read in this one.
    """
    if not isinstance(space, ReadsFiles):
        raise InvalidInputError(
            f"model files are not split into ops of {space.name}; a table of kernels predicts any"
        )
    return space.ops_of_file(
        path, batch_size=batch_size, resolution_px=resolution_px, precision=precision
    )
