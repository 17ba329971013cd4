"""BatchNorm over the first channels of a wider one, with batch statistics shared by workers."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SubnetBatchNorm(nn.BatchNorm2d):
    """Normalises [n, c, h, w] with the first c of its channels (Once-for-All, slimmable nets).

    With `synchronised`, statistics in training mode are those of the batches of all
    torch.distributed workers (of equal size), so that the number of workers does not matter.
    """

    synchronised = False

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        mean, var = (
            self._first(self.running_mean, channels),
            self._first(self.running_var, channels),
        )
        weight, bias = self.weight[:channels], self.bias[:channels]
        if self.training and self.synchronised:
            batch_mean, batch_var = self._update(x, mean, var)
            scale = weight * (batch_var + self.eps).rsqrt()
            shift = bias - batch_mean * scale
            return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]
        momentum = cast(float, self.momentum)
        return F.batch_norm(x, mean, var, weight, bias, self.training, momentum, self.eps)

    def _update(self, x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance over all workers [c]; the running ones follow."""
        workers = torch.distributed.get_world_size()
        x = x.float()
        batch_mean = _sum_over_workers(x.mean((0, 2, 3))) / workers
        spread = (x - batch_mean[:, None, None]).square()
        batch_var = _sum_over_workers(spread.mean((0, 2, 3))) / workers
        n = x.numel() // x.shape[1] * workers
        momentum = cast(float, self.momentum)
        with torch.no_grad():
            mean.lerp_(batch_mean, momentum)
            var.lerp_(batch_var * (n / (n - 1)), momentum)  # unbiased, as torch keeps it
        return batch_mean, batch_var

    @staticmethod
    def _first(statistics: Tensor | None, channels: int) -> Tensor:
        return cast(Tensor, statistics)[:channels]


def _sum_over_workers(x: Tensor) -> Tensor:
    total: Tensor = _SumOverWorkers.apply(x)  # type: ignore[no-untyped-call]
    return total


class _SumOverWorkers(torch.autograd.Function):
    """A sum over workers that gradients pass through: their own sum over workers."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def make_elastic(module: nn.Module) -> None:
    """Replace every plain BatchNorm of `module` by a `SubnetBatchNorm`, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SubnetBatchNorm(child.num_features, child.eps))


def synchronise(module: nn.Module, *, synchronised: bool) -> None:
    """Share the batch statistics of all BatchNorms of `module` between workers, or stop."""
    for layer in module.modules():
        if isinstance(layer, SubnetBatchNorm):
            layer.synchronised = synchronised
