"""Learners in files: the checkpoint of an unfinished run, the files of a finished one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pnag.learning.settings import TrainSettings
from pnag.learning.train import Learner, new_learners
from pnag.search.archive import Archive
from pnag.search.problem import Problem
from profiler.errors import InvalidInputError
from profiler.spaces.base import DEAD
from profiler.system.tensor_files import described, read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"  # everything in one file, so that it is never half new
PROGRESS = "progress"
MAX_WEIGHT = 1e6  # a sum of such is a number still
FINISHED = ("evaluator", "generator", "archive")  # one file each


def save_checkpoint(folder: Path, learners: Sequence[Learner]) -> None:
    """Weights, archives and random states after a round."""
    tensors = {name: t for part in FINISHED for name, t in _tensors(learners, part).items()}
    progress = [
        {"rounds_done": learner.rounds_done, "rng": learner.rng.bit_generator.state}
        for learner in learners
    ]
    write_tensors(folder / CHECKPOINT, tensors, described(PROGRESS, progress))


def save_finished(folder: Path, learners: Sequence[Learner]) -> None:
    """The final files; the checkpoint stays until `drop_checkpoint`."""
    for part in FINISHED:
        write_tensors(folder / f"{part}.safetensors", _tensors(learners, part), {})


def drop_checkpoint(folder: Path) -> None:
    """For when the run is marked as finished: until then it is all there is to resume from."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def load_checkpoint(folder: Path, problem: Problem, settings: TrainSettings) -> list[Learner]:
    """Learners as after their last complete round; new ones if none is complete.

    Raises:
        InvalidInputError: malformed, or of other settings.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return new_learners(problem, settings)
    tensors, metadata = read_tensors(path)
    _check_widths(tensors, settings, path)
    learners = new_learners(problem, settings)
    _restore(learners, tensors, path, problem)
    try:
        for learner, progress in zip(learners, json.loads(metadata[PROGRESS]), strict=True):
            learner.rounds_done = range(settings.rounds + 1).index(progress["rounds_done"])
            learner.rng.bit_generator.state = progress["rng"]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"{path} is damaged: its {PROGRESS}: {error}") from None
    return learners


def load_finished(folder: Path, problem: Problem, settings: TrainSettings) -> list[Learner]:
    """Learners of a finished run.

    Raises:
        InvalidInputError: a file is missing, malformed, or of other settings.
    """
    tensors: dict[str, Tensor] = {}
    for part in FINISHED:
        path = folder / f"{part}.safetensors"
        if not path.exists():
            raise InvalidInputError(f"{path} is missing; is the run finished?")
        tensors |= read_tensors(path)[0]
    _check_widths(tensors, settings, folder)
    learners = new_learners(problem, settings)
    _restore(learners, tensors, folder, problem)
    for learner in learners:
        learner.rounds_done = settings.rounds
    return learners


def _tensors(learners: Sequence[Learner], part: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index, learner in enumerate(learners):
        if part == "archive":
            archive = learner.archive
            values = {
                "tokens": torch.from_numpy(archive.tokens),
                "top1": torch.from_numpy(archive.top1),
                "cost_ms": torch.from_numpy(archive.cost_ms),
            }
        else:
            module: nn.Module = getattr(learner, part)
            values = module.state_dict()
        tensors |= {f"{index}.{part}.{name}": t.contiguous() for name, t in values.items()}
    return tensors


def _check_widths(tensors: Mapping[str, Tensor], settings: TrainSettings, path: Path) -> None:
    """Raise before networks of other widths take the memory that they want."""
    widths = {"evaluator": settings.evaluator_hidden, "generator": settings.generator_hidden}
    for part, width in widths.items():
        found = tensors.get(f"0.{part}.budget")
        if found is None or found.shape[-1:] != (width,):
            raise InvalidInputError(
                f"{path} does not fit the run's settings: no {part} of width {width}"
            )


def _restore(
    learners: Sequence[Learner], tensors: dict[str, Tensor], path: Path, problem: Problem
) -> None:
    try:
        for index, learner in enumerate(learners):
            for part in ("evaluator", "generator"):
                prefix = f"{index}.{part}."
                state = {
                    name.removeprefix(prefix): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(prefix)
                }
                if not all((t.abs() <= MAX_WEIGHT).all() for t in state.values()):
                    raise ValueError(f"weights beyond {MAX_WEIGHT:g}")
                getattr(learner, part).load_state_dict(state)
            arrays = [tensors[f"{index}.archive.{n}"] for n in ("tokens", "top1", "cost_ms")]
            learner.forget_policy()
            learner.archive = Archive(*(np.array(array.numpy()) for array in arrays))
            _check_archive(learner.archive, problem)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InvalidInputError(f"{path} does not fit the run's settings: {first}") from None


def _check_archive(archive: Archive, problem: Problem) -> None:
    """Raise ValueError for what no search of this problem leaves."""
    tokens, n = archive.tokens, len(archive)
    n_choices = [len(position.choices) for position in problem.space.positions]
    if tokens.shape != (n, len(n_choices)) or tokens.dtype != np.int8:
        raise ValueError(f"tokens of shape {tokens.shape} and type {tokens.dtype}")
    if not ((tokens >= DEAD) & (tokens < n_choices)).all():
        raise ValueError("tokens that are no choices of the space")
    if not archive.top1.shape == archive.cost_ms.shape == (n,):
        raise ValueError(f"{n} architectures of {archive.top1.shape} accuracies")
    if not ((archive.top1 >= 0) & (archive.top1 <= 1)).all():
        raise ValueError("accuracies that are no fractions")
    if not (archive.cost_ms > 0).all():
        raise ValueError("costs that are not above 0")
