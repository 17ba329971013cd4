"""Accuracies of many subnets, without computing twice what their first blocks have in common.

The first blocks see the largest feature maps and cost the most, but there are few of them: the
stem and two blocks come in 81 ways in every space. BatchNorm statistics of a block depend on
the blocks before it only, so the results are those of every subnet on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import cast

import torch
from torch import Tensor, nn

from pnag.supernet.evaluate import SubnetEvaluator, is_right, recalibrating
from pnag.supernet.supernet import Supernet
from profiler.graph.op import Op
from profiler.spaces.networks import NetworkSpace, network_ops
from profiler.spaces.sampling import extremes

N_SHARED = 4  # ops: stem, first block, and the two blocks that every architecture has
_MAX_KEPT_BYTES = 4 * 2**30


def subnet_top1(evaluator: SubnetEvaluator, supernet: Supernet) -> Callable[[str], float]:
    """Measures subnets of `supernet`: sharing first blocks, unless memory forbids it."""
    first_ops = network_ops(supernet.space, extremes(supernet.space)[1])[:N_SHARED]
    n_bytes = sum(op.graph.outputs[0].n_bytes for op in first_ops)
    if n_bytes * evaluator.n_images <= _MAX_KEPT_BYTES:
        return SharedPrefixEvaluator(evaluator, supernet).top1
    return lambda arch: evaluator.top1(evaluator.subnet(supernet, arch))


def in_shared_order(space: NetworkSpace, archs: Sequence[str]) -> list[str]:
    """Written architectures with the same first ops one after another."""
    groups: dict[tuple[Op, ...], list[str]] = {}
    for arch in archs:
        first = network_ops(space, space.parse(arch))[:N_SHARED]
        groups.setdefault(tuple(first), []).append(arch)
    return [arch for group in groups.values() for arch in group]


@dataclass(frozen=True)
class _Features:
    """What `op` and all before it make of the images, batch by batch."""

    op: Op
    recalibration: list[Tensor]
    test: list[Tensor]


class SharedPrefixEvaluator:
    """Top-1 of subnets of one supernet; fast where consecutive ones begin alike."""

    def __init__(self, evaluator: SubnetEvaluator, supernet: Supernet) -> None:
        self._evaluator, self._supernet = evaluator, supernet
        self._recalibration = [images for images, _ in evaluator.recalibration_batches()]
        test = list(evaluator.test_batches())
        self._test = [images for images, _ in test]
        self._labels = torch.cat([labels for _, labels in test])
        self._kept: list[_Features] = []

    @torch.no_grad()
    def top1(self, arch: str) -> float:
        """As `SubnetEvaluator.top1(SubnetEvaluator.subnet(supernet, arch))`, but for rounding."""
        network = self._supernet.network(arch).to(self._evaluator.device)
        shared, modules = network.ops[:N_SHARED], network.op_modules()
        pairs = zip(self._kept, shared, strict=False)
        self._kept = [kept for kept, _ in takewhile(lambda pair: pair[0].op == pair[1], pairs)]
        recalibration, test = self._recalibration, self._test
        if self._kept:
            recalibration, test = self._kept[-1].recalibration, self._kept[-1].test
        for index in range(len(self._kept), N_SHARED):
            recalibration, test = self._through(modules[index], recalibration, test)
            self._kept.append(_Features(shared[index], recalibration, test))
        _, logits = self._through(nn.Sequential(*modules[N_SHARED:]), recalibration, test)
        right = is_right(torch.cat(logits), self._labels)
        return int(right.sum()) / len(self._labels)

    def _through(
        self, module: nn.Module, recalibration: list[Tensor], test: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        with self._evaluator.autocast():
            with recalibrating(module):
                recalibration = [cast(Tensor, module(images)) for images in recalibration]
            return recalibration, [cast(Tensor, module(images)) for images in test]
