"""BatchNorm over the first channels of a wider one."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class SubnetBatchNorm(nn.BatchNorm2d):
    """Normalises [n, c, h, w] with the first c of its channels (Once-for-All, slimmable nets)."""

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        mean, var = (
            cast(Tensor, statistics)[:channels]
            for statistics in (self.running_mean, self.running_var)
        )
        weight, bias = self.weight[:channels], self.bias[:channels]
        momentum = cast(float, self.momentum)
        return F.batch_norm(x, mean, var, weight, bias, self.training, momentum, self.eps)


def make_elastic(module: nn.Module) -> None:
    """Replace every plain BatchNorm of `module` by a `SubnetBatchNorm`, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SubnetBatchNorm(child.num_features, child.eps))
