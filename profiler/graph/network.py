"""The torch definition of an op and of a whole network: the numeric oracle of the exporters,
and what is trained.

Module and parameter names follow Once-for-All's MobileNetV3 (first_conv, blocks.N.conv.
{inverted_bottleneck, depth_conv, point_linear}, final_expand_layer, feature_mix_layer,
classifier), so that its state dicts load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from profiler.graph.ops import Activation, OpConfig, OpKind
from profiler.graph.weights import OpWeights

BN_EPS = 1e-5


def activation(kind: Activation) -> nn.Module:
    match kind:
        case Activation.RELU:
            return nn.ReLU()
        case Activation.HARD_SWISH:
            return nn.Hardswish()
        case Activation.NONE:
            return nn.Identity()


class ConvLayer(nn.Sequential):
    """Convolution, BatchNorm (unless `use_bn` is false), activation."""

    def __init__(self, op: OpConfig, *, use_bn: bool = True) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(
                op.in_channels, op.out_channels, op.kernel, op.stride, op.kernel // 2, bias=False
            )
        )
        if use_bn:
            layers["bn"] = nn.BatchNorm2d(op.out_channels, eps=BN_EPS)
        layers["act"] = activation(op.activation)
        super().__init__(layers)


class LinearLayer(nn.Module):
    """The classifier; takes pooled [n, c, 1, 1] features."""

    def __init__(self, op: OpConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(op.in_channels, op.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear(x.flatten(1)))


class SqueezeExcite(nn.Module):
    """x · hard_sigmoid(W2 · relu(W1 · mean(x))), as in MobileNetV3."""

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, inner_channels, 1),
                relu=nn.ReLU(),
                expand=nn.Conv2d(inner_channels, channels, 1),
                h_sigmoid=nn.Hardsigmoid(),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * cast(Tensor, self.fc(x.mean((2, 3), keepdim=True)))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, 1x1 projection."""

    inverted_bottleneck: nn.Sequential | None

    def __init__(self, op: OpConfig) -> None:
        super().__init__()
        mid = op.mid_channels
        self.inverted_bottleneck = None
        if op.has_expansion:
            self.inverted_bottleneck = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(op.in_channels, mid, 1, bias=False),
                    bn=nn.BatchNorm2d(mid, eps=BN_EPS),
                    act=activation(op.activation),
                )
            )
        depthwise: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(mid, mid, op.kernel, op.stride, op.kernel // 2, groups=mid, bias=False),
            bn=nn.BatchNorm2d(mid, eps=BN_EPS),
            act=activation(op.activation),
        )
        if op.se:
            depthwise["se"] = SqueezeExcite(mid, op.se_channels)
        self.depth_conv = nn.Sequential(depthwise)
        self.point_linear = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(mid, op.out_channels, 1, bias=False),
                bn=nn.BatchNorm2d(op.out_channels, eps=BN_EPS),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
        return cast(Tensor, self.point_linear(self.depth_conv(x)))


class ResidualBlock(nn.Module):
    """An inverted residual with its shortcut, where the op has one."""

    def __init__(self, op: OpConfig) -> None:
        super().__init__()
        self.conv = InvertedResidual(op)
        self.has_shortcut = op.has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, self.conv(x))
        return x + y if self.has_shortcut else y


def op_module(op: OpConfig) -> nn.Module:
    """One op as a torch module; input [n, in_channels, height, width]."""
    match op.kind:
        case OpKind.MBCONV:
            return ResidualBlock(op)
        case OpKind.AVG_POOL:
            return nn.AdaptiveAvgPool2d(1)
        case OpKind.LOGITS:
            return LinearLayer(op)
        case OpKind.CONV_2:
            return ConvLayer(op, use_bn=False)
        case OpKind.CONV | OpKind.CONV_1:
            return ConvLayer(op)


class Network(nn.Module):
    """A whole network from its ops: images [n, 3, h, w] to logits [n, classes]."""

    def __init__(self, ops: Sequence[OpConfig]) -> None:
        super().__init__()
        self.ops = tuple(ops)
        first, *blocks, final, pool, mix, logits = ops
        self.first_conv = op_module(first)
        self.blocks = nn.ModuleList([op_module(op) for op in blocks])
        self.final_expand_layer = op_module(final)
        self.global_avg_pool = op_module(pool)
        self.feature_mix_layer = op_module(mix)
        self.classifier = op_module(logits)

    def op_modules(self) -> list[nn.Module]:
        """The modules in order of execution, one per op."""
        return [
            self.first_conv, *self.blocks, self.final_expand_layer, self.global_avg_pool,
            self.feature_mix_layer, self.classifier,
        ]  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for module in self.op_modules():
            x = module(x)
        return x

    def folded_weights(self) -> list[OpWeights]:
        """The weights that exporters write, BatchNorm (in inference mode) folded."""
        return [folded_weights(module) for module in self.op_modules()]


def folded_weights(module: nn.Module) -> OpWeights:
    """Weights of one op module in the layout of profiler/graph/weights.py."""
    if isinstance(module, LinearLayer):
        return _arrays(linear=(module.linear.weight, module.linear.bias))
    if isinstance(module, ConvLayer):
        return _arrays(conv=_folded(module))
    if not isinstance(module, ResidualBlock):
        return {}
    block, parts = module.conv, {}
    if block.inverted_bottleneck is not None:
        parts["expand"] = _folded(block.inverted_bottleneck)
    parts["depthwise"] = _folded(block.depth_conv)
    excitation = getattr(block.depth_conv, "se", None)
    if excitation is not None:
        parts["reduce"] = (excitation.fc.reduce.weight, excitation.fc.reduce.bias)
        parts["excite"] = (excitation.fc.expand.weight, excitation.fc.expand.bias)
    parts["project"] = _folded(block.point_linear)
    return _arrays(**parts)


def _folded(layers: nn.Sequential) -> tuple[Tensor, Tensor | None]:
    conv, bn = cast(nn.Conv2d, layers.conv), getattr(layers, "bn", None)
    if bn is None:
        return conv.weight, conv.bias
    return fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )


def _arrays(**parts: tuple[Tensor, Tensor | None]) -> OpWeights:
    arrays: OpWeights = {}
    for name, (weight, bias) in parts.items():
        arrays[f"{name}.weight"] = weight.detach().cpu().numpy()
        if bias is not None:
            arrays[f"{name}.bias"] = bias.detach().cpu().numpy()
    return arrays


def randomise_(module: nn.Module, *, seed: int) -> nn.Module:
    """Random weights and BatchNorm statistics, in place: for tests and latency-only exports.

    Unit-gain weights: larger ones let rounding errors grow from block to block.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    cast(Tensor, tensor).uniform_(0.5, 1.5, generator=generator)
                for tensor in (layer.bias, layer.running_mean):
                    cast(Tensor, tensor).normal_(0, 0.2, generator=generator)
            elif isinstance(layer, (nn.Conv2d, nn.Linear)):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, fan_in**-0.5, generator=generator)
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.1, generator=generator)
    return module.eval()
