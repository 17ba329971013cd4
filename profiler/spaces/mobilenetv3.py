"""Once-for-All's MobileNetV3 (Cai et al., ICLR 2020; github.com/mit-han-lab/once-for-all).

Exactly as published, and its variant for 32x32 images: which architectures exist, how they are
written, what ops they are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.base import DEAD, Condition, TokenPosition, Tokens
from profiler.spaces.blocks import BlockSpace
from profiler.spaces.mobilenetv3_architecture import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    N_SLOTS,
    N_STAGES,
    SLOTS_PER_STAGE,
    Architecture,
    read_architecture,
)
from profiler.spaces.mobilenetv3_ops import (
    OpActivation,
    OpConfig,
    OpKind,
    make_divisible,
    module_names,
    parse_key,
)
from profiler.spaces.networks import Segment, distinct_ops, network_ops
from profiler.spaces.once_for_all import RESOLUTIONS_PX, refuse_resolution

WIDTH_MULTS = (1.0, 1.2)


@dataclass(frozen=True)
class Backbone:
    """The fixed part of a MobileNetV3 family (Howard et al. 2019, Table 1; Once-for-All)."""

    stem_stride: int
    stage_strides: tuple[int, ...]
    n_classes: int
    resolutions_px: range
    default_resolution_px: int
    stage_channels: tuple[int, ...] = (24, 40, 80, 112, 160)
    stage_se: tuple[bool, ...] = (False, True, False, True, True)
    stage_hard_swish: tuple[bool, ...] = (False, False, True, True, True)
    stem_channels: int = 16
    final_expand_channels: int = 960
    last_channels: int = 1280


BACKBONES = {
    "mbv3": Backbone(2, (2, 2, 2, 1, 2), 1000, RESOLUTIONS_PX, 224),
    "mbv3-cifar": Backbone(1, (1, 2, 2, 1, 2), 10, range(32, 33), 32),
}


@dataclass(frozen=True)
class MobileNetV3Space(BlockSpace):
    """Elastic MobileNetV3: 5 stages of 2-4 blocks, kernel 3/5/7, expand ratio 3/4/6.

    Tokens: per stage its depth, then expand and kernel of each of 4 slots (L = 45).
    2.18e19 architectures at one width and resolution.

    Raises:
        InvalidInputError: unknown name, width or resolution.
    """

    name: str = "mbv3"
    width_mult: float = 1.0
    resolution_px: int = 224

    def __post_init__(self) -> None:
        if self.name not in BACKBONES:
            raise InvalidInputError(f"unknown space {self.name!r}; known: {', '.join(BACKBONES)}")
        if self.width_mult not in WIDTH_MULTS:
            raise InvalidInputError(f"width multiplier {self.width_mult:g} is not 1.0 or 1.2")
        refuse_resolution(self.resolution_px, BACKBONES[self.name].resolutions_px)

    @property
    def backbone(self) -> Backbone:
        return BACKBONES[self.name]

    @cached_property
    def positions(self) -> tuple[TokenPosition, ...]:
        out: list[TokenPosition] = []
        for stage in range(N_STAGES):
            depth = len(out)
            out.append(TokenPosition(f"s{stage + 1}.depth", DEPTHS))
            for slot in range(SLOTS_PER_STAGE):
                deep = tuple(choice for choice, value in enumerate(DEPTHS) if value > slot)
                there = Condition(depth, deep)
                out.append(TokenPosition(f"s{stage + 1}.b{slot + 1}.expand", EXPANDS, there))
                out.append(TokenPosition(f"s{stage + 1}.b{slot + 1}.kernel", KERNELS, there))
        return tuple(out)

    def tilted(self, tilt: float, rng: np.random.Generator) -> Tokens:
        """[45] tokens; the active blocks take the first draws, as networks in journals did."""
        weights = np.exp(tilt * np.arange(3))
        share = weights / weights.sum()
        depths, kernels, expands = (
            tuple(int(v) for v in rng.choice(choices, n, p=share))
            for choices, n in ((DEPTHS, N_STAGES), (KERNELS, N_SLOTS), (EXPANDS, N_SLOTS))
        )
        n = sum(depths)
        arch = Architecture(depths, kernels[:n], expands[:n], self.resolution_px, self.width_mult)
        row: Tokens = self.encode([arch])[0]
        return row

    # --- architectures and tokens -------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, 45] architectures; every active token uniform, as Once-for-All samples."""
        tokens = rng.integers(0, 3, size=(n, N_STAGES, 1 + 2 * SLOTS_PER_STAGE), dtype=np.int8)
        slot = np.repeat(np.arange(SLOTS_PER_STAGE), 2)
        dead = slot[None, None, :] >= tokens[:, :, :1] + DEPTHS[0]
        tokens[:, :, 1:][dead] = DEAD
        return tokens.reshape(n, len(self.positions))

    def encode(self, architectures: Sequence[Architecture]) -> Tokens:
        """[n, 45] tokens of architectures of this space."""
        tokens = np.full((len(architectures), N_STAGES, 1 + 2 * SLOTS_PER_STAGE), DEAD, np.int8)
        for row, arch in zip(tokens, architectures, strict=True):
            self.validate(arch)
            row[:, 0] = [DEPTHS.index(depth) for depth in arch.depths]
            for slot, expand, kernel in arch.blocks():
                stage, within = divmod(slot, SLOTS_PER_STAGE)
                row[stage, 1 + 2 * within] = EXPANDS.index(expand)
                row[stage, 2 + 2 * within] = KERNELS.index(kernel)
        return tokens.reshape(len(architectures), -1)

    def decode(self, tokens: Tokens) -> Architecture:
        """The architecture of one row of tokens [45]."""
        rows = np.asarray(tokens).reshape(N_STAGES, -1)
        depths, kernels, expands = [], [], []
        for row in rows:
            depth = DEPTHS[row[0]]
            depths.append(depth)
            expands += [EXPANDS[choice] for choice in row[1 : 1 + 2 * depth : 2]]
            kernels += [KERNELS[choice] for choice in row[2 : 2 + 2 * depth : 2]]
        return Architecture(
            tuple(depths), tuple(kernels), tuple(expands), self.resolution_px, self.width_mult
        )

    def parse(self, text: str) -> Tokens:
        arch = read_architecture(text, self.resolution_px, self.width_mult)
        row: Tokens = self.encode([arch])[0]
        return row

    def format(self, tokens: Tokens) -> str:
        return str(self.decode(tokens))

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        return {"ofa": self.decode(tokens).to_ofa()}

    def parse_architecture(self, text: str) -> Architecture:
        """Read `depths:kernels:expands` (zeros for inactive blocks) or Once-for-All's dict, as JSON
        or as Python prints it.

        Raises:
            InvalidInputError: malformed, or an architecture of another resolution.
        """
        arch = read_architecture(text, self.resolution_px, self.width_mult)
        self.validate(arch)
        return arch

    def validate(self, arch: Architecture) -> None:
        """Raise InvalidInputError unless `arch` belongs to this space."""
        if (arch.resolution_px, arch.width_mult) != (self.resolution_px, self.width_mult):
            raise InvalidInputError(
                f"architecture of width {arch.width_mult:g} at {arch.resolution_px} px in a space "
                f"of width {self.width_mult:g} at {self.resolution_px} px"
            )
        if len(arch.depths) != N_STAGES:
            raise InvalidInputError(f"{len(arch.depths)} depths; expected {N_STAGES}")
        for what, values, allowed, count in (
            ("depth", arch.depths, DEPTHS, N_STAGES),
            ("kernel", arch.kernel_sizes, KERNELS, sum(arch.depths)),
            ("expand", arch.expand_ratios, EXPANDS, sum(arch.depths)),
        ):
            bad = [value for value in values if value not in allowed]
            if bad:
                raise InvalidInputError(f"{what} {bad[0]} is not one of {allowed}")
            if len(values) != count:
                raise InvalidInputError(f"{len(values)} {what}s for {count} active blocks")

    # --- ops ------------------------------------------------------------------------

    def block_op(self, slot: int, expand: int, kernel: int, *, batch_size: int = 1) -> OpConfig:
        """The block in slot 0-19 (stage-major) for one expand ratio and kernel."""
        stage, within = divmod(slot, SLOTS_PER_STAGE)
        backbone = self.backbone
        channels = [self._scaled(c) for c in (backbone.stem_channels, *backbone.stage_channels)]
        first = within == 0
        in_channels = channels[stage] if first else channels[stage + 1]
        stride = backbone.stage_strides[stage] if first else 1
        size = self._stage_input_px[stage] if first else self._stage_input_px[stage + 1]
        hard_swish = backbone.stage_hard_swish[stage]
        return OpConfig(
            OpKind.MBCONV, in_channels, channels[stage + 1], size, size,
            make_divisible(in_channels * expand), kernel, stride, backbone.stage_se[stage],
            OpActivation.HARD_SWISH if hard_swish else OpActivation.RELU, batch_size,
        )  # fmt: skip

    def stem_ops(self, *, batch_size: int = 1) -> list[OpConfig]:
        """First convolution and the fixed first block."""
        stem, size = self._scaled(self.backbone.stem_channels), self._stage_input_px[0]
        conv = OpConfig(
            OpKind.CONV, 3, stem, self.resolution_px, self.resolution_px, 0, 3,
            self.backbone.stem_stride, False, OpActivation.HARD_SWISH, batch_size,
        )  # fmt: skip
        block = OpConfig(
            OpKind.MBCONV, stem, stem, size, size, stem, 3, 1, False, OpActivation.RELU, batch_size
        )
        return [conv, block]

    def head_ops(self, *, batch_size: int = 1) -> list[OpConfig]:
        """1x1 expansion, pooling, 1x1 feature mixing, classifier."""
        backbone, size = self.backbone, self._stage_input_px[-1]
        last = self._scaled(backbone.stage_channels[-1])
        expanded = self._scaled(backbone.final_expand_channels)
        mixed = self._scaled(backbone.last_channels)
        hs = OpActivation.HARD_SWISH
        return [
            OpConfig(
                OpKind.CONV_1, last, expanded, size, size, activation=hs, batch_size=batch_size
            ),
            OpConfig(OpKind.AVG_POOL, expanded, expanded, size, size, batch_size=batch_size),
            OpConfig(OpKind.CONV_2, expanded, mixed, 1, 1, activation=hs, batch_size=batch_size),
            OpConfig(OpKind.LOGITS, mixed, backbone.n_classes, 1, 1, batch_size=batch_size),
        ]

    def stretches(self, batch_size: int) -> Iterator[Segment]:
        """Stem, the 20 slots (each decided by its expand ratio and kernel), head."""
        yield self.stretch(partial(self.stem_ops, batch_size=batch_size))
        for slot in range(N_SLOTS):
            stage, within = divmod(slot, SLOTS_PER_STAGE)
            block = f"s{stage + 1}.b{within + 1}"
            made = partial(self._slot_ops, batch_size, slot)
            yield self.stretch(made, f"{block}.expand", f"{block}.kernel")
        yield self.stretch(partial(self.head_ops, batch_size=batch_size))

    def _slot_ops(self, batch_size: int, slot: int, expand: int, kernel: int) -> list[Op]:
        return [self.block_op(slot, expand, kernel, batch_size=batch_size)]

    def module_names(self, ops: Sequence[Op]) -> list[str]:
        return module_names(len(ops))

    def ops(self, arch: Architecture, *, batch_size: int = 1) -> list[Op]:
        """The ops of one architecture, in order of execution."""
        return network_ops(self, self.encode([arch])[0], batch_size=batch_size)

    def distinct_ops(self, *, batch_size: int = 1) -> dict[str, Op]:
        """Every op any architecture can contain, by key: 96 for `mbv3`."""
        return distinct_ops(self, batch_size=batch_size)

    def op_of_key(self, key: str, *, batch_size: int = 1) -> Op:
        return parse_key(key, batch_size=batch_size)

    def ops_of_file(
        self, path: Path, *, batch_size: int, resolution_px: int | None, precision: str
    ) -> list[Op]:
        from profiler.spaces.mobilenetv3_reader import read_onnx_ops

        return read_onnx_ops(
            path, batch_size=batch_size, resolution_px=resolution_px, precision=precision
        )

    def uniform(self, depth: int, kernel: int, expand: int) -> Architecture:
        """The architecture of the same choice everywhere."""
        n = N_STAGES * depth
        return Architecture(
            (depth,) * N_STAGES, (kernel,) * n, (expand,) * n, self.resolution_px, self.width_mult
        )

    def extremes(self) -> tuple[Architecture, Architecture]:
        """The smallest and the largest architecture."""
        return (
            self.uniform(DEPTHS[0], KERNELS[0], EXPANDS[0]),
            self.uniform(DEPTHS[-1], KERNELS[-1], EXPANDS[-1]),
        )

    def size(self) -> int:
        """Number of architectures.

        >>> f"{MobileNetV3Space().size():.3g}"
        '2.18e+19'
        """
        per_stage = sum((len(EXPANDS) * len(KERNELS)) ** depth for depth in DEPTHS)
        return int(per_stage**N_STAGES)

    def madds(self, arch: Architecture) -> int:
        """Multiply-adds per image."""
        return sum(op.graph.madds for op in self.ops(arch))

    def params(self, arch: Architecture) -> int:
        """Trainable parameters."""
        return sum(op.graph.params for op in self.ops(arch))

    def _scaled(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)

    @cached_property
    def _stage_input_px(self) -> tuple[int, ...]:
        """Input size of each stage, then the output size of the last."""
        sizes = [-(-self.resolution_px // self.backbone.stem_stride)]
        for stride in self.backbone.stage_strides:
            sizes.append(-(-sizes[-1] // stride))
        return tuple(sizes)


def open_space(
    name: str, width_mult: float | None = None, resolution_px: int | None = None
) -> MobileNetV3Space:
    """A MobileNetV3 space by name, of width 1.0 and its own resolution unless others are given.

    Raises:
        InvalidInputError: unknown name, width or resolution.
    """
    known = BACKBONES.get(name)
    default = known.default_resolution_px if known else 224
    return MobileNetV3Space(
        name,
        1.0 if width_mult is None else width_mult,
        default if resolution_px is None else resolution_px,
    )
