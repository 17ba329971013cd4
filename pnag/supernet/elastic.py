"""Elastic MobileNetV3: one set of weights that holds every architecture of a space.

Names, shapes and outputs are those of Once-for-All's OFAMobileNetV3 (Cai et al., ICLR 2020):
an expand ratio takes the first channels, a smaller kernel is the centre of the next larger
one times a learned matrix (7 -> 5 -> 3), a smaller depth drops the last blocks of a stage.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.supernet.batch_norm import SubnetBatchNorm, make_elastic
from pnag.supernet.depthwise import depthwise_conv2d
from profiler.graph.layers import Function
from profiler.graph.op import Op
from profiler.graph.op_shape import OpShape, shape_of
from profiler.graph.to_torch import GraphModule
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import EXPANDS, KERNELS, N_SLOTS, Architecture
from profiler.spaces.mobilenetv3_network import Network
from profiler.spaces.mobilenetv3_ops import make_divisible

State = dict[str, Tensor]

BN_EPS = 1e-5


class ElasticBatchNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = SubnetBatchNorm(channels, BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn(x))

    def static_state(self, channels: int) -> State:
        return {
            name: tensor[:channels] if tensor.ndim else tensor
            for name, tensor in self.bn.state_dict().items()
        }


class ElasticPointwise(nn.Module):
    """A 1x1 convolution to the first `out_channels`, from as many channels as come in."""

    def __init__(self, max_in_channels: int, max_out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(max_in_channels, max_out_channels, 1, bias=False)

    def weight(self, in_channels: int, out_channels: int) -> Tensor:
        return self.conv.weight[:out_channels, :in_channels]

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        return F.conv2d(x, self.weight(x.shape[1], out_channels))


class ElasticDepthwise(nn.Module):
    """A depthwise convolution of any kernel size; the matrices start as the identity."""

    def __init__(self, max_channels: int, stride: int) -> None:
        super().__init__()
        largest = KERNELS[-1]
        self.conv = nn.Conv2d(
            max_channels, max_channels, largest, stride, groups=max_channels, bias=False
        )
        for smaller, larger in pairwise(KERNELS):
            matrix = nn.Parameter(torch.eye(smaller**2))
            self.register_parameter(f"{larger}to{smaller}_matrix", matrix)

    def weight(self, channels: int, kernel: int) -> Tensor:
        """[channels, 1, kernel, kernel]."""
        weight, size = self.conv.weight[:channels], KERNELS[-1]
        while size > kernel:
            size -= 2
            matrix = self.get_parameter(f"{size + 2}to{size}_matrix")
            centre = weight[:, :, 1:-1, 1:-1].reshape(channels, size**2)
            weight = F.linear(centre, matrix).view(channels, 1, size, size)
        return weight

    def forward(self, x: Tensor, kernel: int) -> Tensor:
        return depthwise_conv2d(x, self.weight(x.shape[1], kernel), self.conv.stride[0])


class ElasticSqueezeExcite(nn.Module):
    """x · hard_sigmoid(W2 · relu(W1 · mean(x))) of the first channels."""

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.fc = nn.ModuleDict(
            {
                "reduce": nn.Conv2d(channels, inner_channels, 1),
                "expand": nn.Conv2d(inner_channels, channels, 1),
            }
        )

    def static_state(self, channels: int) -> State:
        inner = make_divisible(channels // 4)
        parts = dict(self.named_parameters())
        return {
            "fc.reduce.weight": parts["fc.reduce.weight"][:inner, :channels],
            "fc.reduce.bias": parts["fc.reduce.bias"][:inner],
            "fc.expand.weight": parts["fc.expand.weight"][:channels, :inner],
            "fc.expand.bias": parts["fc.expand.bias"][:channels],
        }

    def forward(self, x: Tensor) -> Tensor:
        state = self.static_state(x.shape[1])
        gate = x.mean((2, 3), keepdim=True)
        gate = F.relu(F.conv2d(gate, state["fc.reduce.weight"], state["fc.reduce.bias"]))
        gate = F.conv2d(gate, state["fc.expand.weight"], state["fc.expand.bias"])
        return x * F.hardsigmoid(gate)


def _activation(shape: OpShape) -> nn.Module:
    return nn.Hardswish() if shape.activation is Function.HARD_SWISH else nn.ReLU()


class ElasticInvertedResidual(nn.Module):
    """`largest` is the choice of expand ratio 6 and kernel 7."""

    def __init__(self, largest: OpShape) -> None:
        super().__init__()
        mid, self.out_channels = largest.mid_channels, largest.out_channels
        self.inverted_bottleneck = nn.ModuleDict(
            OrderedDict(
                conv=ElasticPointwise(largest.in_channels, mid),
                bn=ElasticBatchNorm(mid),
                act=_activation(largest),
            )
        )
        depthwise: OrderedDict[str, nn.Module] = OrderedDict(
            conv=ElasticDepthwise(mid, largest.stride),
            bn=ElasticBatchNorm(mid),
            act=_activation(largest),
        )
        if largest.has_gate:
            depthwise["se"] = ElasticSqueezeExcite(mid, make_divisible(mid // 4))
        self.depth_conv = nn.ModuleDict(depthwise)
        self.point_linear = nn.ModuleDict(
            OrderedDict(
                conv=ElasticPointwise(mid, self.out_channels),
                bn=ElasticBatchNorm(self.out_channels),
            )
        )

    def forward(self, x: Tensor, expand: int, kernel: int) -> Tensor:
        bottleneck, depthwise, project = (
            self.inverted_bottleneck, self.depth_conv, self.point_linear
        )  # fmt: skip
        mid = make_divisible(x.shape[1] * expand)
        x = bottleneck["act"](bottleneck["bn"](bottleneck["conv"](x, mid)))
        x = depthwise["act"](depthwise["bn"](depthwise["conv"](x, kernel)))
        if "se" in depthwise:
            x = depthwise["se"](x)
        return cast(Tensor, project["bn"](project["conv"](x, self.out_channels)))


class ElasticBlock(nn.Module):
    """An elastic inverted residual with its shortcut, where the op has one."""

    def __init__(self, largest: Op) -> None:
        super().__init__()
        shape = shape_of(largest)
        self.conv = ElasticInvertedResidual(shape)
        self.in_channels = shape.in_channels
        self.has_shortcut = shape.has_shortcut

    def forward(self, x: Tensor, expand: int, kernel: int) -> Tensor:
        y = cast(Tensor, self.conv(x, expand, kernel))
        return x + y if self.has_shortcut else y

    def static_state(self, expand: int, kernel: int) -> State:
        """Weights of one choice under the names of Network's blocks."""
        mid = make_divisible(self.in_channels * expand)
        state: State = {}
        widths = {"inverted_bottleneck": mid, "depth_conv": mid}
        for name, layers in self.conv.named_children():
            for part, layer in cast(nn.ModuleDict, layers).items():
                if isinstance(layer, ElasticPointwise):
                    is_first = name == "inverted_bottleneck"
                    ends = (self.in_channels, mid) if is_first else (mid, self.conv.out_channels)
                    sliced = {"weight": layer.weight(*ends)}
                elif isinstance(layer, ElasticDepthwise):
                    sliced = {"weight": layer.weight(mid, kernel)}
                elif isinstance(layer, (ElasticBatchNorm, ElasticSqueezeExcite)):
                    sliced = layer.static_state(widths.get(name, self.conv.out_channels))
                else:
                    continue
                state |= {f"conv.{name}.{part}.{key}": value for key, value in sliced.items()}
        return state


class ElasticMobileNetV3(nn.Module):
    """All architectures of `space` (of any resolution) over one set of weights.

    `forward(images, arch)`: [n, 3, h, w] normalised images to [n, classes] logits of `arch`.
    """

    def __init__(self, space: MobileNetV3Space) -> None:
        super().__init__()
        self.space = space
        conv, first_block = space.stem_ops()
        final, pool, mix, logits = space.head_ops()
        self.first_conv = GraphModule(conv.graph)
        slots = [space.block_op(slot, EXPANDS[-1], KERNELS[-1]) for slot in range(N_SLOTS)]
        self.blocks = nn.ModuleList([GraphModule(first_block.graph), *map(ElasticBlock, slots)])
        self.final_expand_layer = GraphModule(final.graph)
        self.global_avg_pool = GraphModule(pool.graph)
        self.feature_mix_layer = GraphModule(mix.graph)
        self.classifier = GraphModule(logits.graph)
        make_elastic(self)
        self._initialise()

    def forward(self, x: Tensor, arch: Architecture) -> Tensor:
        x = self.blocks[0](self.first_conv(x))
        for slot, expand, kernel in arch.blocks():
            x = self.blocks[slot + 1](x, expand, kernel)
        x = self.global_avg_pool(self.final_expand_layer(x))
        return cast(Tensor, self.classifier(self.feature_mix_layer(x)))

    def network(self, arch: str) -> Network:
        """`extract` of a written architecture."""
        return self.extract(self.space.parse_architecture(arch))

    def extract(self, arch: Architecture) -> Network:
        """A standalone network of `arch` with its own copy of the weights, in inference mode.

        BatchNorm statistics are the supernet's; recalibrate them before measuring accuracy.
        """
        state = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith("blocks.") or name.startswith("blocks.0.")
        }
        for index, (slot, expand, kernel) in enumerate(arch.blocks(), start=1):
            block = cast(ElasticBlock, self.blocks[slot + 1])
            part = block.static_state(expand, kernel)
            state |= {f"blocks.{index}.{name}": tensor for name, tensor in part.items()}
        network = Network(self.space.ops(arch))
        network.load_state_dict({name: tensor.detach() for name, tensor in state.items()})
        return network.to(next(self.parameters()).device).eval()

    def _initialise(self) -> None:
        """He initialisation; residual branches start at zero (BigNAS, Yu et al. 2020, §3.2)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        for block in self.blocks[1:]:
            if cast(ElasticBlock, block).has_shortcut:
                layers = cast(ElasticInvertedResidual, block.conv).point_linear
                nn.init.zeros_(cast(ElasticBatchNorm, layers["bn"]).bn.weight)
