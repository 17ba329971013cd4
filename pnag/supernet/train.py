"""Training of the supernet: what one step does, and the state that a checkpoint holds.

Order of the images, their augmentation and the subnets of a step are functions of the seed and
the step alone, for the whole batch whichever worker takes which part. So a run that was killed
and resumed is the same run, and the number of workers changes rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pnag.supernet.checkpoint import (
    WEIGHTS,
    SupernetFile,
    file_digest,
    load_named,
    load_supernet,
)
from pnag.supernet.data import N_DRAWS, Dataset, fingerprint, normalise
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.precision import PRECISIONS, Precision, autocast
from pnag.supernet.sorting import apply_orders, importance_orders
from pnag.supernet.subnets import METHODS, Method, open_choices, step_subnets
from pnag.supernet.workers import Workers
from profiler.errors import InvalidInputError, PnagError
from profiler.printable import shown
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import EXPANDS, Architecture

_MODEL, _MOMENTUM = "model/", "momentum/"
GROWING = 0.7  # share of the training over which images grow, where they do
_STEP_PX = 4
_START_PX = range(_STEP_PX, 10_000, _STEP_PX)
RANGES = {  # of a setting: its name, least and most
    "epochs": ("epochs", 1, 1_000_000),
    "batch_size": ("batch size", 2, 1_000_000),
    "micro_batch_size": ("micro-batch size", 2, 1_000_000),
    "n_random": ("random subnets", 0, 10_000),
    "learning_rate": ("learning rate", 1e-12, 1e3),
    "momentum": ("momentum", 0, 1 - 1e-9),
    "weight_decay": ("weight decay", 0, 1e3),
    "label_smoothing": ("label smoothing", 0, 1 - 1e-9),
    "clip_norm": ("gradient clipping norm", 1e-12, 1e12),
    "ema_decay": ("EMA decay", 0, 1 - 1e-9),
}
# independent random streams of one seed
_ORDER, _STEP = 0, 1


@dataclass(frozen=True)
class SupernetSettings:
    """Everything that decides the result. Batch size and learning rate are of the whole batch.

    Attributes:
        micro_batch_size: images that pass the network, and BatchNorm, together. A batch is made
            of whole micro-batches on every worker, so that the number of workers does not matter.
        start_resolution_px: images grow linearly from this size, a multiple of 4 px, to the
            space's over the first `GROWING` of the training (progressive learning, Tan & Le,
            ICML 2021, section 4); None for the space's own from the start.
        arch: the only subnet that is trained (fine-tuning); None for all of them.

    Raises:
        InvalidInputError: a value out of range.
    """

    epochs: int = 60
    batch_size: int = 128
    micro_batch_size: int = 64
    start_resolution_px: int | None = None
    arch: str | None = None
    method: Method = "sandwich"
    n_random: int = 2
    learning_rate: float = 0.1
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    ema_decay: float = 0.999
    precision: Precision = "float32"
    held_out: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for field, (name, least, most) in RANGES.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise InvalidInputError(
                    f"{name} is out of range: from {least:g} to {most:g}, not {shown(value)}"
                )
        start_px = self.start_resolution_px
        others = {
            "start resolution": (start_px, start_px is None or start_px in _START_PX),
            "method": (self.method, self.method in METHODS),
            "warm-up epochs": (self.warmup_epochs, 0 <= self.warmup_epochs < self.epochs),
            "precision": (self.precision, self.precision in PRECISIONS),
        }
        for name, (value, right) in others.items():
            if not right:
                raise InvalidInputError(f"{name} is out of range or unknown: {shown(value)}")


@dataclass(frozen=True)
class StepReport:
    """What one step did; losses are of the whole batch."""

    step: int
    epoch: int
    loss: float
    largest_loss: float
    learning_rate: float
    gradient_norm: float
    n_subnets: int


class Trainer:
    """A supernet, its moving average and its optimiser, `step` steps into training.

    Raises:
        InvalidInputError: fewer images than a batch, or a batch that the workers cannot share.
    """

    def __init__(
        self,
        space: MobileNetV3Space,
        data: Dataset,
        settings: SupernetSettings,
        workers: Workers,
        init: Path | None = None,
    ) -> None:
        self.space, self.data, self.settings, self.workers = space, data, settings, workers
        self.n_images = len(data.train.labels)
        self.steps_per_epoch = self.n_images // settings.batch_size
        if not self.steps_per_epoch:
            raise InvalidInputError(
                f"{self.n_images} training images are less than a batch of {settings.batch_size}"
            )
        if settings.batch_size % (settings.micro_batch_size * workers.world_size):
            raise InvalidInputError(
                f"a batch of {settings.batch_size} is not made of whole micro-batches of "
                f"{settings.micro_batch_size} on each of {workers.world_size} workers"
            )
        start_px = settings.start_resolution_px
        if start_px is not None and start_px > space.resolution_px:
            raise InvalidInputError(
                f"images cannot grow from {start_px} px to {space.resolution_px} px"
            )
        self.only = None if settings.arch is None else space.parse_architecture(settings.arch)
        self.n_steps = settings.epochs * self.steps_per_epoch
        self.step = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = ElasticMobileNetV3(space)
        if init is not None:
            load_named(model, load_supernet(init, space).state_dict(), source=str(init))
        self._origin = {
            "data": data.name,
            "data_fingerprint": fingerprint(data),
            "init_sha256": None if init is None else file_digest(init),
        }
        self.model: ElasticMobileNetV3 = (
            cast(Any, model).to(workers.device, memory_format=torch.channels_last).train()
        )
        self.average = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        self.optimizer = self._optimizer()

    # --- one step ---------------------------------------------------------------------

    def train(self) -> Iterator[StepReport]:
        """Go on to the last step, one report per step."""
        while self.step < self.n_steps:
            yield self.train_step()

    def train_step(self) -> StepReport:
        settings, progress = self.settings, self.step / self.n_steps
        rng = np.random.default_rng([settings.seed, _STEP, self.step])
        images, labels = self._batch(rng)
        self._sort_channels_when_expands_open()
        subnets = self._subnets(progress, rng)
        rate = self._set_learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(images, labels, subnets)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        # One sum per step. DistributedDataParallel reduces in every backward pass, and not at
        # all what its last pass does not use (kernel matrices, blocks of other depths).
        self.workers.average([*gradients, losses])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        if not torch.isfinite(norm):
            raise PnagError(f"training diverged at step {self.step}: lower the learning rate")
        self.optimizer.step()
        self._update_average()
        report = StepReport(
            self.step, self.step // self.steps_per_epoch, losses.mean().item(), losses[0].item(),
            rate, norm.item(), len(subnets),
        )  # fmt: skip
        self.step += 1
        return report

    def _subnets(self, progress: float, rng: np.random.Generator) -> list[Architecture]:
        if self.only is not None:
            return [self.only]
        choices = open_choices(self.settings.method, progress)
        return step_subnets(self.space, choices, self.settings.n_random, rng)

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """This worker's share of the step's images (normalised) and labels."""
        size = self.settings.batch_size
        draws = rng.random((size, N_DRAWS))
        epoch, position = divmod(self.step, self.steps_per_epoch)
        share = self.workers.share(size)
        chosen = self._epoch_order(epoch)[position * size : (position + 1) * size][share]
        images = self.data.train.augmented(chosen, draws[share])
        device = self.workers.device
        labels = self.data.train.labels[torch.from_numpy(chosen)]
        images = normalise(images.to(device), self.space)
        size_px = resolution_px(self.settings, self.step / self.n_steps, self.space.resolution_px)
        if size_px != self.space.resolution_px:
            images = F.interpolate(
                images, (size_px, size_px), mode="bilinear", align_corners=False, antialias=True
            )
        return images, labels.to(device)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.settings.seed, _ORDER, epoch])
        return rng.permutation(self.n_images)

    def _backward(self, images: Tensor, labels: Tensor, subnets: list[Architecture]) -> Tensor:
        """Accumulate the mean gradient of all subnets over all micro-batches; their losses."""
        size = self.settings.micro_batch_size
        parts = list(zip(torch.split(images, size), torch.split(labels, size), strict=True))
        losses = [self._backward_micro_batch(*part, subnets, 1 / len(parts)) for part in parts]
        return torch.stack(losses).mean(0)

    def _backward_micro_batch(
        self, images: Tensor, labels: Tensor, subnets: list[Architecture], weight: float
    ) -> Tensor:
        """Losses [n_subnets]. The first (largest) learns from labels; the others from its
        class probabilities (in-place distillation)."""
        losses: list[Tensor] = []
        targets = labels
        for arch in subnets:
            logits = self._logits(images, arch)
            if not losses:
                loss = F.cross_entropy(
                    logits, labels, label_smoothing=self.settings.label_smoothing
                )
                targets = logits.detach().softmax(1)
            else:
                loss = F.cross_entropy(logits, targets)
            (loss * (weight / len(subnets))).backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _logits(self, images: Tensor, arch: Architecture) -> Tensor:
        with autocast(self.settings.precision, images.device):
            logits: Tensor = self.model(images, arch)
        return logits.float()

    # --- optimiser and moving average -----------------------------------------------------

    def _optimizer(self) -> torch.optim.SGD:
        """SGD with Nesterov momentum; only weights of two or more dimensions decay."""
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in self.model.named_parameters():
            decays = parameter.ndim > 1 and not name.endswith("_matrix")
            groups[decays].append(parameter)
        settings = self.settings
        return torch.optim.SGD(
            [
                {"params": groups[True], "weight_decay": settings.weight_decay},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
        )

    def _set_learning_rate(self) -> float:
        rate = learning_rate(self.settings, self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        """Shorter memory at the start, where the first weights would weigh too much."""
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _sort_channels_when_expands_open(self) -> None:
        settings = self.settings
        before = open_choices(settings.method, (self.step - 1) / self.n_steps)
        now = open_choices(settings.method, self.step / self.n_steps)
        if self.only is None and before.expand == EXPANDS[-1] != now.expand:
            orders = importance_orders(self.model)
            for tensors in (self.model.state_dict(), self.average, self._momentum()):
                apply_orders(tensors, orders)

    def _momentum(self) -> dict[str, Tensor]:
        state = self.optimizer.state
        return {
            name: state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
            if state.get(parameter, {}).get("momentum_buffer") is not None
        }

    # --- state ------------------------------------------------------------------------

    def save(self) -> SupernetFile:
        """The whole state; its weights (the moving average) are what is evaluated."""
        parts = {
            WEIGHTS: self.average, _MODEL: self.model.state_dict(), _MOMENTUM: self._momentum()
        }  # fmt: skip
        tensors = {
            prefix + name: tensor.detach().cpu()
            for prefix, part in parts.items()
            for name, tensor in part.items()
        }
        return SupernetFile(tensors, self.facts | {"step": self.step, "n_images": self.n_images})

    @property
    def facts(self) -> dict[str, Any]:
        """What the weights are of, whatever the step."""
        return self.space.facts | self._origin | {"settings": asdict(self.settings)}

    def restore(self, file: SupernetFile) -> None:
        """Go on where `file` was saved.

        Raises:
            InvalidInputError: it is of a run with other settings, data or space, or damaged.
        """
        own = self.save().facts
        for name in sorted(set(own) - {"step", "settings"}):
            if file.facts.get(name) != own[name]:
                raise InvalidInputError(
                    f"the checkpoint has {name} {file.facts.get(name)}, this run {own[name]}"
                )
        for name, value in own["settings"].items():
            saved = file.facts.get("settings", {}).get(name)
            if saved != value:
                raise InvalidInputError(
                    f"the checkpoint was trained with {name} {saved}, this run asks for {value}; "
                    "use another --out, or --fresh"
                )
        try:
            self._take(file)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            why = f"the checkpoint is damaged: {error}; --fresh begins anew"
            raise InvalidInputError(why) from None

    def _take(self, file: SupernetFile) -> None:
        """Raises whatever a part that is missing or of another shape leads to."""
        self.model.load_state_dict(file.part(_MODEL))
        average = file.part(WEIGHTS)
        for name, own in self.average.items():
            own.copy_(average[name].view_as(own))
        momentum = file.part(_MOMENTUM)
        for name, parameter in self.model.named_parameters():
            if name in momentum:
                buffer = torch.empty_like(parameter).copy_(momentum[name].view_as(parameter))
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.step = range(self.n_steps + 1).index(file.facts["step"])

    def averaged_model(self) -> ElasticMobileNetV3:
        """A copy that holds the moving average, in inference mode."""
        model = ElasticMobileNetV3(self.space).to(self.workers.device)
        model.load_state_dict(self.average)
        return model.eval()


def learning_rate(settings: SupernetSettings, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then half a cosine to 0 (Loshchilov & Hutter, ICLR 2017)."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    total = settings.epochs * steps_per_epoch
    progress = (step - warmup) / max(1.0, total - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def resolution_px(settings: SupernetSettings, progress: float, full_px: int) -> int:
    """Side of the images after a share `progress` of the training: a multiple of 4 px, or full.

    >>> settings = SupernetSettings(start_resolution_px=16)
    >>> [resolution_px(settings, progress, 32) for progress in (0, 0.2, 0.5, 0.7, 1)]
    [16, 20, 24, 32, 32]
    """
    start_px = settings.start_resolution_px
    if start_px is None or progress >= GROWING:
        return full_px
    side = start_px + (full_px - start_px) * progress / GROWING
    return int(side / _STEP_PX) * _STEP_PX
